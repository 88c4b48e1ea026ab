//! The other nodes, as the register sees them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::debug;

use crate::error_chain::ErrorChain;
use crate::nodes::{HeldLock, Nodes, NodesError};
use crate::register::{PeersError, RegisterLock, RegisterPeers, RegisterVersion};

/// What they tell each other by is Redis.
#[derive(Clone, Debug)]
pub(super) struct NodePeers(pub(super) Nodes);

#[async_trait]
impl RegisterPeers for NodePeers {
    async fn lock(&self, lease: Duration, wait: Duration) -> Result<RegisterLock, PeersError> {
        let asked = Instant::now();
        let held = self.0.lock(lease, wait).await.map_err(failed("take the lock on the register"))?;
        // It may have been waited for: the lease began no earlier than that.
        Ok(RegisterLock { token: held.token(), good_until: asked + lease })
    }

    async fn unlock(&self, lock: RegisterLock) {
        if let Err(error) = self.0.unlock(HeldLock::of(lock.token)).await {
            debug!(error = %ErrorChain(&error), "lock on the register not given back; it frees itself");
        }
    }

    async fn publish(&self, lock: &RegisterLock) -> Result<RegisterVersion, PeersError> {
        let published = self.0.publish(&HeldLock::of(lock.token)).await;
        published.map(RegisterVersion).map_err(failed("say that the register has changed"))
    }

    async fn version(&self) -> Result<RegisterVersion, PeersError> {
        self.0.version().await.map(RegisterVersion).map_err(failed("ask for the register's version"))
    }

    async fn changed(&self, seen: RegisterVersion) -> Result<RegisterVersion, PeersError> {
        Ok(RegisterVersion(self.0.version_other_than(seen.0).await))
    }

    fn show(&self, version: RegisterVersion) {
        self.0.show(version.0);
    }

    async fn shown_by_all(&self, version: RegisterVersion, within: Duration) -> Result<(), PeersError> {
        self.0.everyone_has(version.0, within).await.map_err(failed("ask who knows the register's version"))
    }
}

fn failed(what: &'static str) -> impl FnOnce(NodesError) -> PeersError {
    move |error| match error {
        NodesError::Locked { waited } => PeersError::Locked { waited },
        NodesError::LockLost => PeersError::LockLost,
        NodesError::NotShown { nodes, within } => {
            PeersError::NotShown { nodes: nodes.iter().map(ToString::to_string).collect(), within }
        }
        error => PeersError::Unavailable { what, source: Box::new(error) },
    }
}
