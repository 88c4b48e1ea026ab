//! Sentinel: which Redis is the primary of a service is asked of those that watch it, anew whenever it is lost.

use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{ConnectionAddr, ConnectionInfo, TlsMode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::RedisError;

/// Those that watch a service, some of which may be gone.
pub(super) struct Sentinels {
    asked: Mutex<Sentinel>,
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
        let asked = Sentinel::build(sentinels.iter().map(ExposeSecret::expose_secret).collect());
        Ok(Self { asked: Mutex::new(asked.map_err(RedisError::BadUrl)?), service, servers })
    }

    /// The primary that one of them names, and that says itself that it is one; for an attempt to do `what`.
    pub(super) async fn primary(&self, what: &'static str) -> Result<redis::Client, RedisError> {
        let primary = self.asked.lock().await.async_master_for(&self.service, Some(&self.servers)).await;
        primary.map_err(|source| RedisError::NoPrimary { what, service: self.service.clone(), source })
    }
}
