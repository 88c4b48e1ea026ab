//! Children that have done a job and wait for another one of the same owner.
//!
//! Starting a child, and getting fresh memory from the kernel, takes longer than some small jobs. Whatever an original did
//! to the child that decoded it reaches later jobs of that child only, so a child never works for two owners.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdout};

use super::metrics::ChildCount;
use crate::job::OwnerKey;

/// Jobs that one child does: whatever it leaks goes with it.
const JOBS_PER_CHILD_MAX: u32 = 32;

/// A child and its pipes. Dropping it kills the child.
#[derive(Debug)]
pub(super) struct ChildProcess {
    pub(super) child: Child,
    /// None once it can't be sent another request.
    pub(super) input: Option<File>,
    pub(super) output: BufReader<ChildStdout>,
    /// Its memory limit in bytes, which can't be raised any more.
    pub(super) memory_max: u64,
    /// Jobs that it has done.
    pub(super) jobs: u32,
    pub(super) count: ChildCount,
}

/// The children that wait.
#[derive(Debug)]
pub(super) struct IdleChildren {
    list: Mutex<IdleList>,
    max_idle: usize,
    /// Zero lets no child wait.
    idle_timeout: Duration,
}

#[derive(Debug, Default)]
struct IdleList {
    /// The longest-waiting first.
    children: VecDeque<IdleChild>,
    next_number: u64,
}

#[derive(Debug)]
struct IdleChild {
    /// Tells its time-out from that of a later wait.
    number: u64,
    owner: OwnerKey,
    process: ChildProcess,
}

impl IdleChildren {
    pub(super) fn new(max_idle: usize, idle_timeout: Duration) -> Self {
        Self { list: Mutex::default(), max_idle, idle_timeout }
    }

    /// Whether children wait at all.
    pub(super) fn is_enabled(&self) -> bool {
        self.max_idle > 0 && !self.idle_timeout.is_zero()
    }

    /// A child that has worked for this owner, still runs, and may take `memory` bytes.
    pub(super) fn take(&self, owner: OwnerKey, memory: u64) -> Option<ChildProcess> {
        let mut list = self.list.lock();
        loop {
            let fits = |idle: &IdleChild| idle.owner == owner && idle.process.memory_max >= memory;
            let index = list.children.iter().rposition(fits)?;
            let mut process = list.children.remove(index)?.process;
            if matches!(process.child.try_wait(), Ok(None)) {
                return Some(process);
            }
        }
    }

    /// Lets a child wait that has done its job. The longest-waiting is killed if that makes one too many.
    pub(super) fn put(self: &Arc<Self>, owner: OwnerKey, process: ChildProcess) {
        if !self.is_enabled() || process.jobs >= JOBS_PER_CHILD_MAX || process.input.is_none() {
            return;
        }
        let mut list = self.list.lock();
        let number = list.next_number;
        list.next_number += 1;
        list.children.push_back(IdleChild { number, owner, process });
        if list.children.len() > self.max_idle {
            list.children.pop_front();
        }
        drop(list);
        let (idle, idle_timeout) = (Arc::downgrade(self), self.idle_timeout);
        tokio::spawn(async move {
            tokio::time::sleep(idle_timeout).await;
            if let Some(idle) = idle.upgrade() {
                idle.list.lock().children.retain(|child| child.number != number);
            }
        });
    }
}
