//! When to try again what failed: one rule for a job's attempts, for writes to stores and for callbacks.
//!
//! Waits grow by a factor from the first to the longest, or are told one by one. Each is random in part, so that what failed
//! together doesn't come back together.

use std::time::Duration;

use serde::Deserialize;

use crate::setting;

/// How long to wait between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Backoff {
    /// The longest that the wait before the second try may be; the shortest is half of it.
    #[serde(deserialize_with = "setting::duration")]
    pub backoff_min: Duration,
    /// By what each wait is longer than the one before; at least 1.
    #[serde(deserialize_with = "setting::factor")]
    pub backoff_factor: f64,
    /// The longest that any wait may be.
    #[serde(deserialize_with = "setting::duration")]
    pub backoff_max: Duration,
}

impl Backoff {
    /// The wait after `tries` tries, at least one, have failed.
    #[must_use]
    pub fn wait_after(&self, tries: u32) -> Duration {
        self.longest_after(tries).mul_f64(0.5 + random() / 2.0)
    }

    fn longest_after(&self, tries: u32) -> Duration {
        let growths = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
        let secs = self.backoff_min.as_secs_f64() * self.backoff_factor.powi(growths);
        Duration::try_from_secs_f64(secs).map_or(self.backoff_max, |wait| wait.min(self.backoff_max))
    }
}

/// How long to wait between tries whose waits are told one by one: as many as there are waits, and one more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RetrySchedule(#[serde(deserialize_with = "setting::durations")] Vec<Duration>);

/// The part of a wait by which it may be longer.
const SPREAD: f64 = 0.1;

impl RetrySchedule {
    /// These waits, the first first.
    #[must_use]
    pub fn new(waits: Vec<Duration>) -> Self {
        Self(waits)
    }

    /// The wait after `tries` tries, at least one, have failed, and up to a tenth more; none if there were enough.
    #[must_use]
    pub fn wait_after(&self, tries: u32) -> Option<Duration> {
        let wait = self.0.get(usize::try_from(tries.checked_sub(1)?).ok()?)?;
        Some(wait.mul_f64(1.0 + SPREAD * random()))
    }
}

/// From 0 to 1. Without randomness the longest wait is the safe one.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoffs() -> impl Strategy<Value = Backoff> {
        // Up to the ten years that settings may ask for.
        let ms = 1..315_360_000_000_u64;
        (ms.clone(), 1.0..1000.0_f64, ms).prop_map(|(min, backoff_factor, max)| Backoff {
            backoff_min: Duration::from_millis(min.min(max)),
            backoff_factor,
            backoff_max: Duration::from_millis(max),
        })
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_all_of_what_it_may_be(backoff in backoffs(), tries in 1_u32..) {
            let (wait, longest) = (backoff.wait_after(tries), backoff.longest_after(tries));
            prop_assert!(wait >= longest.mul_f64(0.499_999) && wait <= longest, "{wait:?} of {longest:?}");
        }

        #[test]
        fn waits_grow_from_the_first_to_the_longest(backoff in backoffs(), tries in 1_u32..100) {
            let (wait, next) = (backoff.longest_after(tries), backoff.longest_after(tries + 1));
            prop_assert!(backoff.longest_after(1) <= wait && wait <= next && next <= backoff.backoff_max);
        }

        #[test]
        fn a_schedule_has_a_wait_and_little_more_between_each_two_tries(secs in prop::collection::vec(1_u64..1_000_000, 0..20)) {
            let waits: Vec<_> = secs.into_iter().map(Duration::from_secs).collect();
            let schedule = RetrySchedule::new(waits.clone());
            let waited: Vec<_> = (1..).map_while(|tries| schedule.wait_after(tries)).collect();
            prop_assert_eq!(waited.len(), waits.len());
            for (waited, wait) in waited.iter().zip(&waits) {
                prop_assert!((*wait..=wait.mul_f64(1.100_001)).contains(waited), "{:?} for {:?}", waited, wait);
            }
            prop_assert_eq!((schedule.wait_after(0), schedule.wait_after(u32::MAX)), (None, None));
        }
    }

    #[test]
    fn each_wait_is_longer_by_the_factor_until_the_longest() {
        let (backoff_min, backoff_max) = (Duration::from_secs(1), Duration::from_mins(5));
        let backoff = Backoff { backoff_min, backoff_factor: 7.0, backoff_max };
        let waits: Vec<_> = (1..=5).map(|tries| backoff.longest_after(tries).as_secs()).collect();
        assert_eq!(waits, [1, 7, 49, 300, 300]);
    }
}
