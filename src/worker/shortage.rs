//! A want of something that is the server's: descriptors, memory, disk. While it lasts every job would be begun in vain, so
//! nobody begins one for a while.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::job::JobError;
use crate::retry::Backoff;

/// How long none is begun: each time longer, until one fares better.
const PAUSE: Backoff =
    Backoff { backoff_min: Duration::from_secs(1), backoff_factor: 2.0, backoff_max: Duration::from_secs(10) };

/// Whether there is such a want. One for all workers.
#[derive(Debug, Default)]
pub struct Shortage(watch::Sender<Option<Pause>>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    times: u32,
}

impl Shortage {
    /// An attempt ended for want of something.
    pub(super) fn note(&self, error: &JobError) {
        self.note_at(error, Instant::now());
    }

    fn note_at(&self, error: &JobError, now: Instant) {
        self.0.send_if_modified(|pause| {
            // Of attempts that ran side by side all end so.
            if pause.is_some_and(|pause| now < pause.until) {
                return false;
            }
            let Pause { since, times, .. } = pause.unwrap_or(Pause { since: now, until: now, times: 0 });
            if times == 0 {
                warn!(code = error.code, error = error.detail, "server is short of something; jobs wait");
            }
            let times = times.saturating_add(1);
            *pause = Some(Pause { since, until: now + PAUSE.wait_after(times), times });
            true
        });
    }

    /// An attempt got what it needed.
    pub(super) fn end(&self) {
        self.0.send_if_modified(|pause| {
            let Some(Pause { since, .. }) = pause.take() else { return false };
            info!(shortage_s = since.elapsed().as_secs(), "server is short of nothing any more");
            true
        });
    }

    /// Returns once a job may be begun.
    pub(super) async fn wait(&self) {
        let mut pause = self.0.subscribe();
        loop {
            let until = pause.borrow_and_update().map(|pause| pause.until);
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                // The sender lives as long as this.
                _ = pause.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::job::ErrorCode;

    #[tokio::test]
    async fn after_a_shortage_nobody_begins_for_longer_each_time_until_one_fares_better() {
        let shortage = Shortage::default();
        let error = JobError::new(ErrorCode::Spool, "too many open files");
        shortage.wait().await;
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            shortage.note_at(&error, now);
            let until = shortage.0.borrow().expect("it pauses").until;
            // Of those that ran beside it.
            shortage.note_at(&error, now);
            assert_eq!(shortage.0.borrow().expect("it pauses").until, until);
            pauses.push(until - now);
            now = until;
        }
        assert!(pauses.iter().all(|pause| !pause.is_zero() && *pause <= PAUSE.backoff_max), "{pauses:?}");
        assert!(pauses[5] > 2 * pauses[0], "{pauses:?}");

        let mut waiting = Box::pin(shortage.wait());
        assert!(poll!(&mut waiting).is_pending());
        shortage.end();
        waiting.await;
    }
}
