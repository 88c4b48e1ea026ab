//! How orders to erase are carried out.

use std::time::Duration;

use serde::Deserialize;

use crate::setting;

/// How orders to erase are carried out.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct EraseSettings {
    /// How long a request waits for the end of what it asks for.
    #[serde(deserialize_with = "setting::duration")]
    pub within: Duration,
    /// How long databases may keep what was removed from them.
    #[serde(deserialize_with = "setting::duration")]
    pub purge_within: Duration,
}
