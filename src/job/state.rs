//! The states of a job and the moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a job is. A job ends in exactly one of the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobState)]
pub enum State {
    /// Waits for a worker, or for its next attempt.
    Pending,
    /// A worker holds its lease.
    Processing,
    /// Every file is stored everywhere it was asked for.
    Completed,
    /// It will never complete.
    Failed,
    /// Its owner or an admin stopped it.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Processing, Self::Completed, Self::Failed, Self::Cancelled];

    /// The table of transitions. It rules: the queue changes a state by one function, which refuses what isn't in it.
    ///
    /// | from | to |
    /// |---|---|
    /// | pending | processing (claim), cancelled |
    /// | processing | pending (retry, release, lost lease), completed, failed, cancelled |
    /// | completed, failed, cancelled | nothing |
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Processing | Self::Cancelled),
            Self::Processing => next != Self::Processing,
            Self::Completed | Self::Failed | Self::Cancelled => false,
        }
    }

    /// Whether a job in this state has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn an_ended_job_goes_nowhere() {
        for from in State::ALL.into_iter().filter(|s| s.is_terminal()) {
            for to in State::ALL {
                assert!(!from.may_become(to), "{from} -> {to}");
            }
        }
    }
}
