//! How many requests an address, and how many uploads a user, may make in a second.
//!
//! Both are leaky buckets that hold what some seconds bring: bursts pass, floods don't. `/files`, `/health` and
//! `/version` are not counted. Behind a proxy every client has the proxy's address, so a trusted proxy's
//! `X-Forwarded-For` says which client it is, and the proxy itself is never limited.
//!
//! Whoever was counted is told how much is left: [`fields`] writes it.

mod fields;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::Deserialize;
use tracing::warn;

use self::fields::{ServiceLimit, write};
use super::Refusal;
use crate::job::{Owner, TenantKey};
use crate::setting;
use crate::telemetry::Tally;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

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
    /// Servers that take requests beside each other: each lets through its share.
    servers: AtomicU32,
    refused: Tally,
    /// A peer that isn't trusted said whom it speaks for, and the log has it.
    is_forwarder_known: AtomicBool,
}

impl Rates {
    /// Limits that nobody has used yet.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let RateSettings { rate_per_address, rate_per_user, trusted_proxies } = settings;
        let refused = Tally::new(|count, last| warn!(count, last = %last, "requests refused for their rate"));
        Self {
            addresses: Buckets::new(Policy::Address, rate_per_address),
            users: Buckets::new(Policy::User, rate_per_user),
            trusted_proxies,
            servers: AtomicU32::new(1),
            refused,
            is_forwarder_known: AtomicBool::new(false),
        }
    }

    /// Says how many servers take requests beside each other, this one included: the limits are those of all together, and each
    /// lets through its share of them.
    pub fn share_among(&self, servers: u32) {
        self.servers.store(servers.max(1), Ordering::Relaxed);
    }

    /// What is counted as the address of a peer; none for a trusted proxy, which is not limited.
    #[must_use]
    pub fn limited_address(&self, Peer(peer): Peer) -> Option<IpAddr> {
        let peer = peer.ip().to_canonical();
        (!self.is_trusted(peer)).then(|| network(peer))
    }

    /// Counts a refused request, of this address.
    pub(super) fn note_refused(&self, client: Option<IpAddr>) {
        self.refused.count(client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    }

    /// Counts an upload of this owner's tenant. What is left then is told with the answer of the request that this task
    /// answers.
    pub(super) fn count_upload(&self, owner: &Owner) -> Result<(), Refusal> {
        let Some(users) = &self.users else { return Ok(()) };
        let counted = users.take(&owner.tenant_key(), self.servers.load(Ordering::Relaxed));
        // Outside of a request there is nobody to tell.
        let _ = COUNTED.try_with(|all| all.borrow_mut().push(counted));
        counted.refusal()
    }

    fn count_request(&self, peer: Peer, headers: &HeaderMap) -> Option<ServiceLimit> {
        let (addresses, address) = (self.addresses.as_ref()?, self.counted_address(peer, headers)?);
        Some(addresses.take(&address, self.servers.load(Ordering::Relaxed)))
    }

    /// What a request is counted as the address of; none if only trusted proxies are known.
    pub(super) fn counted_address(&self, peer: Peer, headers: &HeaderMap) -> Option<IpAddr> {
        self.client(peer, headers).map(network)
    }

    /// The client that a request comes from; none if only trusted proxies are known. A hop that can't be read counts as
    /// the proxy itself, which is then limited: nobody escapes their limit by what they write.
    pub(super) fn client(&self, Peer(peer): Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.ip().to_canonical();
        let mut lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        if !self.is_trusted(peer) {
            if lines.next().is_some() {
                self.warn_of_forwarder(peer);
            }
            return Some(peer);
        }
        // Each proxy appends whom it heard. Read from the end, the first that is no proxy of ours is the client; what
        // stands before it is the client's own invention.
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("not text").rsplit(','));
        hops.map(parse_hop).find_map(|hop| match hop {
            Some(address) => (!self.is_trusted(address)).then_some(address),
            None => Some(peer),
        })
    }

    fn warn_of_forwarder(&self, peer: IpAddr) {
        if !self.is_forwarder_known.swap(true, Ordering::Relaxed) {
            warn!(
                %peer,
                "X-Forwarded-For ignored: its sender is not in server.trusted_proxies; if it is your proxy, all clients \
                 behind it share one limit. This is logged once"
            );
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy.contains(&address))
    }
}

