//! What is wrong with a claim, field by field.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::PresetName;

/// One bad field of the token's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where, as a JSON Pointer (RFC 6901) into the claims: `/job/formats/jpg/sizes/0/1`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
    /// The preset that the job names, which may be where the field is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub preset: Option<PresetName>,
}

/// Every bad field at once, up to a bound that keeps an answer small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimErrors(Vec<FieldError>);

/// A token with a million bad sizes gets this many of them named.
const ERRORS_MAX: usize = 50;

impl ClaimErrors {
    /// Notes that the field at `pointer` is bad.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(FieldError { pointer: pointer.into(), detail: detail.into(), preset: None });
        }
    }

    /// The bad fields, in the order they were found.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.0
    }

    /// `Ok` with `value` if nothing is wrong.
    ///
    /// # Errors
    /// Itself, if anything is.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The same of a job that names this preset.
    #[must_use]
    pub fn with_preset(mut self, preset: Option<&PresetName>) -> Self {
        for field in &mut self.0 {
            field.preset = preset.cloned();
        }
        self
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ClaimErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, field) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", field.pointer, field.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClaimErrors {}

/// `token` as one segment of a JSON Pointer.
pub(super) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
