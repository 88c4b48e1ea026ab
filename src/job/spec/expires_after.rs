//! How long what a job has stored is kept.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Timestamp;
use crate::setting::{self, parse_duration};

/// How long after its end a job is erased, with all that is stored of it. In whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExpiresAfter {
    seconds: u64,
}

impl ExpiresAfter {
    /// What it must look like.
    pub const RULE: &'static str = "a duration from 1h to 3650days, such as \"90days\"";

    const MIN: Duration = Duration::from_hours(1);
    const MAX: Duration = Duration::from_hours(3650 * 24);

    /// The time that `text` says; none if it says none, or one out of bounds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = parse_duration(text).filter(|time| (Self::MIN..=Self::MAX).contains(time))?;
        Some(Self { seconds: time.as_secs() })
    }

    /// A setting: a time, or none where the text is empty. For `#[serde(deserialize_with)]`.
    ///
    /// # Errors
    /// [`ExpiresAfter::RULE`], of any other text.
    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let expected = format!("{}, or nothing", Self::RULE);
        setting::optional(deserializer, &expected, Self::parse)
    }

    /// When a job that ended then is to be erased.
    #[must_use]
    pub fn from_end(self, ended_at: Timestamp) -> Timestamp {
        ended_at.after(Duration::from_secs(self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_to_ten_years_can_be_said_in_any_unit() {
        for (text, seconds) in [
            ("1h", 3600),
            ("60min", 3600),
            ("7days", 7 * 86_400),
            ("1day 2h", 26 * 3600),
            ("3650days", 3650 * 86_400),
            ("3600s", 3600),
        ] {
            assert_eq!(ExpiresAfter::parse(text), Some(ExpiresAfter { seconds }), "{text}");
        }
        for text in ["", "0s", "59min", "3599s", "3651days", "87601h", "1", "soon", "-1h", "1h30", "never"] {
            assert_eq!(ExpiresAfter::parse(text), None, "{text}");
        }
    }

    #[test]
    fn it_counts_from_the_jobs_end() {
        let after = ExpiresAfter::parse("1h").expect("a time");
        assert_eq!(after.from_end(Timestamp::from_millis(500)), Timestamp::from_millis(3_600_500));
        assert_eq!(serde_json::to_string(&after).expect("JSON"), "3600");
    }
}
