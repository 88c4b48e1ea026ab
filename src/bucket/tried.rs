//! Asking the bucket again.

use std::time::Duration;

use tokio::time::sleep;

use super::BucketError;
use crate::retry::Backoff;

/// How often a request is tried that the bucket doesn't answer.
const TRIES: u32 = 3;
const BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_millis(200), backoff_factor: 2.0, backoff_max: Duration::from_secs(1) };

/// Asks again for what the bucket doesn't answer, a few times; its client learns from an answer how far this machine's clock is off. All
/// that is asked can be asked twice.
pub(crate) async fn tried<T, F: Future<Output = Result<T, BucketError>>>(
    ask: impl Fn() -> F,
) -> Result<T, BucketError> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && tries < TRIES => sleep(BACKOFF.wait_after(tries)).await,
            answered => return answered,
        }
        tries += 1;
    }
}
