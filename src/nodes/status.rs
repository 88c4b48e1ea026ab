//! What a node knows of the others and of Redis.

use std::fmt;
use std::time::Duration;

use super::{NodeId, NodeTiming};
use crate::clock::SharedClock;

/// What is known as of the last beat that was answered, and whether beats are.
#[derive(Clone)]
pub struct NodesStatus {
    /// This node.
    pub node: NodeId,
    /// What Redis answered last; none before the first answer.
    pub heard: Option<HeartbeatAnswer>,
    /// Why Redis didn't answer since; none if it did.
    pub trouble: Option<String>,
    /// Redis' memory; none before the first look.
    pub memory: Option<RedisMemory>,
    /// How often Redis was found empty while this node ran.
    pub times_emptied: u64,
    timing: NodeTiming,
    clock: SharedClock,
}

/// What Redis answered to a beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// When it came, on the monotonic clock.
    pub(super) at: Duration,
    /// How long it took.
    pub round_trip: Duration,
    /// Another one means that Redis was emptied meanwhile.
    pub incarnation: String,
    /// Who leads, if anyone.
    pub(super) leader: Option<NodeId>,
    /// How many nodes live, this one too.
    pub nodes: u32,
    /// How many of them take uploads.
    pub api_nodes: u32,
    /// How many of them take jobs.
    pub workers: u32,
    /// The newest format of job records that all of them read.
    pub record_format: u32,
    /// The newest version of the register that was published; zero: none is known of.
    pub register_version: u64,
    /// By how much this node's clock is ahead of Redis', in milliseconds; negative if it is behind.
    pub clock_offset_ms: i64,
    /// What that means.
    pub clock: ClockState,
}

/// How far this node's clock is from Redis'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// Near enough.
    Good,
    /// By more than 2 s, and not more than tokens allow.
    Off,
    /// So far that tokens are judged wrongly: the node is not healthy.
    Wrong,
}

/// Redis' memory as of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisMemory {
    /// Bytes that it uses.
    pub used: u64,
    /// Bytes that it may use (`maxmemory`); none if that is not limited.
    pub max: Option<u64>,
}

impl RedisMemory {
    /// Which part of what it may use is used; none if that is not limited.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share, of which nobody needs the last digits")]
    pub fn share(self) -> Option<f64> {
        self.max.map(|max| self.used as f64 / max as f64)
    }
}

/// A clock off by more gets a warning.
const CLOCK_OFF: Duration = Duration::from_secs(2);

impl ClockState {
    /// Of a clock that is off by so much, where tokens allow `leeway`.
    pub(super) fn of(offset_ms: i64, leeway: Duration) -> Self {
        let off = Duration::from_millis(offset_ms.unsigned_abs());
        // A leeway of nothing is no reason to call a clock wrong that keeps time as well as clocks do.
        if off > leeway.max(CLOCK_OFF) {
            Self::Wrong
        } else if off > CLOCK_OFF {
            Self::Off
        } else {
            Self::Good
        }
    }
}

impl NodesStatus {
    pub(super) fn new(node: NodeId, timing: NodeTiming, clock: SharedClock) -> Self {
        Self { node, heard: None, trouble: None, memory: None, times_emptied: 0, timing, clock }
    }

    /// How long ago the last answer came; none before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.heard.as_ref().map(|heard| self.clock.elapsed().saturating_sub(heard.at))
    }

    /// Whether the others still count this node: its last answer is young enough.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.age().is_some_and(|age| age <= self.timing.gone_after)
    }

    /// The newest format of job records that all live nodes read; none while the others aren't heard, and one may have come that
    /// reads less.
    #[must_use]
    pub fn record_format(&self) -> Option<u32> {
        self.heard.as_ref().filter(|_| self.is_live()).map(|heard| heard.record_format)
    }

    /// Who leads, as far as is known: nobody, once that could have changed hands unheard.
    #[must_use]
    pub fn leader(&self) -> Option<&NodeId> {
        let heard = self.heard.as_ref()?;
        let is_young = self.age().is_some_and(|age| age < self.timing.lead_for);
        heard.leader.as_ref().filter(|_| is_young)
    }

    /// How long this node waits between two askings of Redis that one of few does each `every`. Of more than 25 nodes each asks less
    /// often, of 50 and more half as often, so that what they cost Redis while they idle grows more slowly than their number.
    #[must_use]
    pub fn interval(&self, every: Duration) -> Duration {
        const FEW: u32 = 25;
        let nodes = self.heard.as_ref().map_or(0, |heard| heard.nodes);
        every * nodes.clamp(FEW, 2 * FEW) / FEW
    }

    /// Whether this node leads. For a moment two nodes may think so of themselves.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(&self.node)
    }
}

impl fmt::Debug for NodesStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesStatus")
            .field("node", &self.node)
            .field("age", &self.age())
            .field("heard", &self.heard)
            .field("trouble", &self.trouble)
            .field("memory", &self.memory)
            .field("times_emptied", &self.times_emptied)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_above_two_seconds_and_wrong_above_the_leeway() {
        use ClockState::{Good, Off, Wrong};
        let leeway = Duration::from_secs(5);
        let states = [0, 2_000, 2_001, -2_001, 5_000, 5_001, -3_600_000].map(|ms| ClockState::of(ms, leeway));
        assert_eq!(states, [Good, Good, Off, Off, Off, Wrong, Wrong]);
        assert_eq!([1, 2_001].map(|ms| ClockState::of(ms, Duration::ZERO)), [Good, Wrong]);
    }

    #[test]
    fn memory_without_a_limit_has_no_share() {
        assert_eq!(RedisMemory { used: 45, max: Some(60) }.share(), Some(0.75));
        assert_eq!(RedisMemory { used: 45, max: None }.share(), None);
    }
}
