//! What was moved, in numbers.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::{TransferEntry, TransferredJob};

/// What a migration came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Whether it was only looked.
    pub is_dry_run: bool,
    /// Whether an earlier run had done everything.
    pub was_done: bool,
    /// From where, in words.
    pub from: String,
    /// Where to, in words.
    pub to: String,
    /// Jobs that have not ended.
    pub live_jobs: u64,
    /// Records of those that have.
    pub ended_jobs: u64,
    /// Callbacks that are owed.
    pub owed_callbacks: u64,
    /// Tokens that were good for one upload.
    pub used_tokens: u64,
    /// Users, stores and presets.
    pub registrations: u64,
    /// Originals of live jobs, and of uploads that no queue knows yet.
    pub originals: u64,
    /// Their bytes.
    pub original_bytes: u64,
    /// Uploads that no queue knows yet.
    pub waiting_uploads: u64,
    /// Files that a server serves itself; none where they stay.
    pub served_files: u64,
    /// Their bytes.
    pub served_bytes: u64,
    /// Records that can't be read, and stay.
    pub unreadable: u64,
    /// Uploads that are damaged, and stay.
    pub damaged: u64,
}

impl Migrated {
    pub(super) fn jobs(&self) -> u64 {
        self.live_jobs + self.ended_jobs
    }

    pub(super) fn original(&mut self, bytes: u64) {
        self.originals += 1;
        self.original_bytes += bytes;
    }

    pub(super) fn entry(&mut self, entry: &TransferEntry) {
        match entry {
            TransferEntry::Job(job) => self.job(job),
            TransferEntry::UsedToken { .. } => self.used_tokens += 1,
        }
    }

    fn job(&mut self, job: &TransferredJob) {
        if job.job().state.is_terminal() {
            self.ended_jobs += 1;
        } else {
            self.live_jobs += 1;
        }
        self.owed_callbacks += job.owed_callbacks() as u64;
    }

    pub(super) fn served(&mut self, files: &[u64]) {
        self.served_files += files.len() as u64;
        self.served_bytes += files.iter().sum::<u64>();
    }
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        if self.was_done {
            return write!(f, "everything had moved before, from {from} to {to}");
        }
        let verb = if self.is_dry_run { "would move" } else { "moved" };
        writeln!(f, "{verb} from {from} to {to}:")?;
        let rows = [
            ("jobs that have not ended", self.live_jobs),
            ("records of ended jobs", self.ended_jobs),
            ("callbacks owed", self.owed_callbacks),
            ("users, stores and presets", self.registrations),
        ];
        for (what, count) in rows {
            writeln!(f, "  {count:>9}  {what}")?;
        }
        if self.is_dry_run {
            return write!(f, "nothing was changed");
        }
        let rows = [
            ("used tokens", self.used_tokens, None),
            ("originals", self.originals, Some(self.original_bytes)),
            ("served files", self.served_files, Some(self.served_bytes)),
        ];
        for (what, count, bytes) in rows {
            match bytes {
                Some(bytes) => writeln!(f, "  {count:>9}  {what} ({bytes} bytes)")?,
                None => writeln!(f, "  {count:>9}  {what}")?,
            }
        }
        for (what, count) in [("records can't be read", self.unreadable), ("uploads are damaged", self.damaged)] {
            if count > 0 {
                writeln!(f, "  {count:>9}  {what}, and stay where they are; the log names them")?;
            }
        }
        write!(f, "it goes on there; what is kept here is as it was, and no server starts on it")
    }
}

/// Says now and then how far it is.
pub(super) struct Progress(Instant);

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn tell(&mut self, say: impl FnOnce()) {
        if self.0.elapsed() >= EVERY {
            self.0 = Instant::now();
            say();
        }
    }
}
