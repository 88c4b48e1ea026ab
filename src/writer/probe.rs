//! Trying a store: what it lets us do, and what the try leaves behind.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{Failure, WriteError};

/// Deletions that are tried, and the wait between them: who registers a store waits for the answer.
const DELETE_TRIES: u32 = 3;
const DELETE_PAUSE: Duration = Duration::from_millis(300);

/// For removing what may have arrived although its write failed.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a store lets us do.
#[derive(Debug)]
pub enum ProbeOutcome {
    /// The probe was written, and deleted again.
    Deleted,
    /// The probe was written, and is still there: the store refuses to delete, for this reason.
    Kept(WriteError),
}

/// Writes a probe and deletes it; `what` names the step that failed, by its verb.
pub(super) async fn write_and_delete<'a>(
    write: impl Future<Output = Result<(), Failure>>,
    delete: impl Fn() -> BoxFuture<'a, Result<(), Failure>>,
    what: impl Fn(&str) -> String,
) -> Result<ProbeOutcome, WriteError> {
    if let Err(failure) = write.await {
        // Of a refusal nothing is there. Else it may be: an answer that was lost on its way, or made no sense.
        if failure.status.is_none_or(|status| !(400..500).contains(&status)) {
            let _ = timeout(CLEANUP_TIMEOUT, delete()).await;
        }
        return Err(failure.on(what("write")));
    }
    for tries in 1.. {
        match delete().await {
            Ok(()) => break,
            // Gone by a deletion before, whose answer was lost.
            Err(failure) if failure.status == Some(404) && tries > 1 => break,
            Err(failure) if matches!(failure.status, Some(401 | 403 | 405)) => {
                return Ok(ProbeOutcome::Kept(failure.on(what("delete"))));
            }
            Err(failure) if tries == DELETE_TRIES => return Err(failure.on(what("delete"))),
            Err(_) => sleep(DELETE_PAUSE).await,
        }
    }
    Ok(ProbeOutcome::Deleted)
}
