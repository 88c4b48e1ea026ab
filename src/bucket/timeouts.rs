//! How long a bucket is waited for.

use std::time::Duration;

use serde::Deserialize;

use crate::setting;

/// How long to wait for a remote store.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StoreTimeouts {
    /// For a connection.
    #[serde(deserialize_with = "setting::duration")]
    pub connect_timeout: Duration,
    /// What a transfer may take beyond the time its bytes take at 256 KiB/s.
    #[serde(deserialize_with = "setting::duration")]
    pub idle_timeout: Duration,
}

/// A connection slower than this counts as stalled: 256 KiB/s.
const BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

impl StoreTimeouts {
    /// For a whole exchange, connecting included, that carries `bytes`.
    ///
    /// The stores' clients can't tell a body that stands still from one that is slow, so the slowest bearable line sets
    /// the limit.
    pub(crate) fn exchange(&self, bytes: u64) -> Duration {
        self.connect_timeout
            .saturating_add(self.idle_timeout)
            .saturating_add(Duration::from_secs(bytes / BYTES_PER_SECOND_MIN))
    }
}
