//! What a server keeps across restarts, opened and reconciled at its start.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::home_mark::MarkPlace;
use super::private_files::{self, mode_for_others};
use super::sealed_callbacks::KeysSecret;
#[cfg(feature = "s3")]
use super::shared_state;
use super::shared_state::SharedState;
use super::start_error::StartError;
use crate::auth::{KeyRing, KeyRingError};
use crate::clock::{ClockTrust, SharedClock};
use crate::config::{Config, PrivatePlace};
use crate::disks::{self, DiskHealth, DiskMonitor, RootKind};
use crate::error_chain::ErrorChain;
use crate::job::{CallbackTarget, JobId};
use crate::ledger::{ErasableLedger, ErasedEvents, LedgerError, OpenedLedger, SqliteLedger};
use crate::queue::{CallbacksOf, CrashAttribution, JobQueue, QUEUE_DATABASE, SledQueue};
use crate::register::{OpenedRegister, Register, Sealer, SecretFiles};
use crate::sandbox::SandboxMode;
use crate::spool::{DirectorySpool, Spool};
use crate::worker::{ClockKeeper, ReconcileScope, SpoolReconciler, half_of_memory};

/// Permissions of a data directory that is made, and of a serve directory.
pub(super) const PRIVATE_DIRECTORY: u32 = 0o700;
const SERVED_DIRECTORY: u32 = 0o755;

/// Everything that is kept: on this machine's disk, or where many nodes share it.
pub(super) struct PersistentState {
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) spool: Arc<dyn Spool>,
    pub(super) ledger: Arc<dyn ErasableLedger>,
    pub(super) register: Arc<Register>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) keys_secret: KeysSecret,
    pub(super) keys: KeyRing,
    pub(super) disks: DiskHealth,
    pub(super) clock_trust: ClockTrust,
    /// Which server this is, among those that may share a serve directory: the UUID of its queue's database.
    pub(super) server: String,
    /// Records that the queue had are lost.
    pub(super) history_lost: bool,
    /// What this server shares with others, if it does.
    pub(super) shared: Option<SharedState>,
}

impl PersistentState {
    /// Opens all of it, wherever it is.
    pub(super) async fn open(config: &Config, clock: &SharedClock) -> Result<(Self, DiskMonitor), StartError> {
        match &config.redis.url {
            #[cfg(feature = "s3")]
            Some(url) => shared_state::open(config, url, memory_budget(config), clock).await,
            // Settings that name a shared queue name a bucket, which this build refuses.
            #[cfg(not(feature = "s3"))]
            Some(_) => Self::open_own(config, clock).await,
            None => Self::open_own(config, clock).await,
        }
    }

    /// Opens what is on this machine's disk, on a thread that may wait for that.
    async fn open_own(config: &Config, clock: &SharedClock) -> Result<(Self, DiskMonitor), StartError> {
        let (config, clock) = (config.clone(), Arc::clone(clock));
        spawn_blocking(move || Self::open_blocking(&config, &clock)).await?
    }

    fn open_blocking(config: &Config, clock: &SharedClock) -> Result<(Self, DiskMonitor), StartError> {
        make_dir(&config.data_dir, PRIVATE_DIRECTORY)?;
        let (disks, disk_monitor) = watch_disks(config, &config.data_dir)?;
        // The queue first: its lock is what keeps a second server out of the directory.
        let queue = open_queue(config, clock)?;
        // It keeps a migration out, too. This thread may wait.
        Handle::current().block_on(MarkPlace::in_directory(&config.data_dir).refuse_marked())?;
        let history_lost = !queue.set_aside().is_empty();
        private_files::tighten(&config.data_dir, &config.serve_dir);
        let ledger = Arc::new(open_ledger(config)?);
        let sealer = Arc::new(open_sealer(config, &queue, &ledger)?);
        let register = Arc::new(open_register(config, &sealer, clock)?);
        let kept = Arc::new(SecretFiles::new(&config.data_dir));
        // This thread may wait.
        let keys_secret = Handle::current().block_on(KeysSecret::open(config, kept, &sealer, None))?;
        let keeps_failed = !config.spool.failed_originals_kept.is_zero();
        let spool: Arc<dyn Spool> = Arc::new(DirectorySpool::open(&config.data_dir)?.keeping_failed(keeps_failed));
        // After the lock is ours: a second server in the wrong place must not leave a key file behind.
        let keys = load_keys(config)?;
        let clock_trust = ClockTrust::new(Arc::clone(clock), ClockKeeper::last_seen(&config.data_dir));
        let server = queue.uuid()?;
        let queue = Arc::new(queue);
        let persistent = Self {
            queue,
            spool,
            ledger,
            register,
            sealer,
            keys_secret,
            keys,
            disks,
            clock_trust,
            server,
            history_lost,
            shared: None,
        };
        Ok((persistent, disk_monitor))
    }

