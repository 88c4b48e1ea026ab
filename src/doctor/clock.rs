//! The clock: tokens are judged by it, records go by it.

use std::time::Duration;

use humantime::format_duration;

use super::Check;
use crate::clock::{JUMP_MAX, Timestamp};
use crate::version::VERSION;

const NAME: &str = "clock";
const REMEDY: &str = "set it, best by NTP (`timedatectl set-ntp true`): tokens are judged by it, and nothing is removed for its age while it can't be believed";

/// Whether the wall clock may be right: `last_seen` is what the last server noted of it.
pub(super) fn clock(now: Timestamp, last_seen: Option<Timestamp>) -> Check {
    let shown = now.rfc3339();
    if let Some(built) = Timestamp::parse_rfc3339(VERSION.build_time).filter(|built| now < built.before(JUMP_MAX)) {
        let found = format!("it is {shown}, before this program was built ({})", built.rfc3339());
        return Check::failed(NAME, found, REMEDY);
    }
    let Some(last) = last_seen else { return Check::ok(NAME, format!("it is {shown}")) };
    let back = last.since(now);
    if back > JUMP_MAX {
        let found = format!("it is {shown}, and a server here has seen {} before", last.rfc3339());
        return Check::failed(NAME, found, REMEDY);
    }
    let on = now.since(last);
    if on > JUMP_MAX {
        // Most often a server that was off for long.
        let on = format_duration(Duration::from_secs(on.as_secs() / 60 * 60));
        return Check::ok(NAME, format!("it is {shown}; the last server here ended {on} ago"));
    }
    Check::ok(NAME, format!("it is {shown}"))
}

/// Whether a running server believes it.
#[must_use]
pub fn trusted_clock(is_trusted: bool) -> Check {
    if is_trusted {
        return Check::ok(NAME, "the server believes it");
    }
    Check::warning(NAME, "it jumped by more than a day, or stood far from the last time seen at the start", REMEDY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckState;

    #[test]
    fn a_clock_that_goes_back_or_stands_before_the_build_is_wrong_and_one_after_a_long_rest_is_not() {
        let built = Timestamp::parse_rfc3339(VERSION.build_time).expect("a time");
        let (now, month) = (built.after(JUMP_MAX * 40), JUMP_MAX * 30);
        let state = |now: Timestamp, last_seen| clock(now, last_seen).state;
        assert_eq!(state(now, None), CheckState::Ok);
        assert_eq!(state(now, Some(now.after(Duration::from_mins(1)))), CheckState::Ok);
        assert_eq!(state(now, Some(now.before(month))), CheckState::Ok);
        assert_eq!(state(now, Some(now.after(month))), CheckState::Failed);
        assert_eq!(state(built.before(month), None), CheckState::Failed);
    }
}
