//! Children that have done a job and wait a little for another one of the same owner.
//!
//! Starting a child, and getting fresh memory from the kernel, takes longer than some small jobs. What a picture could do
//! to the child that works on it can reach later jobs of that child only, so it never works for two owners.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdout};

/// Jobs that one child does: whatever piles up in it goes with it.
const JOBS_MAX: u32 = 32;

/// A child and the ways to it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    /// None once it has heard all.
    pub(super) input: Option<File>,
    pub(super) output: BufReader<ChildStdout>,
    /// Its cap on memory, in bytes, which can't be raised any more.
    pub(super) memory_max: u64,
    /// Done by it.
    pub(super) jobs: u32,
}

/// What stands for an owner.
pub(super) type OwnerDigest = [u8; 32];

/// The children that wait.
#[derive(Debug)]
pub(super) struct Kept {
    idle: Mutex<Idle>,
    /// How many may wait at once.
    most: usize,
    /// For how long; nothing waits if this is zero.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Idle {
    /// The longest-waiting first.
    children: VecDeque<(u64, OwnerDigest, Running)>,
    /// Of the next one to wait.
    ticket: u64,
}

impl Kept {
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self { idle: Mutex::default(), most, patience }
    }

    /// Whether children wait at all.
    pub(super) fn keeps(&self) -> bool {
        self.most > 0 && !self.patience.is_zero()
    }

    /// A child that has worked for this owner, lives, and may take `memory` bytes.
    pub(super) fn take(&self, owner: OwnerDigest, memory: u64) -> Option<Running> {
        let mut idle = self.idle();
        loop {
            let fits = |of: OwnerDigest, child: &Running| of == owner && child.memory_max >= memory;
            let index = idle.children.iter().rposition(|(_, of, child)| fits(*of, child))?;
            let (_, _, mut running) = idle.children.remove(index)?;
            if matches!(running.child.try_wait(), Ok(None)) {
                return Some(running);
            }
        }
    }

    /// Lets a child that has done its job wait for another one. Whoever is one too many is killed.
    pub(super) fn put(self: &Arc<Self>, owner: OwnerDigest, running: Running) {
        if !self.keeps() || running.jobs >= JOBS_MAX || running.input.is_none() {
            return;
        }
        let mut idle = self.idle();
        let ticket = idle.ticket;
        idle.ticket += 1;
        idle.children.push_back((ticket, owner, running));
        if idle.children.len() > self.most {
            idle.children.pop_front();
        }
        drop(idle);
        let (kept, patience) = (Arc::downgrade(self), self.patience);
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            if let Some(kept) = kept.upgrade() {
                kept.idle().children.retain(|(of, ..)| *of != ticket);
            }
        });
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics while it is held.
        self.idle.lock()
    }
}
