//! File descriptors: as many as the system allows, and no more connections than leave enough for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::doctor::connections_for;
use crate::error_chain::ErrorChain;

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
