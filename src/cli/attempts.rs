//! When a command tries again what failed in a way that may pass.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::CliError;
use crate::retry::Backoff;

const BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_millis(500), backoff_factor: 2.0, backoff_max: Duration::from_secs(15) };

/// Tries of one thing: how many failed since one did not.
#[derive(Debug)]
pub(super) struct Attempts {
    give_up_after: Duration,
    failed: u32,
    failing_since: Option<Instant>,
}

impl Attempts {
    /// Tries that are given up when nothing but failures have come for this long.
    pub(super) fn for_at_most(give_up_after: Duration) -> Self {
        Self { give_up_after, failed: 0, failing_since: None }
    }

    /// It goes on: whatever fails from now on begins anew.
    pub(super) fn succeeded(&mut self) {
        (self.failed, self.failing_since) = (0, None);
    }

    /// Waits until it is time for the next try: at least as long as the server asks for.
    ///
    /// # Errors
    /// `error`, if trying again is no use, or was tried for long enough.
    pub(super) async fn wait_after(&mut self, error: CliError) -> Result<(), CliError> {
        let Some(wait) = self.wait(&error, Instant::now()) else { return Err(error) };
        sleep(wait).await;
        Ok(())
    }

    /// The wait before the next try; none if there is to be none.
    fn wait(&mut self, error: &CliError, now: Instant) -> Option<Duration> {
        let asked_for = error.may_pass()?;
        self.failed += 1;
        let wait = BACKOFF.wait_after(self.failed).max(asked_for);
        let give_up_at = *self.failing_since.get_or_insert(now) + self.give_up_after;
        (now + wait <= give_up_at).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled() -> CliError {
        CliError::Stalled { server: "http://server".into(), waited: Duration::from_mins(1) }
    }

    #[test]
    fn what_may_pass_is_tried_for_so_long_since_it_last_went_well() {
        let (mut attempts, start) = (Attempts::for_at_most(Duration::from_mins(1)), Instant::now());
        let tries_from = |attempts: &mut Attempts, start: Instant| {
            let mut now = start;
            while let Some(wait) = attempts.wait(&stalled(), now) {
                now += wait;
            }
            now - start
        };
        let tried = tries_from(&mut attempts, start);
        assert!(tried > Duration::from_secs(45) && tried <= Duration::from_mins(1), "{tried:?}");
        let later = start + Duration::from_hours(1);
        assert_eq!(attempts.wait(&stalled(), later), None);
        attempts.succeeded();
        assert!(attempts.wait(&stalled(), later).is_some_and(|wait| wait <= Duration::from_millis(500)));
        assert_eq!(attempts.wait(&CliError::Usage("no such thing".into()), later), None, "no wait helps");
    }
}
