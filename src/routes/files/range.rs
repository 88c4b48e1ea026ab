//! Which bytes a request wants (RFC 9110, section 14).

use http::HeaderMap;
use http::header::RANGE;

/// Which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole file.
    Whole,
    /// From `first` to `last`, both included.
    Part { first: u64, last: u64 },
    /// Only bytes that the file doesn't have.
    Unsatisfiable,
}

/// Which bytes, whatever the file's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeOfAny {
    /// From `first` on, to the file's end or to `last`, included and not before `first`.
    From { first: u64, last: Option<u64> },
    /// So many at the end.
    Last(u64),
}

impl RangeOfAny {
    fn of(self, bytes: u64) -> RequestedRange {
        let (first, last) = match self {
            Self::From { first, last } => (first, last.unwrap_or(bytes)),
            Self::Last(suffix) => (bytes - suffix.min(bytes), bytes),
        };
        if first >= bytes {
            return RequestedRange::Unsatisfiable;
        }
        RequestedRange::Part { first, last: last.min(bytes - 1) }
    }
}

/// Reads `Range` for a file of `bytes` bytes.
pub(super) fn parse(headers: &HeaderMap, bytes: u64) -> RequestedRange {
    of_any(headers).map_or(RequestedRange::Whole, |range| range.of(bytes))
}

/// Reads `Range` for a file of any size; none for the whole. What isn't understood is ignored, as it must be; so is a list
/// of several ranges, as it may be: nobody shows a picture that way, and answering lists has brought servers down.
///
/// By hand, unlike the conditions: `headers::Range` (0.4) drops what it can't read or satisfy from its list without a
/// word, so that a list with one good range, a malformed range and one behind the end of the file look alike; it has no
/// range for a suffix longer than the file (RFC 9110 wants the whole), takes `+1` for a number, none above 64 bits, and
/// knows the unit in lower case only.
pub(super) fn of_any(headers: &HeaderMap) -> Option<RangeOfAny> {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().and_then(single)
}

fn single(value: &str) -> Option<RangeOfAny> {
    let (unit, range) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first, last) {
        ("", suffix) => number(suffix).map(RangeOfAny::Last),
        (first, "") => Some(RangeOfAny::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(RangeOfAny::From { first, last: Some(last) })
        }
    }
}

/// Digits alone; more than a u64 holds are as good as the largest.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = |first, last| RequestedRange::Part { first, last };
        for (value, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-99", part(0, 99)),
            ("bytes=10-19", part(10, 19)),
            ("bytes=10-", part(10, 99)),
            ("bytes=0-", part(0, 99)),
            ("bytes=99-", part(99, 99)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=0-99999999999999999999999", part(0, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-100", part(0, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=-99999999999999999999999", part(0, 99)),
            ("Bytes=5-6", part(5, 6)),
            ("bytes= 5-6 ", part(5, 6)),
            ("bytes=100-", RequestedRange::Unsatisfiable),
            ("bytes=100-200", RequestedRange::Unsatisfiable),
            ("bytes=99999999999999999999999-", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            // Not understood, or several: the whole file.
            ("bytes=5-4", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=", RequestedRange::Whole),
            ("bytes", RequestedRange::Whole),
            ("", RequestedRange::Whole),
            ("bytes=a-b", RequestedRange::Whole),
            ("bytes=+1-2", RequestedRange::Whole),
            ("bytes=1-2-3", RequestedRange::Whole),
            ("bytes=--1", RequestedRange::Whole),
            ("bytes=0x1-0x2", RequestedRange::Whole),
            ("bytes=1 - 2", RequestedRange::Whole),
            ("bytes=0-1,5-6", RequestedRange::Whole),
            ("bytes=0-,0-,0-", RequestedRange::Whole),
            ("items=0-1", RequestedRange::Whole),
            ("bytes 0-1", RequestedRange::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, value.parse().expect("a header value"));
            assert_eq!(parse(&headers, 100), wanted, "{value:?}");
        }
        assert_eq!(parse(&HeaderMap::new(), 100), RequestedRange::Whole);
    }

    #[test]
    fn an_empty_file_has_no_range() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, value.parse().expect("a header value"));
            assert_eq!(parse(&headers, 0), RequestedRange::Unsatisfiable, "{value:?}");
        }
    }
}