/// A hop of `X-Forwarded-For`: an address, with or without a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.map(|address| address.to_canonical()).ok()
}

/// What is counted as one client: whoever has an IPv6 address has, as a rule, its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

tokio::task_local! {
    /// What the request that this task answers was counted against.
    static COUNTED: RefCell<Vec<ServiceLimit>>;
}

/// Refuses the requests of an address that exceeds its rate, and tells with each answer how much is left of the limits that
/// the request was counted against.
pub(super) async fn limit_address(State(rates): State<Arc<Rates>>, request: Request, next: Next) -> Response {
    // What a browser asks before a page's request is not the page's doing, and costs nothing.
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().copied();
    let counted = peer.and_then(|peer| rates.count_request(peer, request.headers()));
    let answer = async {
        let mut response = match counted.map_or(Ok(()), ServiceLimit::refusal) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        };
        COUNTED.with(|counted| write(&counted.borrow(), response.headers_mut()));
        response
    };
    COUNTED.scope(RefCell::new(counted.into_iter().collect()), answer).await
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Those of an address.
    Address,
    /// Uploads of a tenant.
    User,
}

impl Policy {
    /// Its name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
        }
    }
}

/// How many of something each address has, up to a limit.
#[derive(Debug)]
pub struct AddressCounts {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct AddressCount {
    counts: Arc<AddressCounts>,
    address: IpAddr,
}

impl AddressCounts {
    /// None yet, and never more than `max` of one address.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, counts: Mutex::default() }
    }

    /// One more of this address; none if it has as many as it may.
    #[must_use]
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<AddressCount> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressCount { counts: Arc::clone(self), address })
    }
}

impl Drop for AddressCount {
    fn drop(&mut self) {
        let mut counts = self.counts.counts.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A bucket for each key.
struct Buckets<K: Clone + Eq + Hash> {
    policy: Policy,
    limiter: Limiter<K>,
    /// Requests a second that it regains.
    rate: NonZeroU32,
    /// Requests that it holds.
    burst: NonZeroU32,
    taken: AtomicU32,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// None if there is no limit.
    fn new(policy: Policy, per_second: u32) -> Option<Self> {
        let rate = NonZeroU32::new(per_second)?;
        let burst = NonZeroU32::new(per_second.saturating_mul(BURST_SECS)).unwrap_or(rate);
        let limiter = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)).with_middleware();
        Some(Self { policy, limiter, rate, burst, taken: AtomicU32::new(0) })
    }

    /// One of so many servers' requests counts as that many: what all let through together is the limit. So the quota that is
    /// told is this server's share, which holds whichever of them the client's next requests come to.
    fn take(&self, key: &K, servers: u32) -> ServiceLimit {
        if self.taken.fetch_add(1, Ordering::Relaxed) % CLEANUP_EVERY == CLEANUP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        // With more servers than a burst has requests, each lets one through a burst.
        let weight = NonZeroU32::new(servers).map_or(NonZeroU32::MIN, |servers| servers.min(self.burst));
        let quota = self.burst.get() / weight;
        let taken = self.limiter.check_key_n(key, weight).expect("INVARIANT: it weighs no more than a burst");
        let (remaining, reset_secs) = match &taken {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let remaining = left / weight;
                // What it has to regain until one more passes, or until it is as it was. All is whole requests, of which a second
                // brings a whole number: rounded up to seconds that is exact, although `left` was rounded down.
                let wanted = if remaining == 0 { weight.get() } else { quota * weight.get() };
                (remaining, u64::from((wanted - left).div_ceil(self.rate.get())))
            }
            // At least one: whoever comes back too early is refused again.
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                (0, (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            }
        };
        ServiceLimit { policy: self.policy, quota, remaining, reset_secs, is_exceeded: taken.is_err() }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;
    use crate::telemetry::Capture;

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
    }

