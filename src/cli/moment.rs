//! Moments as a person says them on the command line.

use std::time::Duration;

use crate::clock::Timestamp;

/// A moment, by how long ago it was or by its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long before now, whenever that is.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// Parses `1d`, `2h 30m` or a time as RFC 3339 writes it.
    ///
    /// # Errors
    /// What it should be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let date = Timestamp::parse_rfc3339(text).map(Self::At);
        let moment = date.or_else(|| humantime::parse_duration(text).ok().map(Self::Ago));
        moment
            .ok_or_else(|| "must be how long ago, such as 1d or 2h, or a time such as 2026-01-31T12:00:00Z".to_owned())
    }

    /// As servers read it.
    pub(super) fn rfc3339(self, now: Timestamp) -> String {
        match self {
            Self::Ago(ago) => now.before(ago).rfc3339(),
            Self::At(at) => at.rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_by_its_age_or_by_its_date() {
        let now = Timestamp::parse_rfc3339("2026-01-31T12:00:00Z").expect("a time");
        let said = |text| Moment::parse(text).map(|moment| moment.rfc3339(now));
        assert_eq!(said("1d").as_deref(), Ok("2026-01-30T12:00:00.000Z"));
        assert_eq!(said("1h 30m").as_deref(), Ok("2026-01-31T10:30:00.000Z"));
        assert_eq!(said("2026-01-01T00:00:00Z").as_deref(), Ok("2026-01-01T00:00:00.000Z"));
        for bad in ["", "yesterday", "2026-01-01", "-1d"] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }
}
