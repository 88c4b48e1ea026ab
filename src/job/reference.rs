//! What a caller calls a job in its own words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The `ref` of a job: the caller's own text, such as the number of an order. Neither unique nor secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 256)]
pub struct JobRef(String);

impl JobRef {
    /// Bytes that it may have.
    pub const BYTES_MAX: usize = 256;

    pub(super) const RULE: &'static str = "a string of at most 256 bytes";

    /// `text` as one; none if no job can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (1..=Self::BYTES_MAX).contains(&text.len()).then(|| Self(text.to_owned()))
    }

    /// The caller's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