    #[test]
    fn a_hop_that_cannot_be_read_counts_as_the_proxy_and_a_port_is_no_matter() {
        for line in ["198.51.100.1, unknown", "198.51.100.1, 10.2.2.2, _hidden", "", "198.51.100.1,"] {
            assert_eq!(client("10.1.1.1", &[line]).as_deref(), Some("10.1.1.1"), "{line:?}");
        }
        assert_eq!(client("10.1.1.1", &["198.51.100.1:4711"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("10.1.1.1", &["[2001:db8::1]:4711"]).as_deref(), Some("2001:db8::1"));
        // Bytes that are no text.
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_bytes(b"\xff").expect("a header"));
        let peer = Peer(([10, 1, 1, 1], 1).into());
        assert_eq!(rates().client(peer, &headers), Some(IpAddr::from([10, 1, 1, 1])));
    }

    #[test]
    fn servers_beside_each_other_let_through_together_what_one_alone_would() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let let_through = |servers: u32| {
            let rates = rates();
            rates.share_among(servers);
            let addresses = rates.addresses.as_ref().expect("they are limited");
            // A burst is ten; no time passes that matters.
            (0..20).filter(|_| !addresses.take(&address, rates.servers.load(Ordering::Relaxed)).is_exceeded).count()
        };
        assert_eq!([0, 1, 2, 5, 10, 50].map(let_through), [10, 10, 5, 2, 1, 1]);
    }

    #[test]
    fn an_address_has_no_more_than_its_share_and_nothing_is_kept_of_who_left() {
        let counts = Arc::new(AddressCounts::new(1));
        let address = IpAddr::from([192, 0, 2, 1]);
        let held = counts.take(address);
        assert!(held.is_some() && counts.take(address).is_none());
        assert!(counts.take(IpAddr::from([192, 0, 2, 2])).is_some(), "another's");
        drop(held);
        assert!(counts.counts.lock().is_empty());
    }

    #[tokio::test]
    async fn a_forwarder_that_is_not_trusted_is_warned_of_once() {
        let capture = Capture::new();
        let _default = tracing::dispatcher::set_default(&capture.dispatch());
        let rates = rates();
        let headers: HeaderMap =
            [(HeaderName::from_static(X_FORWARDED_FOR), HeaderValue::from_static("1.2.3.4"))].into_iter().collect();
        for address in [[192, 0, 2, 1], [192, 0, 2, 2], [10, 1, 1, 1]] {
            rates.client(Peer((address, 1).into()), &headers);
        }
        assert_eq!(capture.text().matches("trusted_proxies").count(), 1, "{}", capture.text());
        assert!(capture.text().contains("192.0.2.1"));
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
        let network_of = |address: &str| network(address.parse().expect("an address"));
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::ffff:1"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let buckets = Buckets::new(Policy::Address, 1).expect("a limit");
        let outcomes: Vec<bool> = (0..BURST_SECS + 5).map(|_| !buckets.take(&"me", 1).is_exceeded).collect();
        assert!(outcomes[..BURST_SECS as usize].iter().all(|ok| *ok));
        assert!(outcomes[BURST_SECS as usize..].iter().any(|ok| !*ok), "{outcomes:?}");
        assert!(!buckets.take(&"you", 1).is_exceeded, "others are not concerned");
    }

    #[test]
    fn what_is_told_of_a_limit_is_what_is_let_through_and_when() {
        // So fast that a test's own time hardly matters, and so large that a burst takes seconds to come back.
        for (servers, quota) in [(1, 10_000), (3, 3333), (7000, 1), (20_000, 1)] {
            let buckets = Buckets::new(Policy::User, 1000).expect("a limit");
            let first = buckets.take(&"me", servers);
            assert_eq!((first.policy, first.quota, first.is_exceeded), (Policy::User, quota, false), "{servers}");
            let regained = u64::from(servers.min(10_000)).div_ceil(1000);
            if quota == 1 {
                // Two of 7,000 don't fit into 10,000: what is missing comes back in four seconds.
                let missing = 2 * u64::from(servers.min(10_000)) - 10_000;
                assert_eq!((first.remaining, first.reset_secs), (0, missing.div_ceil(1000)), "{servers}");
                let refused = buckets.take(&"me", servers);
                assert!(refused.is_exceeded && refused.remaining == 0, "{servers}: {refused:?}");
                assert!((1..=first.reset_secs).contains(&refused.reset_secs), "{servers}: {refused:?}");
            } else {
                assert_eq!((first.remaining, first.reset_secs), (quota - 1, regained), "{servers}");
                for _ in 0..quota / 2 {
                    buckets.take(&"me", servers);
                }
                let half = buckets.take(&"me", servers);
                assert!(half.remaining >= quota / 2 - 2, "{servers}: {half:?}");
                assert!((1..=6).contains(&half.reset_secs), "{servers}: {half:?}");
            }
        }
    }
}
