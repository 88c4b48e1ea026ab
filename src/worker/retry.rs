//! How long to wait before a job is tried again.

use std::time::Duration;

/// `attempts`^4 times `base`, half of it fixed and half of it random, so that jobs which failed together don't come
/// back together.
pub(super) fn back_off(attempts: u32, base: Duration) -> Duration {
    let whole = base.saturating_mul(attempts.saturating_pow(4));
    // Without randomness the wait is merely less spread out.
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    whole.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_the_fourth_power_within_their_jitter() {
        for (attempts, secs) in [(1, 1), (2, 16), (3, 81), (4, 256)] {
            let wait = back_off(attempts, Duration::from_secs(1));
            assert!(
                (Duration::from_secs(secs) / 2..=Duration::from_secs(secs)).contains(&wait),
                "{attempts}: {wait:?}"
            );
        }
    }
}
