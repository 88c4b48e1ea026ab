//! The settings of a node.

use serde::{Deserialize, Deserializer};

use super::NodeRoles;
use crate::setting;

/// What this node is among others.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct NodeSettings {
    /// What it takes.
    #[serde(deserialize_with = "roles")]
    pub roles: NodeRoles,
}

fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeRoles, D::Error> {
    setting::items(deserializer, r#"a list of "api" and "worker", with at least one of them"#, |words| {
        let mut roles = NodeRoles::default();
        for word in words {
            match *word {
                "api" => roles.api = true,
                "worker" => roles.worker = true,
                _ => return None,
            }
        }
        (roles.api || roles.worker).then_some(roles)
    })
}
