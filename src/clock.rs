//! Time as an argument, so that tests own it.

mod trust;

pub use trust::{ClockTrust, JUMP_MAX, PROBATION};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A moment on the wall clock: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// After every time that something may be due.
    pub const FAR_FUTURE: Self = Self(i64::MAX as u64);

    /// The moment `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment plus `by`, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment minus `by`, saturating at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same moment for formatting.
    #[must_use]
    pub fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    /// RFC 3339 in UTC with milliseconds, all three digits of them, as every answer on the wire shows it: the order of such
    /// texts is that of the moments.
    #[must_use]
    pub fn rfc3339(self) -> String {
        // The format's own writer leaves zeros at the end out.
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        self.date_time().format(&format).unwrap_or_else(|_| self.0.to_string())
    }

    /// The moment that RFC 3339 writes so, in any time zone; none if it doesn't, or that is before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Whole milliseconds of `duration`, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: for what people read and for what must survive a restart. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start in this process: for leases and timeouts. It never jumps.
    fn elapsed(&self) -> Duration;
}

/// So that whatever has a clock can be shown.
impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct System {
    started: Instant,
}

impl System {
    /// The machine's clock, its monotonic side starting at zero now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one room that reads the machine's clock")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the one room that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis(since_epoch))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct Manual {
    now_ms: AtomicU64,
    elapsed_ms: AtomicU64,
}

impl Manual {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now_ms: AtomicU64::new(now.as_millis()), elapsed_ms: AtomicU64::new(0) }
    }

    /// Lets `by` pass, on both the wall and the monotonic side.
    pub fn advance(&self, by: Duration) {
        let ms = millis(by);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, now: Timestamp) {
        self.now_ms.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn moments_are_read_in_any_time_zone() {
        let noon = Timestamp::from_millis(1_767_268_800_000);
        for text in ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z", "2026-01-01T13:00:00+01:00"] {
            assert_eq!(Timestamp::parse_rfc3339(text), Some(noon), "{text}");
        }
        for text in ["", "yesterday", "2026-01-01", "2026-01-01T12:00:00", "1969-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_shown_with_three_digits_whatever_they_are() {
        let shown = [0, 100, 120, 123].map(|ms| Timestamp::from_millis(1_767_225_600_000 + ms).rfc3339());
        let expected = ["00.000", "00.100", "00.120", "00.123"].map(|secs| format!("2026-01-01T00:00:{secs}Z"));
        assert_eq!(shown, expected);
    }
}
