//! Why a call to Redis fails.

use std::time::Duration;

use redis::{ErrorKind, RedisError as Source, ServerErrorKind};

/// Why a call failed: what was attempted, and what came of it.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Its address is none.
    #[error("the address of Redis is not one: it is to be redis://HOST:PORT/DATABASE or rediss://...")]
    BadUrl(#[source] Source),
    /// It can't be reached, or was lost before it answered: then the call may have been carried out.
    #[error("{what}: Redis can't be reached")]
    Unreachable {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Source,
    },
    /// No Sentinel can be reached, or they name no primary that says that it is one: while one fails over, there is none.
    #[error("{what}: no Sentinel names a primary of {service:?} that answers")]
    NoPrimary {
        /// What was attempted.
        what: &'static str,
        /// The host of `queue.url`.
        service: String,
        /// Why it failed.
        #[source]
        source: Source,
    },
    /// It didn't answer in time. The call may have been carried out, or be carried out later.
    #[error("{what}: Redis did not answer within {seconds} s")]
    TimedOut {
        /// What was attempted.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Its memory is full (`maxmemory`), and the call would have taken more. Nothing was changed.
    #[error("{what}: Redis' memory is full")]
    Full {
        /// What was attempted.
        what: &'static str,
    },
    /// It is a replica, which takes no change, or a primary without the replicas that it is to have. Nothing was changed.
    #[error("{what}: Redis takes no changes now")]
    ReadOnly {
        /// What was attempted.
        what: &'static str,
        /// What it said.
        #[source]
        source: Source,
    },
    /// It refused the call, or answered what nobody understands.
    #[error("{what}: Redis refused")]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// What it said.
        #[source]
        source: Source,
    },
}

/// What a primary says that has fewer replicas than `min-replicas-to-write`.
const NO_REPLICAS: &str = "NOREPLICAS";
/// What it says of a call that would take more memory than it may have.
const OUT_OF_MEMORY: &str = "OOM";

impl RedisError {
    /// What the library says of an attempt to do `what`, which had so long.
    pub(super) fn of(what: &'static str, limit: Duration, source: Source) -> Self {
        if source.is_timeout() {
            return Self::TimedOut { what, seconds: limit.as_secs() };
        }
        match (source.kind(), source.code()) {
            (_, Some(OUT_OF_MEMORY)) => Self::Full { what },
            (ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown), _)
            | (_, Some(NO_REPLICAS)) => Self::ReadOnly { what, source },
            (
                ErrorKind::Io
                | ErrorKind::Server(
                    ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown | ServerErrorKind::TryAgain,
                ),
                _,
            ) => Self::Unreachable { what, source },
            // The library would connect anew, with the same password.
            (ErrorKind::AuthenticationFailed, _) => Self::Refused { what, source },
            _ if source.is_connection_dropped() || source.is_unrecoverable_error() => {
                Self::Unreachable { what, source }
            }
            _ => Self::Refused { what, source },
        }
    }

    /// Whether the call may have been carried out all the same, or may be later.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoPrimary { .. } | Self::TimedOut { .. })
    }

    /// Whether it may be over in a moment without anybody's doing: Redis is away, or another takes its place.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_unknown() || matches!(self, Self::ReadOnly { .. })
    }
}
