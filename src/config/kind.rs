//! The kinds of values that settings have, and how each is understood.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use secrecy::SecretString;

use super::layer::Given;
use crate::telemetry;

/// The longest duration: far beyond use, and far from where adding it to a clock overflows.
const DURATION_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// The least bytes of a secret that tokens are signed with.
const SECRET_BYTES_MIN: usize = 32;

/// The value that was given, if it is of the kind.
type Parse<T> = dyn Fn(&Given) -> Option<T>;

/// How the values of a setting are understood.
pub(super) struct Kind<T> {
    /// What a value looks like, for messages.
    pub(super) expected: String,
    /// Whether messages must not show what was given.
    pub(super) is_secret: bool,
    parse: Box<Parse<T>>,
}

impl<T> Kind<T> {
    /// A kind whose values are one text.
    fn of_text(expected: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Self {
        let parse = move |given: &Given| match given {
            Given::Text(text) => parse(text.trim()),
            Given::List(_) | Given::Table => None,
        };
        Self { expected: expected.into(), is_secret: false, parse: Box::new(parse) }
    }

    pub(super) fn parse(&self, given: &Given) -> Option<T> {
        (self.parse)(given)
    }
}

/// `kind`, or none where the text is empty.
pub(super) fn optional<T: 'static>(kind: Kind<T>) -> Kind<Option<T>> {
    let parse = move |given: &Given| match given {
        Given::Text(text) if text.trim().is_empty() => Some(None),
        other => (kind.parse)(other).map(Some),
    };
    Kind { expected: kind.expected, is_secret: kind.is_secret, parse: Box::new(parse) }
}

/// An IP address and a port.
pub(super) fn address() -> Kind<SocketAddr> {
    Kind::of_text(r#"an IP address and a port such as "0.0.0.0:8080" or "[::]:8080""#, |text| text.parse().ok())
}

/// A path.
pub(super) fn path() -> Kind<PathBuf> {
    Kind::of_text("a path", |text| (!text.is_empty()).then(|| text.into()))
}

/// Any text but an empty one.
pub(super) fn text() -> Kind<String> {
    Kind::of_text("text", |text| (!text.is_empty()).then(|| text.to_owned()))
}

/// A secret to sign tokens with. Its bytes are taken as they are, spaces included.
pub(super) fn secret() -> Kind<SecretString> {
    let parse = |given: &Given| match given {
        Given::Text(text) if text.len() >= SECRET_BYTES_MIN => Some(SecretString::from(text.clone())),
        _ => None,
    };
    Kind { expected: format!("a secret of at least {SECRET_BYTES_MIN} bytes"), is_secret: true, parse: Box::new(parse) }
}

/// A duration above zero.
pub(super) fn duration() -> Kind<Duration> {
    Kind::of_text(r#"a duration above zero such as "30s" or "5m""#, |text| {
        parse_duration(text).filter(|duration| !duration.is_zero())
    })
}

/// A duration, zero included.
pub(super) fn duration_or_zero() -> Kind<Duration> {
    Kind::of_text(r#"a duration such as "5s" or "0s""#, parse_duration)
}

fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration <= DURATION_MAX)
}

/// A number of bytes above zero.
pub(super) fn bytes<T: TryFrom<u64> + 'static>() -> Kind<T> {
    Kind::of_text(r#"a size above zero such as "100 MiB", or a number of bytes"#, |text| {
        parse_bytes(text).filter(|bytes| *bytes > 0)?.try_into().ok()
    })
}

/// A number of bytes above zero, or none for `auto`.
pub(super) fn bytes_or_auto() -> Kind<Option<u64>> {
    Kind::of_text(r#"a size above zero such as "8 GiB", a number of bytes, or "auto""#, |text| match text {
        "auto" => Some(None),
        size => parse_bytes(size).filter(|bytes| *bytes > 0).map(Some),
    })
}

/// A number of bytes, zero included.
pub(super) fn bytes_or_zero() -> Kind<u64> {
    Kind::of_text(r#"a size such as "1 GiB", or a number of bytes"#, parse_bytes)
}

fn parse_bytes(text: &str) -> Option<u64> {
    // The library saturates; what does not fit is a slip, not a wish for the largest number.
    text.parse::<ByteSize>().ok().map(|size| size.0).filter(|bytes| *bytes < u64::MAX)
}

/// A number of pixels above zero.
pub(super) fn pixels() -> Kind<u64> {
    Kind::of_text(r#"pixels above zero such as "100 MP", or their number"#, |text| {
        let (number, factor) = text.strip_suffix("MP").map_or((text, 1), |number| (number, 1_000_000));
        number.trim_end().parse::<u64>().ok()?.checked_mul(factor).filter(|pixels| *pixels > 0)
    })
}

/// A whole number of at least 1.
pub(super) fn count<T: FromStr + Default + PartialEq + 'static>() -> Kind<T> {
    Kind::of_text("a whole number of at least 1", |text| text.parse().ok().filter(|number| *number != T::default()))
}

/// A whole number, zero included.
pub(super) fn count_or_zero<T: FromStr + 'static>() -> Kind<T> {
    Kind::of_text("a whole number of at least 0", |text| text.parse().ok())
}

/// A whole number, or none for `auto`.
pub(super) fn number_or_auto() -> Kind<Option<i64>> {
    Kind::of_text(r#"a whole number, or "auto""#, |text| match text {
        "auto" => Some(None),
        number => number.parse().ok().map(Some),
    })
}

/// Networks as CIDRs; a plain address is the network of that address alone.
pub(super) fn networks() -> Kind<Vec<IpNet>> {
    let parse = |given: &Given| match given {
        Given::Text(text) => parse_networks(text.split(',').map(str::trim).filter(|item| !item.is_empty())),
        Given::List(items) => parse_networks(items.iter().map(|item| item.trim())),
        Given::Table => None,
    };
    Kind {
        expected: r#"networks as CIDRs such as "10.0.0.0/8" or "::1/128""#.into(),
        is_secret: false,
        parse: Box::new(parse),
    }
}

fn parse_networks<'a>(items: impl Iterator<Item = &'a str>) -> Option<Vec<IpNet>> {
    items.map(|item| item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).ok()).collect()
}

/// A log filter.
pub(super) fn filter() -> Kind<String> {
    Kind::of_text(r#"a log filter such as "info" or "info,pixerve::worker=debug""#, |text| {
        telemetry::parse_filter(text).ok().map(|_| text.to_owned())
    })
}

/// One of a few words.
pub(super) fn one_of<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let names: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    Kind::of_text(names.join(" or "), |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
}
