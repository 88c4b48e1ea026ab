//! Who does what one node does for all.

use tokio::sync::watch;

use super::{Nodes, NodesStatus};

/// Whether what is done once for all nodes is this one's to do. A server that is alone always leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    status: Option<watch::Receiver<NodesStatus>>,
    /// How often Redis was found empty by when that was asked last.
    times_emptied: u64,
}

impl Leadership {
    /// That of a server that is alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { status: None, times_emptied: 0 }
    }

    /// That of one node among others.
    #[must_use]
    pub fn of(nodes: &Nodes) -> Self {
        let status = nodes.status();
        let times_emptied = status.borrow().times_emptied;
        Self { status: Some(status), times_emptied }
    }

    /// Whether this node leads. For a moment two may think so of themselves: what they do is to do no harm twice.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.status.as_ref().is_none_or(|status| status.borrow().is_leader())
    }

    /// Returns when Redis was found empty since this returned last. Never for a server that is alone.
    pub async fn emptied(&mut self) {
        let Some(status) = &mut self.status else { return std::future::pending().await };
        let before = self.times_emptied;
        let Ok(now) = status.wait_for(|status| status.times_emptied != before).await.map(|now| now.times_emptied)
        else {
            // Its sender goes with the node.
            return std::future::pending().await;
        };
        self.times_emptied = now;
    }
}
