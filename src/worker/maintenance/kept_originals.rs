//! Removes the originals that the spool keeps of failed and cancelled jobs: once they are old enough, and before, the oldest first, when
//! the disk that they are on runs short of space.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ReconcileError;
use crate::clock::Timestamp;
use crate::disks::RootKind;
use crate::error_chain::ErrorChain;
use crate::job::JobId;
use crate::nodes::Leadership;
use crate::queue::{EndedJob, JobQueue, KnownJob};
use crate::spool::{Spool, SpoolEntry, SpoolPage, SpooledUpload};
use crate::worker::WorkerContext;

const PERIOD: Duration = Duration::from_hours(1);
/// After some were removed to make room: by then the disk has been looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Where none is left that could go.
const NONE_LEFT: Duration = Duration::from_mins(1);

/// For how long they are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptFor {
    /// From the end of their jobs on.
    pub after_end: Duration,
    /// At most, where the queue knows nothing of their jobs any more: a queue that lost its records takes no original along.
    pub without_record: Duration,
}

/// One for the whole server, or of many nodes for all of them.
pub struct KeptOriginals {
    context: Arc<WorkerContext>,
    leadership: Leadership,
}

impl KeptOriginals {
    /// One that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>, leadership: Leadership) -> Self {
        Self { context, leadership }
    }

    /// Looks now and then once an hour, and when space runs short, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let disks = &self.context.disks;
        let keeps_on_disk = self.context.spool.keeps_on_disk();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.remove_old().await,
                () = disks.wait_short(RootKind::Data), if keeps_on_disk => {
                    let wait = self.make_room().await;
                    if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn remove_old(&self) {
        // By a clock that was set wrong, every one would be old.
        if !self.leadership.holds() || !self.context.clock_trust.is_trusted() {
            return;
        }
        let WorkerContext { spool, queue, clock, settings, .. } = &*self.context;
        let after_end = settings.failed_originals_kept;
        let kept_for = KeptFor { after_end, without_record: after_end.min(settings.retention) };
        match remove_kept_originals(&**spool, &**queue, kept_for, clock.now()).await {
            Ok(0) => {}
            Ok(originals) => info!(originals, "originals of failed and cancelled jobs removed; kept for long enough"),
            Err(error) => {
                warn!(error = %ErrorChain(&error), "kept originals can't be removed; will be retried");
            }
        }
    }

    /// Removes as many of the oldest as would end the shortage; answers how long to wait before the next look.
    async fn make_room(&self) -> Duration {
        let missing = self.context.disks.short_by(RootKind::Data);
        match remove_oldest_kept(&*self.context.spool, missing).await {
            Ok((0, _)) => NONE_LEFT,
            Ok((originals, bytes)) => {
                warn!(
                    originals,
                    bytes, "disk is short of space; the oldest originals of failed and cancelled jobs removed"
                );
                LOOK_AGAIN
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "kept originals can't be removed to make room; will be retried");
                NONE_LEFT
            }
        }
    }
}

/// Removes those that have been kept for long enough by then; answers how many.
///
/// # Errors
/// If the spool or the queue fails; what is left is found the next time.
pub async fn remove_kept_originals(
    spool: &dyn Spool,
    queue: &dyn JobQueue,
    kept_for: KeptFor,
    now: Timestamp,
) -> Result<usize, ReconcileError> {
    let (mut from, mut removed) = (None, 0);
    loop {
        let SpoolPage { uploads, next, .. } = spool.kept(from).await?;
        let ids: Vec<_> = uploads.iter().map(|upload| upload.id).collect();
        let known = queue.known(&ids).await?;
        let old = uploads.iter().zip(known).filter(|(upload, known)| is_old(upload, *known, kept_for, now));
        let old: Vec<JobId> = old.map(|(upload, _)| upload.id).collect();
        spool.remove_kept(&old).await?;
        removed += old.len();
        from = next;
        if from.is_none() {
            return Ok(removed);
        }
    }
}

fn is_old(upload: &SpooledUpload, known: KnownJob, kept_for: KeptFor, now: Timestamp) -> bool {
    match known {
        KnownJob::Ended(EndedJob { ago, .. }) => ago >= kept_for.after_end,
        // It has been kept for no longer than it has been there.
        KnownJob::Unknown => upload.age.unwrap_or_else(|| now.since(upload.id.made_at())) >= kept_for.without_record,
        // A queue that came back older than it was: the job ends again.
        KnownJob::Live => false,
    }
}

/// Removes the oldest until so many bytes are free; answers how many, and about how many bytes those were.
async fn remove_oldest_kept(spool: &dyn Spool, bytes: u64) -> Result<(usize, u64), ReconcileError> {
    let (mut removed, mut freed) = (0, 0);
    for upload in spool.kept(None).await?.uploads {
        if freed >= bytes {
            break;
        }
        if let Some(SpoolEntry::Whole(record)) = spool.original_of(upload.id).await? {
            freed += record.original.bytes;
        }
        spool.remove_kept(&[upload.id]).await?;
        removed += 1;
    }
    Ok((removed, freed))
}
