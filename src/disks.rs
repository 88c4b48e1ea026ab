//! The directories that everything is kept in, and whether they can be used now: whether a small file can be written
//! and fsynced there, and how much space is free.
//!
//! A directory of ours that can't be written is never a job's fault: what would write there waits until it can. Each is
//! probed by a thread of its own, which a disk that hangs takes along and nothing else; a look that takes longer than
//! [`ANSWER_TIMEOUT`] counts as one that failed, and the next begins only when it has ended.

mod directory;
mod prober;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use directory::DirectoryError;
use directory::ProbedDirectory;
use prober::{Prober, ProberState};

/// How often a small file is written, fsynced and removed while that works. While it doesn't, every [`LOOK_PERIOD`].
pub const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// How often free space is asked for, and what was found is published.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// A disk that takes longer for one small file hangs. The slowest that works, a hard disk under load or a network's, takes
/// a second or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What part of the floor is kept free above it, as long as anything can go.
const MARGIN_OF_FLOOR: u64 = 8;

/// One of the directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// The databases and the spool.
    Data,
    /// What is served under `/files/`.
    Serve,
    /// What is private, under `/private/`.
    Private,
}

impl RootKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Data, Self::Serve, Self::Private];

    /// What it is called in answers and log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Serve => "serve",
            Self::Private => "private",
        }
    }

    /// The variable that chooses it.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Data => "PIXERVE_DATA_DIR",
            Self::Serve => "PIXERVE_SERVE_DIR",
            Self::Private => "PIXERVE_PRIVATE_DIR",
        }
    }
}

/// What the last look at one of the directories found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootHealth {
    /// Bytes that are free for this process; none if the system doesn't say.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written there now, in words for the operator; none if it can.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Published {
    /// In the order of [`RootKind::ALL`]; one that is not there has no trouble.
    roots: [RootHealth; RootKind::ALL.len()],
}

/// Whether all directories can be used now. Cheap to clone and to ask; what it says is at most a few seconds old.
#[derive(Clone, Debug)]
pub struct DiskHealth {
    published: watch::Receiver<Published>,
    floor_bytes: u64,
    recheck: Arc<[Prober]>,
}

impl DiskHealth {
    /// Health that is always good, for tests of rooms that only ask for it.
    #[must_use]
    pub fn always_good() -> Self {
        // A channel without a sender keeps its value.
        let (_, published) = watch::channel(Published::default());
        Self { published, floor_bytes: 0, recheck: Arc::default() }
    }

    /// Whether there is such a directory: what is in a bucket is in none.
    #[must_use]
    pub fn has(&self, kind: RootKind) -> bool {
        self.recheck.iter().any(|prober| prober.kind() == kind)
    }

