//! Names to addresses, each of them checked.
//!
//! The check sits inside the client's own resolver: the addresses that were checked are the very ones it connects to,
//! and there is no second look-up for a rebinding name server to answer differently.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::AddressPolicy;

/// Where addresses come from.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// An address that callbacks may not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address, nor one that PIXERVE_CALLBACK_ALLOW allows")]
pub struct ForbiddenAddress(pub IpAddr);

impl ForbiddenAddress {
    /// Finds the refusal that made a request fail, however deep the client wrapped it.
    #[must_use]
    pub fn inside(error: &(dyn Error + 'static)) -> Option<Self> {
        match error.downcast_ref() {
            Some(refused) => Some(*refused),
            None => Self::inside(error.source()?),
        }
    }
}

/// A resolver that answers only if every address may be called. One forbidden address among public ones refuses the
/// name: a receiver has no reason for such a record, an attacker has.
pub(super) struct PolicyResolver {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) policy: AddressPolicy,
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, policy) = (Arc::clone(&self.resolver), self.policy.clone());
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            if let Some(refused) = addresses.iter().find(|address| !policy.permits(**address)) {
                return Err(ForbiddenAddress(*refused).into());
            }
            // Port 0 stands for the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}
