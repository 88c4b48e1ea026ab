//! How the bucket is, as of the last look at it.

use std::time::Duration;

/// What the last probe of the bucket came to.
#[derive(Clone, Debug)]
pub struct LastProbe {
    /// Whether it failed; why is in the log.
    pub has_failed: bool,
    /// How long ago it ended, by the monotonic clock.
    pub age: Duration,
}
