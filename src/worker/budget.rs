//! Memory is reserved for a job before its variants are made, so that jobs together never take more than there is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: u64 = 1024 * 1024;

/// Memory that all jobs share, in steps of 1 MiB. First come, first served: a job that needs much waits until there is
/// enough, and smaller ones that came later wait behind it, so that it can't starve.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    left: Arc<Semaphore>,
    steps: u32,
}

/// A job's share of the budget, until it is dropped.
#[derive(Debug)]
pub struct MemoryShare {
    #[expect(dead_code, reason = "holding it is its use")]
    permit: Option<OwnedSemaphorePermit>,
    bytes: u64,
}

impl MemoryShare {
    /// Whether it suffices for a job that takes `bytes`.
    pub(super) fn covers(&self, bytes: u64) -> bool {
        self.bytes >= bytes
    }
}

impl MemoryBudget {
    /// A budget of `bytes`, rounded up to 1 MiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let steps = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX);
        Self { left: Arc::new(Semaphore::new(usize::try_from(steps).unwrap_or(Semaphore::MAX_PERMITS))), steps }
    }

    /// Bytes of all jobs together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.steps) * MIB
    }

    /// Bytes that are free. `u64::MAX` if all of them are, since [`MemoryBudget::take`] then grants any number.
    #[must_use]
    pub fn left(&self) -> u64 {
        match u32::try_from(self.left.available_permits()) {
            Ok(left) if left < self.steps => u64::from(left) * MIB,
            _ => u64::MAX,
        }
    }

    /// Waits for `bytes`, or for the whole budget if that is less.
    pub async fn take(&self, bytes: u64) -> MemoryShare {
        let steps = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).min(self.steps);
        // Nobody closes it.
        MemoryShare { permit: Arc::clone(&self.left).acquire_many_owned(steps).await.ok(), bytes }
    }
}

/// Half of this machine's memory, in bytes, or of the tightest limit of this process's cgroups, if that is less. 1 GiB if
/// neither can be read.
#[must_use]
pub fn half_of_memory() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let limits = cgroup_limits(Path::new("/sys/fs/cgroup"), &groups);
    machine.into_iter().chain(limits).min().map_or(1024 * MIB, |bytes| (bytes / 2).max(MIB))
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The limits of the groups named in `groups` (as in `/proc/self/cgroup`) and of all above them, below `root`.
fn cgroup_limits(root: &Path, groups: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            named if named.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = top.join(group.trim_start_matches('/'));
        for dir in group.ancestors().take_while(|dir| dir.starts_with(&top)) {
            // "max" is none.
            let limit = fs::read_to_string(dir.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            limits.extend(limit);
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a made-up cgroup need not be durable")]
    fn the_tightest_group_above_a_process_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).expect("a directory");
        fs::write(inner.join("memory.max"), "max\n").expect("a file");
        fs::write(root.path().join("a/memory.max"), "536870912\n").expect("a file");
        assert_eq!(cgroup_limits(root.path(), "0::/a/b\n"), [512 * MIB]);
        assert_eq!(cgroup_limits(root.path(), "0::/\n5:cpu:/a\n"), [0; 0]);
        assert_eq!(total_of("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 * MIB));
    }

    #[tokio::test]
    async fn a_large_job_is_not_overtaken_for_ever_by_small_ones() {
        let budget = MemoryBudget::new(10 * MIB);
        let first = budget.take(6 * MIB).await;
        let mut large = Box::pin(budget.take(8 * MIB));
        assert!(futures_util::poll!(&mut large).is_pending());
        // There would be room for it, but the large one came before.
        let mut small = Box::pin(budget.take(MIB));
        assert!(futures_util::poll!(&mut small).is_pending());
        drop(first);
        let large = large.await;
        let small = small.await;
        drop((large, small));
        assert_eq!(budget.left(), u64::MAX, "when nobody has any, there is enough for any job");
        let half = budget.take(5 * MIB).await;
        assert_eq!((budget.left(), half.covers(5 * MIB), half.covers(5 * MIB + 1)), (5 * MIB, true, false));
        drop(half);
        // More than the whole budget means all of it, and not waiting for ever.
        drop(budget.take(u64::MAX).await);
    }
}
