//! Originals that the spool keeps of ended jobs, for a person to try them again.

use std::time::Duration;

use super::ReconcileError;
use crate::queue::{JobQueue, KnownJob};
use crate::spool::{Spool, SpoolPage, SpooledUpload};

/// Removes those whose jobs' records are gone; answers how many. Not before `retention` has passed by the spool's clock,
/// though: a queue that lost all of its records takes no original along.
///
/// # Errors
/// If the spool or the queue fails; what is left is found the next time.
pub async fn remove_kept_originals(
    spool: &dyn Spool,
    queue: &dyn JobQueue,
    retention: Duration,
) -> Result<usize, ReconcileError> {
    let (mut from, mut removed) = (None, 0);
    loop {
        let SpoolPage { uploads, next, .. } = spool.kept(from).await?;
        let is_old = |upload: &&SpooledUpload| upload.age.is_some_and(|age| age >= retention);
        let old: Vec<_> = uploads.iter().filter(is_old).map(|upload| upload.id).collect();
        let known = queue.known(&old).await?;
        let forgotten = old.into_iter().zip(known).filter(|(_, known)| *known == KnownJob::Unknown);
        let forgotten: Vec<_> = forgotten.map(|(id, _)| id).collect();
        spool.remove_kept(&forgotten).await?;
        removed += forgotten.len();
        from = next;
        if from.is_none() {
            return Ok(removed);
        }
    }
}