    /// What makes the queue agree with the spool.
    pub(super) fn reconciler(&self, clock: &SharedClock) -> SpoolReconciler {
        SpoolReconciler::new(Arc::clone(&self.spool), Arc::clone(&self.queue), Arc::clone(clock))
            .heeding(Arc::clone(&self.ledger))
    }

    /// Makes the queue agree with the spool. What is returned keeps it so.
    pub(super) async fn reconcile(&self, clock: &SharedClock) -> Result<SpoolReconciler, StartError> {
        let reconciler = self.reconciler(clock);
        if self.history_lost {
            reconciler.drop_jobs_missing_from_spool().await?;
        }
        reconciler.reconcile(ReconcileScope::AtStart).await?;
        Ok(reconciler)
    }
}

/// Bytes of memory that all jobs of this server together may take.
pub(super) fn memory_budget(config: &Config) -> u64 {
    config.worker.memory_budget.unwrap_or_else(half_of_memory)
}

/// Makes the serve directory and the private one, if there are to be some, and watches their disks and that of `data`.
pub(super) fn watch_disks(config: &Config, data: &Path) -> Result<(DiskHealth, DiskMonitor), StartError> {
    // Without one, what is served is nobody's disk but the bucket's.
    let serve = config.served_dir().unwrap_or(data);
    if serve != data {
        make_dir(serve, SERVED_DIRECTORY)?;
    }
    let mut roots = vec![(RootKind::Data, data.to_owned()), (RootKind::Serve, serve.to_owned())];
    roots.extend(private_dir(config)?.map(|path| (RootKind::Private, path)));
    let floor_bytes = config.server.http.free_disk_min;
    let watched = disks::watch(roots.clone(), floor_bytes)?;
    warn_of_small_disks(roots.iter().map(|(_, path)| path.as_path()), floor_bytes);
    Ok(watched)
}

/// The private directory, made if it is missing; none where private files are in none, or where nobody chose one and it can't be had.
fn private_dir(config: &Config) -> Result<Option<PathBuf>, StartError> {
    let (path, is_chosen) = match config.private_place() {
        PrivatePlace::Directory { path, is_chosen } => (path, is_chosen),
        PrivatePlace::Bucket => return Ok(None),
        PrivatePlace::Nowhere => {
            info!("no private files are kept: PIXERVE_PRIVATE_DIR names no directory that all nodes share");
            return Ok(None);
        }
    };
    let made = make_dir(path, PRIVATE_DIRECTORY).and_then(|()| match disks::look(RootKind::Private, path) {
        Err(error) if !error.is_full() => Err(error.into()),
        _ => Ok(()),
    });
    match made {
        Ok(()) => {}
        Err(error) if is_chosen => return Err(error),
        Err(error) => {
            warn!(
                path = %path.display(), error = %ErrorChain(&error),
                "no private files are kept, since their directory can't be used; PIXERVE_PRIVATE_DIR chooses another"
            );
            return Ok(None);
        }
    }
    if let Some(serve) = config.served_dir() {
        keep_apart(serve, path)?;
    }
    Ok(Some(path.to_owned()))
}

/// Refuses directories of which one lies in the other, or is the other, whatever they are called.
fn keep_apart(serve: &Path, private: &Path) -> Result<(), StartError> {
    let real =
        |path: &Path| path.canonicalize().map_err(|source| StartError::Directory { path: path.to_owned(), source });
    let (real_serve, real_private) = (real(serve)?, real(private)?);
    if real_serve.starts_with(&real_private) || real_private.starts_with(&real_serve) {
        return Err(StartError::PrivateIsServed { serve: serve.to_owned(), private: private.to_owned() });
    }
    Ok(())
}

/// Makes the directory if it is missing, with these permissions whatever the umask.
pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), StartError> {
    let there = if path.is_dir() {
        Ok(())
    } else {
        std::fs::create_dir_all(path).and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
    };
    there.map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

/// A disk that can't have so much free space takes no upload, ever: better to hear of it at once.
fn warn_of_small_disks<'a>(dirs: impl Iterator<Item = &'a Path>, floor: u64) {
    for dir in dirs {
        let Ok(stat) = rustix::fs::statvfs(dir) else { continue };
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        if total <= floor {
            warn!(
                dir = %dir.display(), disk_bytes = total, free_disk_min_bytes = floor,
                "disk of the directory is smaller than PIXERVE_STORAGE_FREE_DISK_MIN; every upload will be refused"
            );
        }
    }
}

/// Those whom the ledger is to tell of erased jobs that are read at once.
const RECIPIENTS_AT_ONCE: usize = 1_000;

