//! How nodes agree on the register: one changes it at a time, and tells when all know.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, sleep};

use super::description::random_name;
use super::{NodeId, Nodes, NodesError, NodesStatus};
use crate::clock::millis;

/// Between two looks at what others do. They are told with their next beat.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The right to change the register. Whoever gets it later has a larger token.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the lock is held until it is given back or its lease runs out"]
pub struct HeldLock {
    token: u64,
}

impl HeldLock {
    /// The one with this token.
    pub fn of(token: u64) -> Self {
        Self { token }
    }

    /// What tells it from every other that ever was.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }
}

impl Nodes {
    /// Takes the lock on the register for `lease`, and waits for up to `wait` for whoever has it.
    ///
    /// # Errors
    /// [`NodesError::Locked`], or Redis': then it may have been taken, and frees itself.
    pub async fn lock(&self, lease: Duration, wait: Duration) -> Result<HeldLock, NodesError> {
        let (holding, began) = (random_name(), Instant::now());
        loop {
            let mut call = self.0.call(&self.0.scripts.lock);
            call.arg(&holding).arg(millis(lease));
            let answer = self.0.redis.run::<(bool, u64)>("locking the register", &call).await;
            let waited = began.elapsed();
            let left = match answer {
                Ok((true, token)) => return Ok(HeldLock { token }),
                Ok((false, _)) if waited >= wait => return Err(NodesError::Locked { waited }),
                Ok((false, left_ms)) => Duration::from_millis(left_ms),
                // If it was taken all the same, this attempt gets it by asking again, and nobody else does for now.
                Err(error) if error.is_unknown() && waited < wait => LOOK_EVERY,
                Err(error) => return Err(error.into()),
            };
            sleep(LOOK_EVERY.min(left).min(wait.saturating_sub(waited))).await;
        }
    }

    /// Gives the lock back, if it still is this one. What can't be given back frees itself.
    ///
    /// # Errors
    /// Redis'.
    pub async fn unlock(&self, lock: HeldLock) -> Result<(), NodesError> {
        let mut call = self.0.call(&self.0.scripts.unlock);
        call.arg(lock.token);
        Ok(self.0.redis.run("unlocking the register", &call).await?)
    }

    /// Says that the register has been changed: its new version, which is larger than any before, also than those that were
    /// forgotten. The others hear of it with their next beat.
    ///
    /// # Errors
    /// [`NodesError::LockLost`] if another node has taken the lock meanwhile, or it was forgotten; or Redis'.
    pub async fn publish(&self, lock: &HeldLock) -> Result<u64, NodesError> {
        let mut call = self.0.call(&self.0.scripts.publish);
        call.arg(lock.token);
        let version: u64 = self.0.redis.run("publishing the register's version", &call).await?;
        if version == 0 { Err(NodesError::LockLost) } else { Ok(version) }
    }

    /// Says whose register this node has read, unless another node was first: whose register this Redis belongs to.
    ///
    /// # Errors
    /// Redis'.
    pub async fn register_of(&self, installation: &str) -> Result<String, NodesError> {
        let (mut set, mut get) = (cmd("HSETNX"), cmd("HGET"));
        set.arg(self.0.key("meta")).arg("register_of").arg(installation);
        get.arg(self.0.key("meta")).arg("register_of");
        let _: bool = self.0.redis.query("saying whose register this is", &set).await?;
        Ok(self.0.redis.query("asking whose register this is", &get).await?)
    }

    /// The newest version of the register that was published; zero if none is known of.
    ///
    /// # Errors
    /// Redis'.
    pub async fn version(&self) -> Result<u64, NodesError> {
        let mut ask = cmd("HGET");
        ask.arg(self.0.key("meta")).arg("register");
        let version: Option<u64> = self.0.redis.query("asking for the register's version", &ask).await?;
        Ok(version.unwrap_or_default())
    }

    /// Waits until a beat tells of another version than `seen`: which one. While Redis isn't heard, that is nothing new.
    pub async fn version_other_than(&self, seen: u64) -> u64 {
        let mut status = self.status();
        let version = |status: &NodesStatus| status.heard.as_ref().map(|heard| heard.register_version);
        let changed = status.wait_for(|status| version(status).is_some_and(|version| version != seen)).await;
        // The sender lives as long as `self`.
        changed.ok().and_then(|status| version(&status)).unwrap_or(seen)
    }

    /// Lets the others see, at once, that this node has loaded that version of the register.
    pub fn show(&self, version: u64) {
        self.0.shown.store(version, Ordering::Relaxed);
        self.0.news.notify_one();
    }

    /// Waits until every live node, this one too, shows `version` or a later one. A node that has loaded none holds it up.
    ///
    /// # Errors
    /// [`NodesError::NotShown`] if that takes longer than `within`, [`NodesError::VersionForgotten`], or Redis'.
    pub async fn everyone_has(&self, version: u64, within: Duration) -> Result<(), NodesError> {
        let began = Instant::now();
        loop {
            let slow = self.slower_than(version).await?;
            if slow.is_empty() {
                return Ok(());
            }
            let waited = began.elapsed();
            if waited >= within {
                return Err(NodesError::NotShown { nodes: slow, within });
            }
            sleep(LOOK_EVERY.min(within.saturating_sub(waited))).await;
        }
    }

    /// The live nodes that show an older version.
    async fn slower_than(&self, version: u64) -> Result<Vec<NodeId>, NodesError> {
        let mut call = self.0.call(&self.0.scripts.slower);
        call.arg(version);
        let answer: Option<Vec<String>> = self.0.redis.run("asking who knows the register's version", &call).await?;
        // Then so is who is to know it, and nobody would be waited for.
        let nodes = answer.ok_or(NodesError::VersionForgotten)?;
        Ok(nodes.into_iter().map(NodeId::read).collect())
    }
}
