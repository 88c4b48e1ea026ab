//! How values of settings are written: durations, sizes, pixels, networks. For `#[serde(deserialize_with)]` on the
//! fields of each room's settings; what a value should have looked like is the text of the error.
//!
//! Each takes text, which is all that a variable can hold; TOML's numbers arrive here as their digits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use secrecy::SecretString;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

/// The longest duration: far beyond use, and far from where adding it to a clock overflows.
const DURATION_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// The most jobs at once.
const WORKERS_MAX: usize = 10;

/// The most connections at once: as many descriptors as Linux gives a process by default (`fs.nr_open`), rounded.
const CONNECTIONS_MAX: usize = 1_000_000;

/// The least bytes of a secret that tokens are signed with.
const SECRET_BYTES_MIN: usize = 32;

/// The value that `parse` makes of one text without the spaces around it.
///
/// # Errors
/// `expected`, if there is no text or `parse` makes nothing of it.
pub fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(expected))?;
    parse(text.trim()).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

/// The value that `parse` makes of one text, or none where there is nothing but spaces.
///
/// # Errors
/// As for [`parsed`].
pub fn optional<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    parsed(deserializer, expected, |text| if text.is_empty() { Some(None) } else { parse(text).map(Some) })
}

/// An IP address and a port.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let expected = r#"an IP address and a port such as "0.0.0.0:8080" or "[::]:8080""#;
    parsed(deserializer, expected, |text| text.parse().ok())
}

/// An IP address and a port, or none where the text is empty.
pub fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let expected = r#"an IP address and a port such as "127.0.0.1:9464", or nothing"#;
    optional(deserializer, expected, |text| text.parse().ok())
}

/// A path.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    parsed(deserializer, "a path", |text| (!text.is_empty()).then(|| text.into()))
}

/// A path, or none where the text is empty.
pub fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    optional(deserializer, "a path", |text| Some(text.into()))
}

/// Any text, or none where it is empty.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    optional(deserializer, "text", |text| Some(text.to_owned()))
}

/// A secret to sign tokens with, its bytes as they are, spaces included; none where the text is empty. No error quotes it.
pub fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    match String::deserialize(deserializer) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) if text.len() >= SECRET_BYTES_MIN => Ok(Some(SecretString::from(text))),
        _ => {
            let expected = format!("a secret of at least {SECRET_BYTES_MIN} bytes");
            Err(D::Error::invalid_value(Unexpected::Other("[redacted]"), &expected.as_str()))
        }
    }
}

/// A duration above zero.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, r#"a duration above zero such as "30s" or "5m""#, |text| {
        parse_duration(text).filter(|duration| !duration.is_zero())
    })
}

/// A duration, zero included.
pub fn duration_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, r#"a duration such as "5s" or "0s""#, parse_duration)
}

/// A duration of at most ten years; none of any other text.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration <= DURATION_MAX)
}

/// A number of bytes above zero.
pub fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    parsed(deserializer, r#"a size above zero such as "100 MiB", or a number of bytes"#, |text| {
        parse_bytes(text).filter(|bytes| *bytes > 0)?.try_into().ok()
    })
}

/// A number of bytes, zero included.
pub fn bytes_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parsed(deserializer, r#"a size such as "1 GiB", or a number of bytes"#, parse_bytes)
}

/// A number of bytes above zero, or none for `auto`.
pub fn bytes_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let expected = r#"a size above zero such as "8 GiB", a number of bytes, or "auto""#;
    parsed(deserializer, expected, |text| match text {
        "auto" => Some(None),
        size => parse_bytes(size).filter(|bytes| *bytes > 0).map(Some),
    })
}

/// A number of bytes; none of any other text.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    // The library saturates; what does not fit is a slip, not a wish for the largest number.
    text.parse::<ByteSize>().ok().map(|size| size.0).filter(|bytes| *bytes < u64::MAX)
}

/// A number of pixels above zero. Takes numbers too, so that limits can be handed to a child process.
pub fn pixels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u64),
        Text(String),
    }
    let expected = r#"pixels above zero such as "100 MP", or their number"#;
    let pixels = match NumberOrText::deserialize(deserializer).map_err(|_| D::Error::custom(expected))? {
        NumberOrText::Number(pixels) => Some(pixels),
        NumberOrText::Text(text) => parse_pixels(text.trim()),
    };
    pixels.filter(|pixels| *pixels > 0).ok_or_else(|| D::Error::custom(expected))
}

/// A number of pixels; none of any other text.
pub(crate) fn parse_pixels(text: &str) -> Option<u64> {
    let (number, factor) = text.strip_suffix("MP").map_or((text, 1), |number| (number, 1_000_000));
    number.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

/// A whole number of at least 1.
pub fn count<'de, D: Deserializer<'de>, T: FromStr + Default + PartialEq>(deserializer: D) -> Result<T, D::Error> {
    parsed(deserializer, "a whole number of at least 1", |text| {
        text.parse().ok().filter(|number| *number != T::default())
    })
}

/// Connections at once: a number that a semaphore can count.
pub fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    parsed(deserializer, "a whole number from 1 to 1000000", |text| {
        text.parse().ok().filter(|connections| (1..=CONNECTIONS_MAX).contains(connections))
    })
}

/// `true` or `false`.
pub fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    parsed(deserializer, "true or false", |text| text.parse().ok())
}

