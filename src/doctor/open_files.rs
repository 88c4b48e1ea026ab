//! The limit of open files: how many connections it leaves room for.

use rustix::process::{Resource, getrlimit};

use super::Check;

const NAME: &str = "open files";

/// A connection's socket, and the file that it uploads or downloads.
const PER_CONNECTION: usize = 2;

/// For everything but connections: the databases (some 20), the log, the children of ten jobs and those that are idle
/// (4 pipes each), 16 transfers to each of some stores, 16 callbacks, files on their way to the disk.
const RESERVE: usize = 192;

/// Connections for which so many descriptors do: as many as leave the reserve free; of few descriptors a quarter all the same.
#[must_use]
pub fn connections_for(descriptors: usize) -> usize {
    let reserve = RESERVE.min(descriptors / 4 * 3);
    ((descriptors - reserve) / PER_CONNECTION).max(1)
}

/// Whether the limit of this process, to which a server raises its own, leaves room for so many connections.
pub(super) fn open_files(connections_max: usize) -> Check {
    let Some(limit) = getrlimit(Resource::Nofile).maximum else { return Check::ok(NAME, "there is no limit") };
    let room = connections_for(usize::try_from(limit).unwrap_or(usize::MAX));
    if room >= connections_max {
        return Check::ok(NAME, format!("{limit}, enough for {connections_max} connections"));
    }
    let wanted = connections_max.saturating_mul(PER_CONNECTION).saturating_add(RESERVE);
    let found = format!("{limit}, enough for {room} connections, and server.connections_max is {connections_max}");
    let remedy = format!(
        "raise the limit to {wanted} (LimitNOFILE= of the unit, --ulimit nofile= of a container, `ulimit -Hn`), or lower PIXERVE_SERVER_CONNECTIONS_MAX"
    );
    Check::warning(NAME, found, remedy)
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
