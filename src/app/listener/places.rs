//! Places for connections: so many in all, so many for an address. A request over HTTP/2 takes one as well, since it may
//! hold as much memory as a connection of HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::routes::{AddressCount, AddressCounts, ConnectionCount, HttpMetrics, Peer, Rates};

/// How often idle connections are asked to make room while none is free.
const CROWDED_EVERY: Duration = Duration::from_millis(100);

/// Who has which place. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    all: Arc<Semaphore>,
    /// None for no limit.
    per_address: Option<Arc<AddressCounts>>,
    rates: Arc<Rates>,
    metrics: HttpMetrics,
    crowded: Notify,
}

/// A place, free again when dropped.
pub(super) struct Place {
    _free: OwnedSemaphorePermit,
    _of_address: Option<AddressCount>,
    _count: ConnectionCount,
}

impl Places {
    /// `per_address_max` of 0 is none; more than three quarters of all are never one address's, so that there is a place
    /// for someone else.
    pub(super) fn new(connections_max: usize, per_address_max: usize, rates: Arc<Rates>, metrics: HttpMetrics) -> Self {
        let most = (connections_max - connections_max / 4).max(1);
        Self(Arc::new(Shared {
            all: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            per_address: (per_address_max > 0).then(|| Arc::new(AddressCounts::new(per_address_max.min(most)))),
            rates,
            metrics,
            crowded: Notify::new(),
        }))
    }

    /// A place that nobody has. While there is none, idle connections are told, which then close.
    pub(super) async fn free(&self) -> OwnedSemaphorePermit {
        loop {
            let free = Arc::clone(&self.0.all).acquire_owned();
            if let Ok(free) = timeout(CROWDED_EVERY, free).await {
                return free.expect("INVARIANT: the semaphore is never closed");
            }
            self.0.crowded.notify_waiters();
        }
    }

    /// Gives `free` to a connection of `peer`; none if its address has as many as it may.
    pub(super) fn take(&self, free: OwnedSemaphorePermit, peer: Peer) -> Option<Place> {
        let of_address = match self.0.per_address.as_ref().zip(self.0.rates.limited_address(peer)) {
            Some((counts, address)) => Some(counts.take(address)?),
            None => None,
        };
        Some(Place { _free: free, _of_address: of_address, _count: self.0.metrics.connection() })
    }

    /// A place for one more request of `peer`'s; none if there is none right now.
    pub(super) fn try_take(&self, peer: Peer) -> Option<Place> {
        let free = Arc::clone(&self.0.all).try_acquire_owned().ok()?;
        self.take(free, peer)
    }

    /// Returns when someone waits for a place.
    pub(super) async fn crowded(&self) {
        self.0.crowded.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::routes::RateSettings;

    fn places(all: usize, per_address: usize) -> Places {
        let trusted = vec!["10.0.0.1/32".parse().expect("a network")];
        let rates = RateSettings { rate_per_address: 0, rate_per_user: 0, trusted_proxies: trusted };
        Places::new(all, per_address, Arc::new(Rates::new(rates)), HttpMetrics::default())
    }

    fn peer(address: &str) -> Peer {
        Peer((address.parse::<IpAddr>().expect("an address"), 1234).into())
    }

    fn take(places: &Places, address: &str, times: usize) -> Vec<Place> {
        (0..times).filter_map(|_| places.try_take(peer(address))).collect()
    }

    #[test]
    fn an_address_has_its_share_and_a_place_is_free_again_when_it_is_left() {
        let places = places(10, 2);
        let mut held = take(&places, "192.0.2.1", 5);
        assert_eq!(held.len(), 2);
        assert_eq!(take(&places, "192.0.2.2", 5).len(), 2, "others are not concerned");
        held.pop();
        assert_eq!(take(&places, "192.0.2.1", 5).len(), 1);
        drop(held);
    }

    #[test]
    fn no_address_takes_them_all_and_a_trusted_proxy_may() {
        assert_eq!(take(&places(8, 1000), "192.0.2.1", 20).len(), 6);
        assert_eq!(take(&places(1, 1000), "192.0.2.1", 20).len(), 1);
        assert_eq!(take(&places(8, 0), "192.0.2.1", 20).len(), 8, "0 is no limit");
        assert_eq!(take(&places(8, 2), "10.0.0.1", 20).len(), 8);
        // Whoever has an IPv6 address has its whole network.
        let places = places(100, 3);
        let held = [take(&places, "2001:db8::1", 2), take(&places, "2001:db8::2", 2)];
        assert_eq!(held.iter().flatten().count(), 3);
    }
}