fn open_queue(config: &Config, clock: &SharedClock) -> Result<SledQueue, StartError> {
    let attribution = match config.sandbox.sandbox {
        SandboxMode::Off => CrashAttribution::JobsInFlight,
        SandboxMode::On | SandboxMode::Strict => CrashAttribution::NoJob,
    };
    let path = config.data_dir.join(QUEUE_DATABASE);
    Ok(SledQueue::open(&path, config.queue.clone(), Arc::clone(clock), attribution)?)
}

/// A new key is made only where nothing is sealed: it would open none of that, and hide that the old one is missing.
fn open_sealer(config: &Config, queue: &SledQueue, ledger: &SqliteLedger) -> Result<Sealer, StartError> {
    let path = config.key_file();
    if !path.exists() {
        // A queue that lost records may have lost what it owes; the spool has it still.
        let mut sealed = !queue.set_aside().is_empty() || Register::has_records(&config.data_dir)?;
        queue.visit_callbacks(CallbacksOf::Owed, |_, target| {
            sealed |= target.sealed_url.is_some() || target.sealed_headers.is_some();
        })?;
        // This thread may wait.
        let told = async { Ok::<_, LedgerError>((ledger.recipients(None, 1).await?, ledger.events(None, 1).await?)) };
        let (recipients, events) = Handle::current().block_on(told)?;
        sealed |= !recipients.is_empty() || !events.is_empty();
        if sealed {
            return Err(StartError::SealingKeysMissing { path });
        }
    }
    let sealer = Sealer::open(&path)?;
    tell_of_older_keys(&sealer, queue, ledger)?;
    Ok(sealer)
}

/// Manifests are written once and never changed, so a callback stays sealed with the key of its upload; this says when an
/// older key can go.
fn tell_of_older_keys(sealer: &Sealer, queue: &SledQueue, ledger: &SqliteLedger) -> Result<(), StartError> {
    if sealer.keys() == 1 {
        return Ok(());
    }
    let (mut older, mut lost) = (0_usize, 0_usize);
    let mut look_at = |id: &JobId, target: &CallbackTarget| match sealer.needs_older_key(id, target) {
        Ok(needed) => older += usize::from(needed),
        Err(_) => lost += 1,
    };
    queue.visit_callbacks(CallbacksOf::Kept, &mut look_at)?;
    let mut after = None;
    loop {
        // This thread may wait.
        let found = Handle::current().block_on(ledger.recipients(after.as_ref(), RECIPIENTS_AT_ONCE))?;
        let Some((newest, _)) = found.last() else { break };
        after = Some(*newest);
        for (id, recipient) in &found {
            if let Some(recipient) = recipient {
                look_at(id, &recipient.target);
            }
        }
    }
    if lost > 0 {
        error!(callbacks = lost, "callbacks can't be unsealed; they wait for a start with the missing sealing key");
    }
    if older > 0 {
        info!(callbacks = older, "callbacks need an older sealing key; keep it in the key file");
    } else {
        info!("no callback needs an older sealing key; it can be removed from the key file");
    }
    Ok(())
}

fn open_register(config: &Config, sealer: &Arc<Sealer>, clock: &SharedClock) -> Result<Register, StartError> {
    if !Register::exists(&config.data_dir) {
        info!(data_dir = %config.data_dir.display(), "register is new; no users and stores are registered");
    }
    let OpenedRegister { register, set_aside, unreadable } =
        Register::open(&config.data_dir, Arc::clone(sealer), Arc::clone(clock))?;
    for access_key in unreadable {
        error!(
            access_key,
            "registration could not be unsealed: it is damaged, or its sealing key is gone; register it again"
        );
    }
    if let Some(set_aside) = set_aside {
        error!(
            set_aside = %set_aside.path.display(), why = set_aside.why,
            "register database was damaged and has been set aside; users and stores must be registered again"
        );
    }
    Ok(register)
}

fn open_ledger(config: &Config) -> Result<SqliteLedger, StartError> {
    let OpenedLedger { ledger, set_aside } = SqliteLedger::open(&config.data_dir)?;
    if let Some(set_aside) = set_aside {
        error!(
            set_aside = %set_aside.path.display(), why = set_aside.why,
            "ledger was damaged and has been set aside; erasing finds nothing any more of jobs whose records are gone, too"
        );
    }
    Ok(ledger)
}

/// The keys of `jwt.json`, or of the environment, or new ones.
fn load_keys(config: &Config) -> Result<KeyRing, KeyRingError> {
    let path = &config.auth.jwt_file;
    if let Some(keys) = KeyRing::load(path, config.auth.jwt_secret.as_ref())? {
        if config.auth.jwt_secret.is_none()
            && let Some(mode) = mode_for_others(path)
        {
            let mode = format!("{mode:04o}");
            warn!(path = %path.display(), mode, "others than their owner may read the signing keys; chmod 600 mends that");
        }
        return Ok(keys);
    }
    let keys = KeyRing::generate(path)?;
    warn!(path = %path.display(), "no signing key was configured; one with a random secret was written, back it up");
    Ok(keys)
}