    /// Whether all directories can be written.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.published.borrow().roots.iter().all(|root| root.trouble.is_none())
    }

    /// Whether less is free on the disk of any of them than is to be kept free (`storage.free_disk_min`). No where the system
    /// doesn't say.
    #[must_use]
    pub fn below_floor(&self) -> bool {
        RootKind::ALL.into_iter().any(|kind| self.is_below_floor(kind))
    }

    /// The same of one of them.
    #[must_use]
    pub fn is_below_floor(&self, kind: RootKind) -> bool {
        self.root(kind).free_bytes.is_some_and(|free| free < self.floor_bytes)
    }

    /// How many bytes more than are free there would keep one of them a little above the floor, so that what can go goes before
    /// anything is refused. None are missing where the system doesn't say.
    #[must_use]
    pub fn short_by(&self, kind: RootKind) -> u64 {
        let wanted = self.floor_bytes.saturating_add(self.floor_bytes / MARGIN_OF_FLOOR);
        self.root(kind).free_bytes.map_or(0, |free| wanted.saturating_sub(free))
    }

    /// Returns once bytes are missing there.
    pub async fn wait_short(&self, kind: RootKind) {
        self.wait(|health| health.short_by(kind) > 0).await;
    }

    /// What was found of one of them.
    #[must_use]
    pub fn root(&self, kind: RootKind) -> RootHealth {
        self.published.borrow().roots[kind as usize].clone()
    }

    /// Returns once all directories can be written.
    pub async fn wait_usable(&self) {
        self.wait(Self::is_usable).await;
    }

    /// Returns once one of them can be written.
    pub async fn wait_writable(&self, kind: RootKind) {
        self.wait(|health| health.root(kind).trouble.is_none()).await;
    }

    /// Returns once all directories can be written and have at least the floor's bytes free.
    pub async fn wait_room(&self) {
        self.wait(|health| health.is_usable() && !health.below_floor()).await;
    }

    /// Has all directories probed now, for who has just met an error there.
    pub fn recheck(&self) {
        self.recheck.iter().for_each(Prober::wake);
    }

    async fn wait(&self, is_good: impl Fn(&Self) -> bool) {
        let mut published = self.published.clone();
        loop {
            published.mark_unchanged();
            if is_good(self) {
                return;
            }
            if published.changed().await.is_err() {
                // Nobody looks any more: the server stops, or a test has none. What waits is stopped from elsewhere.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Publishes what the probing threads find. One for the whole server.
pub struct DiskMonitor {
    probers: Arc<[Prober]>,
    published: watch::Sender<Published>,
}

/// Looks at one of the directories once: bytes that are free for this process there; none if the system doesn't say. Blocks on
/// its disk.
///
/// # Errors
/// If it is missing or can't be written.
pub fn look(kind: RootKind, path: &Path) -> Result<Option<u64>, DirectoryError> {
    let directory = ProbedDirectory::open(kind, path.to_owned())?;
    directory.probe()?;
    Ok(directory.free_bytes())
}

/// Looks at all directories once, and starts the threads that go on doing so until the monitor is dropped. Blocks on the
/// disks.
///
/// # Errors
/// If one of them is missing or can't be written, for another reason than that its disk is full: that may pass, and
/// files can be served meanwhile.
pub fn watch(
    roots: impl IntoIterator<Item = (RootKind, PathBuf)>,
    floor_bytes: u64,
) -> Result<(DiskHealth, DiskMonitor), DirectoryError> {
    let mut probers = Vec::new();
    for (kind, path) in roots {
        let directory = ProbedDirectory::open(kind, path)?;
        match directory.probe() {
            Err(error) if !error.is_full() => return Err(error),
            first => probers.push(Prober::start(directory, first)?),
        }
    }
    let probers: Arc<[Prober]> = probers.into();
    let (sender, published) = watch::channel(found_by(&probers));
    let health = DiskHealth { published, floor_bytes, recheck: Arc::clone(&probers) };
    Ok((health, DiskMonitor { probers, published: sender }))
}

fn found_by(probers: &[Prober]) -> Published {
    let mut published = Published::default();
    for prober in probers {
        published.roots[prober.kind() as usize] = health_of(prober.state());
    }
    published
}

fn health_of(state: ProberState) -> RootHealth {
    let hangs = state.looking_since.is_some_and(|since| since.elapsed() > ANSWER_TIMEOUT);
    let trouble = if hangs { Some("its disk does not answer".to_owned()) } else { state.trouble };
    RootHealth { free_bytes: state.free_bytes, trouble }
}

impl DiskMonitor {
    /// Publishes what is found, and logs what changes, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.log_first();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let found = found_by(&self.probers);
            self.log_changes(&found);
            self.published.send_if_modified(|published| std::mem::replace(published, found.clone()) != found);
        }
    }

    fn log_first(&self) {
        let published = self.published.borrow();
        for prober in &*self.probers {
            if let Some(trouble) = &published.roots[prober.kind() as usize].trouble {
                warn!(directory = %prober.path().display(), error = trouble, "directory can't be written; jobs wait");
            }
        }
    }

    fn log_changes(&self, found: &Published) {
        let before = self.published.borrow();
        for prober in &*self.probers {
            let [before, now] = [&before.roots, &found.roots].map(|roots| &roots[prober.kind() as usize]);
            let directory = prober.path().display();
            match (&before.trouble, &now.trouble) {
                (None, Some(trouble)) => error!(%directory, error = trouble, "directory can't be written; jobs wait"),
                (Some(_), None) => info!(%directory, "directory can be written again"),
                _ => {}
            }
        }
    }
}

impl Drop for DiskMonitor {
    fn drop(&mut self) {
        self.probers.iter().for_each(Prober::stop);
    }
}

#[cfg(test)]
mod tests;
