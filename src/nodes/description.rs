//! What nodes tell of themselves.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What others call a node: random, and its own only while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(String);

impl NodeId {
    pub(super) fn random() -> Self {
        Self(random_name())
    }

    pub(super) fn read(text: String) -> Self {
        Self(text)
    }

    /// As it is in Redis and in logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 16 hex digits that nobody had before.
pub(super) fn random_name() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("INVARIANT: the kernel gives randomness");
    hex::encode(bytes)
}

/// What a node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoles {
    /// Uploads, and every other request.
    pub api: bool,
    /// Jobs.
    pub worker: bool,
}

/// What a node tells of itself. A newer one may tell more, and an older one less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    /// The release that it is.
    pub version: String,
    /// What it takes when it doesn't drain.
    pub roles: NodeRoles,
    /// Bytes of memory that its jobs may take together.
    pub memory_budget: u64,
    /// The oldest and the newest format of job records that it reads.
    pub record_formats: (u32, u32),
    /// By how much its clock is ahead of Redis', to a tenth of a second; negative if it is behind.
    pub clock_offset_ms: i64,
    /// The version of the register that it has loaded; zero before the first.
    pub register_version: u64,
    /// Whether it finishes what it has, and takes nothing more.
    pub is_draining: bool,
}

/// A node that was heard of lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    /// Which one.
    pub id: NodeId,
    /// How long ago it beat.
    pub silent_for: Duration,
    /// What it told of itself; nothing if that can't be read.
    pub description: NodeDescription,
}

impl LiveNode {
    pub(super) fn read(id: String, age_ms: u64, text: &str) -> Self {
        let description = serde_json::from_str(text).unwrap_or_default();
        Self { id: NodeId::read(id), silent_for: Duration::from_millis(age_ms), description }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_node_tells_is_read_as_far_as_it_is_known() {
        let text = r#"{"version":"9.9.9","record_formats":[2,7],"moods":["good"]}"#;
        let newer = LiveNode::read("newer".to_owned(), 120, text);
        assert_eq!((newer.description.version.as_str(), newer.description.register_version), ("9.9.9", 0));
        assert_eq!(newer.description.record_formats, (2, 7));
    }
}
