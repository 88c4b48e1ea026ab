//! When to try again.

use std::time::Duration;

use crate::queue::Retry;

/// How long to wait after a try that failed, `attempts` having been made before it; `None` if it is to be given up.
///
/// What the receiver asks for is a least wait, never a shorter one than the schedule's: a `Retry-After: 0` would
/// otherwise burn every try within a second.
pub(super) fn next_try(schedule: &[Duration], attempts: u32, retry: Retry) -> Option<Duration> {
    let Retry::After(at_least) = retry else { return None };
    let step = schedule.get(usize::try_from(attempts).ok()?)?;
    Some(jittered(*step, random()).max(at_least))
}

/// `step` give or take a fifth: receivers that were down together are not called back together.
fn jittered(step: Duration, random: u32) -> Duration {
    let fraction = f64::from(random) / f64::from(u32::MAX);
    step.mul_f64(0.8 + 0.4 * fraction)
}

fn random() -> u32 {
    // Without randomness there is no jitter, which is no reason to lose a callback.
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::CallbackSettings;

    #[test]
    fn jitter_stays_within_a_fifth() {
        let step = Duration::from_secs(100);
        assert_eq!(jittered(step, 0).as_secs(), 80);
        assert_eq!(jittered(step, u32::MAX).as_secs(), 120);
    }

    #[test]
    fn ten_tries_are_made_and_no_more() {
        let schedule = CallbackSettings::default().schedule;
        let now = Retry::After(Duration::ZERO);
        let waits: Vec<_> = (0..).map_while(|attempts| next_try(&schedule, attempts, now)).collect();
        assert_eq!(waits.len(), 9, "nine waits between ten tries");
        for (wait, step) in waits.iter().zip(&schedule) {
            assert!(*wait >= step.mul_f64(0.8) && *wait <= step.mul_f64(1.2), "{wait:?} for {step:?}");
        }
        assert_eq!(next_try(&schedule, u32::MAX, now), None);
        assert_eq!(next_try(&schedule, 0, Retry::Never), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less() {
        let schedule = [Duration::from_secs(100)];
        let after = |secs| next_try(&schedule, 0, Retry::After(Duration::from_secs(secs)));
        assert_eq!(after(1000), Some(Duration::from_secs(1000)));
        assert!(after(1) >= Some(Duration::from_secs(80)));
    }
}
