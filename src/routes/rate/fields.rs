//! What is left of a limit, as answers tell it: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{BURST_SECS, Policy};
use crate::routes::Refusal;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A limit, as of a request that was counted against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServiceLimit {
    pub(super) policy: Policy,
    /// Requests that may come at once, in so many seconds on average.
    pub(super) quota: u32,
    /// How many may still come at once.
    pub(super) remaining: u32,
    /// Seconds until one more may come if none may, else until all are there again. Rounded up.
    pub(super) reset_secs: u64,
    /// The request was one too many.
    pub(super) is_exceeded: bool,
}

impl ServiceLimit {
    /// A refusal if the request was one too many.
    pub(super) fn refusal(self) -> Result<(), Refusal> {
        if !self.is_exceeded {
            return Ok(());
        }
        Err(Refusal::TooManyRequests { policy: self.policy.as_str(), retry_after_secs: self.reset_secs })
    }
}

/// Names all limits that a request was counted against, and says how the one is that will be at its end first.
pub(super) fn write(limits: &[ServiceLimit], headers: &mut HeaderMap) {
    let Some(nearest) = limits.iter().min_by_key(|limit| (!limit.is_exceeded, limit.remaining)) else { return };
    let policies = limits.iter().map(|limit| format!("\"{}\";q={};w={BURST_SECS}", limit.policy.as_str(), limit.quota));
    let policies = policies.collect::<Vec<_>>().join(", ");
    let limit = format!("\"{}\";r={};t={}", nearest.policy.as_str(), nearest.remaining, nearest.reset_secs);
    for (name, value) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, limit)] {
        headers.insert(name, HeaderValue::try_from(value).expect("INVARIANT: a policy's name is a plain word"));
    }
}

#[cfg(test)]
mod tests {
    use sfv::{BareItem, Item, List, ListEntry, Parser};

    use super::*;

    fn limit(policy: Policy, remaining: u32, is_exceeded: bool) -> ServiceLimit {
        ServiceLimit { policy, quota: 1000, remaining, reset_secs: 7, is_exceeded }
    }

    /// A field as any client parses it: each string, with its parameters, all of which are integers.
    fn parsed(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, Vec<(String, i64)>)> {
        let list: List = Parser::new(headers[name].as_bytes()).parse().expect("a structured field");
        let item = |entry: ListEntry| {
            let ListEntry::Item(Item { bare_item: BareItem::String(policy), params }) = entry else {
                panic!("no string: {entry:?}")
            };
            let integer = |value: &BareItem| i64::from(value.as_integer().expect("an integer"));
            let parameters = params.iter().map(|(name, value)| (name.as_str().to_owned(), integer(value)));
            (policy.as_str().to_owned(), parameters.collect())
        };
        list.into_iter().map(item).collect()
    }

    #[test]
    fn a_structured_field_parser_reads_every_limit_and_the_one_that_is_nearest_to_its_end() {
        let named = |policy: &str, parameters: &[(&str, i64)]| {
            (policy.to_owned(), parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Vec<_>>())
        };
        for (address, user, nearest) in [
            (
                limit(Policy::Address, 900, false),
                limit(Policy::User, 487, false),
                named("user", &[("r", 487), ("t", 7)]),
            ),
            (
                limit(Policy::Address, 3, false),
                limit(Policy::User, 487, false),
                named("address", &[("r", 3), ("t", 7)]),
            ),
            // Of two of which nothing is left, the one that refuses.
            (limit(Policy::Address, 0, false), limit(Policy::User, 0, true), named("user", &[("r", 0), ("t", 7)])),
        ] {
            let mut headers = HeaderMap::new();
            write(&[address, user], &mut headers);
            let policy = |policy| named(policy, &[("q", 1000), ("w", 10)]);
            assert_eq!(parsed(&headers, &RATE_LIMIT_POLICY), [policy("address"), policy("user")]);
            assert_eq!(parsed(&headers, &RATE_LIMIT), [nearest]);
        }
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_told() {
        let mut headers = HeaderMap::new();
        write(&[], &mut headers);
        assert!(headers.is_empty());
    }
}
