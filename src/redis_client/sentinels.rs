//! Sentinel: which Redis is the primary of a service is asked of those that watch it, anew whenever it is lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsMode};
use secrecy::{ExposeSecret, SecretString};

use super::RedisError;

/// Those that watch a service, some of which may be gone.
pub(super) struct Sentinels {
    addresses: Vec<ConnectionInfo>,
    /// Which of them is asked first.
    first: AtomicUsize,
    service: String,
    /// User, password, database and TLS of the service's own servers.
    servers: SentinelNodeConnectionInfo,
}

impl Sentinels {
    /// The `sentinels` that watch the service which is the host of `url`.
    pub(super) fn new(url: &ConnectionInfo, sentinels: &[SecretString]) -> Result<Self, RedisError> {
        let servers = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(url.redis_settings().clone())
            .set_tcp_settings(url.tcp_settings().clone());
        let (service, servers) = match url.addr() {
            ConnectionAddr::TcpTls { host, .. } => (host.clone(), servers.set_tls_mode(TlsMode::Secure)),
            ConnectionAddr::Tcp(host, _) => (host.clone(), servers),
            address => panic!("INVARIANT: {address} isn't of the network"),
        };
        let addresses = sentinels.iter().map(|url| url.expose_secret().into_connection_info());
        let addresses = addresses.collect::<Result<_, _>>().map_err(RedisError::BadUrl)?;
        Ok(Self { addresses, first: AtomicUsize::new(0), service, servers })
    }

    /// The primary that one of them names, and that says itself that it is one; for an attempt to do `what`.
    ///
    /// They are asked one after the other, and one whose machine is gone takes a second. Whoever waits for this may give it up
    /// before all were asked, so each attempt begins with the next of them, until one has led somewhere.
    pub(super) async fn primary(&self, what: &'static str) -> Result<redis::Client, RedisError> {
        let first = self.first.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
        let mut addresses = self.addresses.clone();
        addresses.rotate_left(first);
        let mut asked = Sentinel::build(addresses).map_err(RedisError::BadUrl)?;
        let primary = asked.async_master_for(&self.service, Some(&self.servers)).await;
        let primary =
            primary.map_err(|source| RedisError::NoPrimary { what, service: self.service.clone(), source })?;
        self.first.store(first, Ordering::Relaxed);
        Ok(primary)
    }
}
