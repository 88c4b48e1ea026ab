//! Where in a trace something belongs, as W3C Trace Context says it in two headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of `traceparent` in version 00. Later versions may go on behind a dash.
const BYTES: usize = 55;
/// Bytes of `tracestate` that are taken; who sends more must reckon with its loss.
const STATE_BYTES_MAX: usize = 512;

/// The span that something is a part of: of the request that it came with, or one of ours. Told to whom we call, so that
/// what they do is seen as a part of the same trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl TraceContext {
    /// That of a request with these headers. None if there is no `traceparent`, more than one, or none that is well-formed:
    /// then the request is the first of its trace.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (given, None) = (given.next()?, given.next()) else { return None };
        let traceparent = traceparent(given.to_str().ok()?)?;
        let members: Option<Vec<_>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
        let state = members.unwrap_or_default().join(",");
        let is_taken = !state.is_empty() && state.len() <= STATE_BYTES_MAX;
        Some(Self { traceparent, tracestate: is_taken.then_some(state) })
    }

    /// One of a span with these ids, as they are written in hexadecimal.
    #[cfg(feature = "otel")]
    pub(crate) fn new(trace_id: &str, span_id: &str, flags: u8, tracestate: String) -> Self {
        let tracestate = Some(tracestate).filter(|state| !state.is_empty());
        Self { traceparent: format!("00-{trace_id}-{span_id}-{flags:02x}"), tracestate }
    }

    /// The id that all spans of the trace have, in hexadecimal.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// The span's id, in hexadecimal.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// The lowest bit says that the trace is recorded.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.traceparent.get(53..BYTES).and_then(|flags| u8::from_str_radix(flags, 16).ok()).unwrap_or_default()
    }

    /// What the systems on the way have added, each for itself.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The headers that tell it.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let told = [(TRACEPARENT, Some(&self.traceparent)), (TRACESTATE, self.tracestate.as_ref())];
        told.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
    }

    /// Adds them to a request, unless it says itself where it belongs.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE) {
            headers.extend(self.headers());
        }
    }
}

/// `given` if it is well-formed: as it is if it is of version 00, else what version 00 knows of it.
fn traceparent(given: &str) -> Option<String> {
    let known = given.get(..BYTES)?;
    let mut fields = known.split('-');
    let (version, trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_hex = |field: &str, digits: usize| {
        field.len() == digits && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |field: &str, digits| is_hex(field, digits) && field.bytes().any(|byte| byte != b'0');
    let is_known = is_hex(version, 2) && is_id(trace_id, 32) && is_id(span_id, 16) && is_hex(flags, 2);
    match (version, &given[BYTES..]) {
        _ if !is_known || fields.next().is_some() => None,
        ("ff", _) => None,
        ("00", rest) => rest.is_empty().then(|| known.to_owned()),
        (_, rest) if rest.is_empty() || rest.starts_with('-') => {
            let is_recorded = u8::from_str_radix(flags, 16).ok()? & 1;
            Some(format!("00-{trace_id}-{span_id}-{is_recorded:02x}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[(HeaderName, &str)]) -> Option<TraceContext> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("ASCII")));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        TraceContext::from_headers(&map)
    }

    #[test]
    fn a_well_formed_traceparent_is_told_on_as_it_came() {
        let context = of(&[(TRACEPARENT, GIVEN), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]).expect("well-formed");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((context.span_id(), context.flags()), ("00f067aa0ba902b7", 1));
        let told: HeaderMap = context.headers().collect();
        assert_eq!(
            (&told[TRACEPARENT], &told[TRACESTATE]),
            (&GIVEN.parse().expect("ASCII"), &"a=1,b=2".parse().expect("ASCII"))
        );
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        for malformed in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6-3ce929d0e0e47361-0f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&[(TRACEPARENT, malformed)]), None, "{malformed}");
        }
        assert_eq!(of(&[(TRACEPARENT, GIVEN), (TRACEPARENT, GIVEN)]), None, "two of them");
        assert_eq!(of(&[(TRACESTATE, "a=1")]), None, "a state of nothing");
    }

    #[test]
    fn of_a_later_version_what_version_00_knows_is_taken() {
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
        ] {
            assert_eq!(of(&[(TRACEPARENT, later)]), of(&[(TRACEPARENT, GIVEN)]), "{later}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_lost_and_the_trace_is_not() {
        let long = format!("a={}", "x".repeat(STATE_BYTES_MAX));
        assert_eq!(of(&[(TRACEPARENT, GIVEN), (TRACESTATE, &long)]), of(&[(TRACEPARENT, GIVEN)]));
    }

    #[test]
    fn what_a_request_says_of_itself_stays() {
        let context = of(&[(TRACEPARENT, GIVEN)]).expect("well-formed");
        for own in [TRACEPARENT, TRACESTATE] {
            let mut headers = HeaderMap::from_iter([(own.clone(), HeaderValue::from_static("own"))]);
            context.add_to(&mut headers);
            assert_eq!((headers.len(), &headers[own]), (1, &HeaderValue::from_static("own")));
        }
    }
}