/// A whole number, zero included.
pub fn count_or_zero<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    parsed(deserializer, "a whole number of at least 0", |text| text.parse().ok())
}

/// Yes or no.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    parsed(deserializer, "true or false", |text| text.parse().ok())
}

/// Jobs at once: `auto`, or a number that is clamped to 1 to 10.
pub fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    parsed(deserializer, r#"a whole number, or "auto""#, |text| match text {
        // Decoding and resizing use one core: with one job in flight a second one would idle meanwhile.
        "auto" => Some((cpus() - 1).clamp(cpus().min(2), WORKERS_MAX)),
        number => number.parse::<i64>().ok().map(|number| match usize::try_from(number.max(1)) {
            Ok(number) => number.min(WORKERS_MAX),
            Err(_) => WORKERS_MAX,
        }),
    })
}

/// A number of threads; 0 stands for one a CPU.
pub fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Ok(match count_or_zero(deserializer)? {
        0 => cpus(),
        threads => threads,
    })
}

fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// A number of at least 1 by which something grows.
pub fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parsed(deserializer, "a number of at least 1 such as 2 or 1.5", |text| {
        text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor >= 1.0)
    })
}

/// Networks as CIDRs, in a list or separated by commas; a plain address is the network of that address alone.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    items(deserializer, r#"networks as CIDRs such as "10.0.0.0/8" or "::1/128""#, |items| {
        items.iter().map(|item| item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).ok()).collect()
    })
}

/// Durations above zero, in a list or separated by commas.
pub fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    items(deserializer, r#"durations above zero such as "5s" and "2h""#, |items| {
        items.iter().map(|item| parse_duration(item).filter(|duration| !duration.is_zero())).collect()
    })
}

/// What `parse` makes of a list, which in a variable is separated by commas.
///
/// # Errors
/// `expected`, if it is no list or `parse` makes nothing of it.
pub fn items<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&[&str]) -> Option<T>,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrList {
        Text(String),
        List(Vec<String>),
    }
    let given = TextOrList::deserialize(deserializer).map_err(|_| D::Error::custom(expected))?;
    let items: Vec<&str> = match &given {
        TextOrList::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        TextOrList::List(items) => items.iter().map(|item| item.trim()).collect(),
    };
    parse(&items).ok_or_else(|| D::Error::custom(expected))
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    fn given(text: &str) -> StrDeserializer<'_, Error> {
        text.into_deserializer()
    }

    #[test]
    fn durations_are_above_zero_and_bounded() {
        assert_eq!(duration(given("1m 30s")), Ok(Duration::from_secs(90)));
        for bad in ["", "30", "0s", "-5s", "soon", "1000000years"] {
            assert!(duration(given(bad)).is_err(), "{bad}");
        }
        assert_eq!(duration_or_zero(given("0s")), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_take_both_kinds_of_units_and_plain_numbers() {
        for (text, expected) in [("100 MiB", 104_857_600), ("100MiB", 104_857_600), ("1 MB", 1_000_000), ("512", 512)] {
            assert_eq!(bytes::<_, u64>(given(text)), Ok(expected), "{text}");
        }
        for bad in ["0", "-1", "MiB", "99999999999 GiB", "5 apples"] {
            assert!(bytes::<_, u64>(given(bad)).is_err(), "{bad}");
        }
        assert!(bytes::<_, u32>(given("8 GiB")).is_err());
        assert_eq!(bytes_or_zero(given("0")), Ok(0));
    }

    #[test]
    fn pixels_take_millions_and_plain_numbers() {
        for (text, expected) in [("100 MP", 100_000_000), ("100MP", 100_000_000), ("640000", 640_000)] {
            assert_eq!(pixels(given(text)), Ok(expected), "{text}");
        }
        for bad in ["0", "0 MP", "MP", "1.5 MP", "99999999999999 MP"] {
            assert!(pixels(given(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_fit_their_type() {
        assert_eq!(count::<_, u32>(given(" 7 ")), Ok(7));
        for bad in ["0", "-1", "1.5", "4294967296"] {
            assert!(count::<_, u32>(given(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_grows_by_less_than_one() {
        assert_eq!(factor(given("1.5")), Ok(1.5));
        for bad in ["0.9", "-2", "inf", "NaN", "two"] {
            assert!(factor(given(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_come_as_text_or_list_and_a_plain_address_stands_for_itself() {
        let expected = ["10.0.0.0/8", "::1/128"].map(|net| net.parse::<IpNet>().expect("CIDR"));
        assert_eq!(networks(given("10.0.0.0/8, ::1,")), Ok(expected.to_vec()));
        let list = vec!["10.0.0.0/8", "::1/128"];
        assert_eq!(networks(IntoDeserializer::<Error>::into_deserializer(list)), Ok(expected.to_vec()));
        assert!(networks(given("10.0.0.0/33")).is_err());
    }

    #[test]
    fn a_secret_is_long_enough_or_empty_and_never_quoted() {
        assert!(optional_secret(given(" ")).expect("none").is_none());
        let error = optional_secret(given("short horse")).expect_err("too short").to_string();
        assert!(!error.contains("horse") && error.contains("at least 32 bytes"), "{error}");
    }

    #[test]
    fn empty_text_is_none_where_that_is_allowed() {
        assert_eq!(optional_text(given("")), Ok(None));
        assert_eq!(optional_path(given(" a/b ")), Ok(Some("a/b".into())));
        assert!(path(given("")).is_err());
    }
}
