//! What an operator may say about callbacks.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// Settings of the outbox. Durations read as `5s`, `30m`, `2h`; lists as a list, or as one comma-separated text the
/// way an environment variable has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackSettings {
    /// Networks that callbacks may reach besides public addresses. None by default.
    #[serde(deserialize_with = "list")]
    pub allow: Vec<IpNet>,
    /// How long one try may take in all, looking up and reading the reply included. 15 s.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// How long looking up, connecting and the TLS handshake may take of that. 5 s.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// Tries at once. 16.
    pub concurrency: usize,
    /// Tries at once to one host, so that a slow receiver doesn't hold up the others. 4.
    pub concurrency_per_host: usize,
    /// Waits after the first try, the second and so on, each with a fifth of jitter; after the last the callback is
    /// given up. 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: ten tries over three days.
    #[serde(with = "spans")]
    pub schedule: Vec<Duration>,
}

impl Default for CallbackSettings {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let schedule = [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            allow: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            concurrency: 16,
            concurrency_per_host: 4,
            schedule: schedule.map(Duration::from_secs).to_vec(),
        }
    }
}

/// A list, or the same as one comma-separated text.
fn list<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Items(Vec<String>),
    }
    let items = match Either::deserialize(deserializer)? {
        Either::Text(text) => text.split(',').map(str::to_owned).collect(),
        Either::Items(items) => items,
    };
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|error| D::Error::custom(format!("{item:?}: {error}")))).collect()
}

/// One duration in words.
mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

/// Several durations in words.
mod spans {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(spans: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(spans.iter().map(|span| humantime::format_duration(*span).to_string()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let spans: Vec<humantime::Duration> = super::list(deserializer)?;
        Ok(spans.into_iter().map(Into::into).collect())
    }
}
