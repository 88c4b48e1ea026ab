//! How many requests an address, and how many uploads a user, may make in a second.
//!
//! Both are leaky buckets that hold what some seconds bring: bursts pass, floods don't. `/files`, `/health` and
//! `/version` are not counted. Behind a proxy every client has the proxy's address, so a trusted proxy's
//! `X-Forwarded-For` says which client it is, and the proxy itself is never limited.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use serde::Deserialize;

use super::Refusal;
use crate::job::{Owner, TenantKey};
use crate::setting;

/// How many seconds' worth may come at once.
const BURST_SECS: u32 = 10;

/// After so many requests, the buckets that are full again are dropped.
const CLEANUP_EVERY: u32 = 4096;

/// The address at the other end of the connection. The listener puts it into every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// How often requests may come.
#[derive(Clone, Debug, Deserialize)]
pub struct RateSettings {
    /// Requests a second of one address, on average; 0 for no limit.
    #[serde(deserialize_with = "setting::count_or_zero")]
    pub rate_per_address: u32,
    /// Uploads a second of one registered user, or of one `sub` of the keys of `jwt.json`, on average; 0 for no limit.
    #[serde(deserialize_with = "setting::count_or_zero")]
    pub rate_per_user: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "setting::networks")]
    pub trusted_proxies: Vec<IpNet>,
}

/// How often each address and each user has come lately.
pub struct Rates {
    addresses: Option<Buckets<IpAddr>>,
    users: Option<Buckets<TenantKey>>,
    trusted_proxies: Vec<IpNet>,
}

impl Rates {
    /// Limits that nobody has used yet.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let RateSettings { rate_per_address, rate_per_user, trusted_proxies } = settings;
        Self { addresses: Buckets::new(rate_per_address), users: Buckets::new(rate_per_user), trusted_proxies }
    }

    /// Counts an upload of this owner's tenant.
    pub(super) fn count_upload(&self, owner: &Owner) -> Result<(), Refusal> {
        self.users.as_ref().map_or(Ok(()), |users| users.take(&owner.tenant_key()))
    }

    fn count_request(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        match (&self.addresses, self.client(peer, headers)) {
            (Some(addresses), Some(client)) => addresses.take(&client),
            _ => Ok(()),
        }
    }

    /// The client that a request comes from; none if only trusted proxies are known.
    fn client(&self, Peer(peer): Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.ip().to_canonical();
        if !self.is_trusted(peer) {
            return Some(network(peer));
        }
        // Each proxy appends whom it heard. Read from the end, the first that is no proxy of ours is the client; what
        // stands before it is the client's own invention.
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
        hops.map_while(|hop| hop.trim().parse::<IpAddr>().ok())
            .map(|hop| hop.to_canonical())
            .find(|hop| !self.is_trusted(*hop))
            .map(network)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy.contains(&address))
    }
}

/// What is counted as one client: whoever has an IPv6 address has, as a rule, its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// Refuses the requests of an address that exceeds its rate.
pub(super) async fn limit_address(State(rates): State<Arc<Rates>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match peer.map_or(Ok(()), |peer| rates.count_request(peer, request.headers())) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// A bucket for each key.
struct Buckets<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    taken: AtomicU32,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// None if there is no limit.
    fn new(per_second: u32) -> Option<Self> {
        let rate = NonZeroU32::new(per_second)?;
        let burst = NonZeroU32::new(per_second.saturating_mul(BURST_SECS)).unwrap_or(rate);
        let limiter = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst));
        Some(Self { limiter, taken: AtomicU32::new(0) })
    }

    fn take(&self, key: &K) -> Result<(), Refusal> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % CLEANUP_EVERY == CLEANUP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::TooManyRequests { retry_after_secs: whole_seconds(wait) }
        })
    }
}

/// Rounded up, at least one: whoever comes back too early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|net| net.parse().expect("a network"));
        Rates::new(RateSettings { rate_per_address: 1, rate_per_user: 0, trusted_proxies: trusted.to_vec() })
    }

    fn client(peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().expect("a header"));
        }
        let peer = Peer(SocketAddr::new(peer.parse().expect("an address"), 1234));
        rates().client(peer, &headers).map(|client| client.to_string())
    }

    #[test]
    fn a_stranger_is_its_own_address_whatever_it_says() {
        assert_eq!(client("192.0.2.7", &["198.51.100.1"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(client("::ffff:192.0.2.7", &[]).as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn a_trusted_proxy_speaks_for_the_last_that_is_none_of_ours() {
        assert_eq!(client("10.1.1.1", &["203.0.113.5, 198.51.100.1, 10.2.2.2"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("::1", &["203.0.113.5", "198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("10.1.1.1", &[]), None);
        assert_eq!(client("10.1.1.1", &["198.51.100.1, unknown"]), None);
    }

    #[test]
    fn a_registered_user_has_one_rate_for_all_its_subjects() {
        let rates = Rates::new(RateSettings { rate_per_address: 0, rate_per_user: 1, trusted_proxies: Vec::new() });
        let taken = |user: Option<&str>| {
            let owner = |n: u32| Owner { user: user.map(str::to_owned), access_key: None, sub: format!("sub-{n}") };
            (0..3 * BURST_SECS).filter(|n| rates.count_upload(&owner(*n)).is_ok()).count()
        };
        let invented = taken(Some("shop"));
        assert!((BURST_SECS as usize..2 * BURST_SECS as usize).contains(&invented), "{invented}");
        assert_eq!(taken(None), 3 * BURST_SECS as usize, "the keys of `jwt.json` say who is who");
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_client() {
        assert_eq!(client("2001:db8::1", &[]), client("2001:db8::ffff:1", &[]));
        assert_ne!(client("2001:db8::1", &[]), client("2001:db8:0:1::1", &[]));
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let buckets = Buckets::new(1).expect("a limit");
        let outcomes: Vec<bool> = (0..BURST_SECS + 5).map(|_| buckets.take(&"me").is_ok()).collect();
        assert!(outcomes[..BURST_SECS as usize].iter().all(|ok| *ok));
        assert!(outcomes[BURST_SECS as usize..].iter().any(|ok| !*ok), "{outcomes:?}");
        assert!(buckets.take(&"you").is_ok(), "others are not concerned");
    }
}
