//! Whether the wall clock may be believed, by those who remove things for being old or give up for being late.
//!
//! A clock that is set wrong, most often at a start, shows a time far from the one that was seen last. It is the same as a
//! server that was off for long, so it is not refused: it is only not acted on until it has run so for an hour, in which
//! somebody or NTP may set it right.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{SharedClock, Timestamp};

/// A clock that left the expected time by more than this may be wrong.
pub const JUMP_MAX: Duration = Duration::from_hours(24);
/// One that left it by more than this is not exact enough to delete by it what somebody wants to keep for an hour. A server that was
/// off for longer can't tell.
const STEP_MAX: Duration = Duration::from_mins(20);
/// For so long it must have run on by itself then.
pub const PROBATION: Duration = Duration::from_hours(1);

/// Whether the wall clock may be believed. Cheap to clone.
#[derive(Clone)]
pub struct ClockTrust {
    clock: SharedClock,
    state: Arc<Mutex<TrustState>>,
}

struct TrustState {
    /// The wall clock at the last look, and the monotonic one.
    seen: (Timestamp, Duration),
    /// On the monotonic clock.
    trusted_from: Duration,
    /// The same for [`STEP_MAX`].
    steady_from: Duration,
}

impl ClockTrust {
    /// Trust in `clock`, whose wall clock was last seen at `last_seen`, by this process or an earlier one; none if it
    /// never was.
    #[must_use]
    pub fn new(clock: SharedClock, last_seen: Option<Timestamp>) -> Self {
        let seen = (clock.now(), clock.elapsed());
        let jump = last_seen.map_or(Duration::ZERO, |last| difference(last, seen.0));
        let from = |most| if jump > most { seen.1.saturating_add(PROBATION) } else { seen.1 };
        let (trusted_from, steady_from) = (from(JUMP_MAX), from(STEP_MAX));
        Self { clock, state: Arc::new(Mutex::new(TrustState { seen, trusted_from, steady_from })) }
    }

    /// Whether it may be believed now. A jump since the last call is noticed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let (elapsed, trusted_from, _) = self.look();
        elapsed >= trusted_from
    }

    /// Whether it has not even left the expected time by a little ([`STEP_MAX`]) lately. A jump since the last call is noticed.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let (elapsed, _, steady_from) = self.look();
        elapsed >= steady_from
    }

    /// The monotonic clock, and from when on the other is trusted, and steady.
    fn look(&self) -> (Duration, Duration, Duration) {
        let (wall, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut state = self.state.lock();
        let jump = difference(state.seen.0.after(elapsed.saturating_sub(state.seen.1)), wall);
        if jump > JUMP_MAX {
            state.trusted_from = elapsed.saturating_add(PROBATION);
        }
        if jump > STEP_MAX {
            state.steady_from = elapsed.saturating_add(PROBATION);
        }
        state.seen = (wall, elapsed);
        (elapsed, state.trusted_from, state.steady_from)
    }
}

fn difference(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Manual};

    const DAY: Duration = Duration::from_hours(24);

    fn clock() -> Arc<Manual> {
        Arc::new(Manual::at(Timestamp::from_millis(1_750_000_000_000)))
    }

    #[test]
    fn a_clock_far_from_the_time_last_seen_is_trusted_after_an_hour() {
        for last_seen in [clock().now().before(DAY * 40), clock().now().after(DAY * 40)] {
            let clock = clock();
            let trust = ClockTrust::new(clock.clone(), Some(last_seen));
            assert!(!trust.is_trusted());
            clock.advance(PROBATION / 2);
            assert!(!trust.is_trusted());
            clock.advance(PROBATION / 2);
            assert!(trust.is_trusted());
        }
    }

    #[test]
    fn a_clock_near_the_time_last_seen_or_never_seen_is_trusted() {
        for last_seen in [None, Some(clock().now()), Some(clock().now().before(DAY))] {
            assert!(ClockTrust::new(clock(), last_seen).is_trusted());
        }
    }

    #[test]
    fn a_clock_that_jumped_by_an_hour_is_trusted_and_not_steady() {
        let clock = clock();
        let trust = ClockTrust::new(clock.clone(), Some(clock.now().before(STEP_MAX)));
        assert!(trust.is_steady());
        clock.set_wall(clock.now().after(PROBATION));
        assert!(trust.is_trusted() && !trust.is_steady(), "whichever is asked first");
        clock.advance(PROBATION);
        assert!(trust.is_steady());
        let off_for_long = ClockTrust::new(clock.clone(), Some(clock.now().before(PROBATION)));
        assert!(off_for_long.is_trusted() && !off_for_long.is_steady());
    }

    #[test]
    fn a_jump_while_it_runs_costs_an_hour_and_setting_it_right_another() {
        let clock = clock();
        let trust = ClockTrust::new(clock.clone(), None);
        clock.advance(DAY * 40);
        assert!(trust.is_trusted(), "it was asked rarely, but both clocks agree");
        for wall in [clock.now().after(DAY * 40), clock.now()] {
            clock.set_wall(wall);
            assert!(!trust.is_trusted());
            clock.advance(PROBATION);
            assert!(trust.is_trusted());
        }
    }
}
