//! Why nodes don't come to terms.

use std::time::Duration;

use super::NodeId;
use crate::redis_client::RedisError;

/// Why something that concerns all nodes failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// Redis didn't do it, or nobody knows whether it did.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// This Redis holds what another installation keeps there.
    #[error("Redis is in use by another installation ({found}) below the same keys")]
    OtherInstallation {
        /// What that one is called.
        found: String,
    },
    /// Another node changes the register, and takes long.
    #[error("another node held the lock on the register for {} s", .waited.as_secs())]
    Locked {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Another node has taken the lock meanwhile, or it was forgotten with everything else.
    #[error("the lock on the register is held no more")]
    LockLost,
    /// Redis was emptied after a version of the register was published, and forgot who has loaded it.
    #[error("Redis was emptied while nodes were loading the register's new version")]
    VersionForgotten,
    /// Some live nodes don't show that version of the register.
    #[error("after {} s these nodes had not loaded the register's new version: {}", .within.as_secs(), shown(.nodes))]
    NotShown {
        /// Which ones.
        nodes: Vec<NodeId>,
        /// How long they had.
        within: Duration,
    },
}

fn shown(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}
