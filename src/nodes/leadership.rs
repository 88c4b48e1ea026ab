//! Who does what one node does for all.

use tokio::sync::watch;

use super::{Nodes, NodesStatus};

/// Whether what is done once for all nodes is this one's to do. A server that is alone always leads.
#[derive(Clone, Debug)]
pub struct Leadership(Option<watch::Receiver<NodesStatus>>);

impl Leadership {
    /// That of a server that is alone.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// That of one node among others.
    #[must_use]
    pub fn of(nodes: &Nodes) -> Self {
        Self(Some(nodes.status()))
    }

    /// Whether this node leads. For a moment two may think so of themselves: what they do is to do no harm twice.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|status| status.borrow().is_leader())
    }

    /// Returns when Redis was found empty. Never for a server that is alone.
    pub async fn emptied(&mut self) {
        let Some(status) = &mut self.0 else { return std::future::pending().await };
        let before = status.borrow_and_update().times_emptied;
        if status.wait_for(|status| status.times_emptied != before).await.is_err() {
            // Its sender goes with the node.
            std::future::pending::<()>().await;
        }
    }
}
