//! Who does what one node does for all.

use tokio::sync::watch;

use super::{ClockState, HeartbeatAnswer, Nodes, NodesStatus};

/// Whether what is done once for all nodes is this one's to do. A server that is alone always leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    status: Option<watch::Receiver<NodesStatus>>,
    /// Whether it led, and how often Redis had been found empty, by when that was looked at last.
    led: bool,
    times_emptied: u64,
}

impl Leadership {
    /// That of a server that is alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { status: None, led: false, times_emptied: 0 }
    }

    /// That of one node among others.
    #[must_use]
    pub fn of(nodes: &Nodes) -> Self {
        let status = nodes.status();
        let times_emptied = status.borrow().times_emptied;
        Self { status: Some(status), led: false, times_emptied }
    }

    /// Whether this node leads. For a moment two may think so of themselves: what they do is to do no harm twice.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.status.as_ref().is_none_or(|status| status.borrow().is_leader())
    }

    /// Whether this node's clock is known to be near Redis', as of the last beat. One that is alone has none to compare with.
    #[must_use]
    pub fn agrees_on_time(&self) -> bool {
        let is_near = |heard: &HeartbeatAnswer| heard.clock != ClockState::Wrong;
        self.status.as_ref().is_none_or(|status| status.borrow().heard.as_ref().is_some_and(is_near))
    }

    /// Returns when what one node does for all is to be done at once: this one has begun to lead, or Redis was found empty, since
    /// this returned last. Never for a server that is alone.
    pub async fn called_upon(&mut self) {
        let Some(status) = &mut self.status else { return std::future::pending().await };
        loop {
            let (leads, times_emptied) = {
                let status = status.borrow_and_update();
                (status.is_leader(), status.times_emptied)
            };
            let is_called_upon = leads && !self.led || times_emptied != self.times_emptied;
            (self.led, self.times_emptied) = (leads, times_emptied);
            if is_called_upon {
                return;
            }
            if status.changed().await.is_err() {
                // The sender goes with the node.
                return std::future::pending().await;
            }
        }
    }
}
