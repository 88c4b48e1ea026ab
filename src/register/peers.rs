//! What nodes that share one register tell each other. Each reads from its own memory; without this it would not hear that
//! another has changed the register, and two could give one name away at once.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

/// Which state of the register it is: it rises with every change. Zero: none is known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterVersion(pub u64);

/// The right to change the register, for a while.
#[derive(Debug, PartialEq, Eq)]
pub struct RegisterLock {
    /// What tells it from every other that ever was: whoever comes with an old one is refused.
    pub token: u64,
    /// Until when nobody else has it: the lease, counted from before it was asked for.
    pub good_until: Instant,
}

/// How long nodes that share a register wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct SharedTimeouts {
    /// How long a node may keep the others from changing the register, should it die. A change takes two thirds of it at most.
    pub lock_lease: Duration,
    /// How long a change waits for that of another node.
    pub lock_wait: Duration,
    /// How long a deregistration waits for every node to know.
    pub confirm: Duration,
    /// How long a registration does. It is good in any case; but whoever has its answer may ask another node next.
    pub tell: Duration,
    /// How often everything is compared, whatever the others say: one may have died before it could say something.
    pub compare_period: Duration,
}

impl Default for SharedTimeouts {
    fn default() -> Self {
        Self {
            lock_lease: Duration::from_secs(30),
            lock_wait: Duration::from_secs(10),
            confirm: Duration::from_secs(10),
            tell: Duration::from_secs(3),
            compare_period: Duration::from_mins(1),
        }
    }
}

/// The nodes that share one register. A node is live while the others hear of it.
#[async_trait]
pub trait RegisterPeers: fmt::Debug + Send + Sync {
    /// Takes the one lock for as long as `lease`; waits up to `wait` for whoever has it.
    ///
    /// # Errors
    /// [`PeersError::Locked`], or it can't be asked for. Then it may have been taken, and frees itself.
    async fn lock(&self, lease: Duration, wait: Duration) -> Result<RegisterLock, PeersError>;

    /// Gives the lock back, if it still is this one. What can't be given back frees itself.
    async fn unlock(&self, lock: RegisterLock);

    /// Says that the register has been changed. The new version is larger than any before, also than those that were forgotten
    /// with everything else that nodes tell each other: at least the time in microseconds.
    ///
    /// # Errors
    /// [`PeersError::LockLost`] if the lock isn't this one any more, or it can't be said.
    async fn publish(&self, lock: &RegisterLock) -> Result<RegisterVersion, PeersError>;

    /// The newest version that was published; zero if that has been forgotten.
    ///
    /// # Errors
    /// It can't be asked for.
    async fn version(&self) -> Result<RegisterVersion, PeersError>;

    /// Returns once [`RegisterPeers::version`] is another than `seen`, with it: within a second of that, or at once.
    ///
    /// # Errors
    /// It can't be asked for.
    async fn changed(&self, seen: RegisterVersion) -> Result<RegisterVersion, PeersError>;

    /// Lets the others see that this node knows all that had happened by `version`. Doesn't wait: it is told with the next
    /// sign of life.
    fn show(&self, version: RegisterVersion);

    /// Waits until every live node, this one too, shows `version` or a later one. A node that starts now counts once it is
    /// live, and reads the register after that.
    ///
    /// # Errors
    /// [`PeersError::NotShown`] if that takes longer than `within`, or it can't be asked for.
    async fn shown_by_all(&self, version: RegisterVersion, within: Duration) -> Result<(), PeersError>;
}

/// Why nodes didn't come to terms about the register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeersError {
    /// Another node changes it, and takes long.
    #[error("another node is changing the register, and has been for {} s", .waited.as_secs())]
    Locked {
        /// How long this one has waited.
        waited: Duration,
    },
    /// The lock's lease has run out, or it was forgotten: another node may have changed the register.
    #[error("the lock on the register was lost while it was changed")]
    LockLost,
    /// It has been changed, and which version it is of now couldn't be asked for.
    #[error("the version of the register isn't known")]
    UnknownVersion,
    /// Some live nodes don't show it.
    #[error("after {} s these nodes had not taken in the change: {}", .within.as_secs(), .nodes.join(", "))]
    NotShown {
        /// Which ones.
        nodes: Vec<String>,
        /// How long they had.
        within: Duration,
    },
    /// What they tell each other by can't be used.
    #[error("can't {what}")]
    Unavailable {
        /// What was attempted, such as "take the lock on the register".
        what: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}
