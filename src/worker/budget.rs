//! Memory is reserved for a job before its variants are made, so that jobs together never take more than there is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

const MIB: u64 = 1024 * 1024;

/// Most bytes that are kept for the spare place: what a photo of 24 MP takes.
const SPARE_BYTES_MAX: u64 = 256 * MIB;

/// Memory that all jobs share, in bytes. It doesn't say whose turn it is: the queue does. Clones are one.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    left: Arc<watch::Sender<u64>>,
    total: u64,
}

/// A job's share of the budget, until it is dropped.
#[derive(Debug)]
pub struct MemoryShare {
    budget: MemoryBudget,
    /// What the job takes.
    bytes: u64,
    /// What was taken off the budget for it: no more than there is.
    taken: u64,
}

impl MemoryShare {
    /// Whether it suffices for a job that takes `bytes`.
    pub(super) fn covers(&self, bytes: u64) -> bool {
        self.bytes >= bytes
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.budget.left.send_modify(|left| *left += self.taken);
    }
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Self { left: Arc::new(watch::Sender::new(total)), total }
    }

    /// Bytes of all jobs together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.total
    }

    /// Bytes that are free. `u64::MAX` if all of them are, since [`MemoryBudget::take`] then grants any number.
    #[must_use]
    pub fn left(&self) -> u64 {
        let left = *self.left.borrow();
        if left == self.total { u64::MAX } else { left }
    }

    /// The same without what is kept for the spare place: an eighth of all, at most 256 MiB. Only a job that takes nearly
    /// all there is may have that too, when nobody else has any.
    #[must_use]
    pub fn left_beside_reserve(&self) -> u64 {
        match self.left() {
            u64::MAX => u64::MAX,
            left => left.saturating_sub(self.reserve()),
        }
    }

    /// Bytes that are set aside for jobs.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.total - *self.left.borrow()
    }

    /// Bytes that are kept for the spare place.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        (self.total / 8).min(SPARE_BYTES_MAX)
    }

    /// Takes `bytes`, or what is left if that is less: whoever takes has asked before, and sees to it that nobody does in
    /// between.
    #[must_use]
    pub fn take(&self, bytes: u64) -> MemoryShare {
        let mut taken = 0;
        self.left.send_modify(|left| {
            taken = bytes.min(*left);
            *left -= taken;
        });
        MemoryShare { budget: self.clone(), bytes, taken }
    }

    /// Waits until `bytes` are free, or all, and takes none.
    pub async fn wait_for(&self, bytes: u64) {
        let needed = bytes.min(self.total);
        // The sender lives as long as this.
        let _ = self.left.subscribe().wait_for(|left| *left >= needed).await;
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
    async fn a_share_is_waited_for_and_given_back() {
        let budget = MemoryBudget::new(10 * MIB);
        let first = budget.take(6 * MIB);
        assert_eq!((budget.left(), first.covers(6 * MIB), first.covers(6 * MIB + 1)), (4 * MIB, true, false));
        let mut enough = Box::pin(budget.wait_for(8 * MIB));
        assert!(futures_util::poll!(&mut enough).is_pending());
        // The queue may let a smaller one pass.
        drop(budget.take(MIB));
        drop(first);
        enough.await;
        assert_eq!(budget.left(), u64::MAX, "when nobody has any, there is enough for any job");
        let half = budget.take(5 * MIB);
        assert_eq!((budget.left(), budget.left_beside_reserve()), (5 * MIB, 5 * MIB - 10 * MIB / 8));
        drop(half);
        assert_eq!(budget.left_beside_reserve(), u64::MAX);
        // More than the whole budget means all of it, and not waiting for ever.
        let all = budget.take(u64::MAX);
        assert_eq!(budget.left(), 0);
        drop(all);
        drop(budget.take(0));
        assert_eq!(budget.left(), u64::MAX);
    }
}
