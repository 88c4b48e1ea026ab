//! File descriptors: as many as the system allows, and no more connections than leave enough for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::error_chain::ErrorChain;

/// A connection's socket, and the file that it uploads or downloads.
const PER_CONNECTION: usize = 2;

/// For everything but connections: the databases (some 20), the log, the children of ten jobs and those that are idle
/// (4 pipes each), 16 transfers to each of some stores, 16 callbacks, files on their way to the disk.
const RESERVE: usize = 192;

/// Raises the soft limit of descriptors to the hard one: how many connections may then be open, at most
/// `connections_max`. With a warning, if those are fewer.
pub(super) fn connections_within_limit(connections_max: usize) -> usize {
    let Some(descriptors) = raise_limit() else { return connections_max };
    let connections = connections_for(descriptors).min(connections_max);
    if connections < connections_max {
        warn!(
            descriptors,
            connections_max,
            connections,
            "fewer connections than server.connections_max allows: the limit of open files is too low for them \
             (LimitNOFILE= of the unit, ulimit -Hn)"
        );
    }
    connections
}

/// As many as leave the reserve free; of few descriptors a quarter all the same.
fn connections_for(descriptors: usize) -> usize {
    let reserve = RESERVE.min(descriptors / 4 * 3);
    ((descriptors - reserve) / PER_CONNECTION).max(1)
}

/// The soft limit, now that it is raised; none if there is no limit.
fn raise_limit() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.map(to_usize);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            info!(before = current, after = maximum, "limit of open files raised");
            maximum.map(to_usize)
        }
        Err(error) => {
            warn!(error = %ErrorChain(&error), "limit of open files could not be raised");
            current.map(to_usize)
        }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve_and_there_is_always_one() {
        for (descriptors, connections) in [(1, 1), (64, 8), (256, 32), (1024, 416), (65_536, 32_672)] {
            assert_eq!(connections_for(descriptors), connections, "{descriptors}");
        }
        assert!(connections_for(usize::MAX) > 1 << 40);
    }
}
