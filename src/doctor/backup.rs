//! A copy of a data directory: what it holds, and what a server that is started on it would do. The copy itself is only read:
//! its databases are copied once more, and opened there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::task::spawn_blocking;
use walkdir::WalkDir;

use super::Check;
use super::check::{bytes, counted};
use super::directories::moved;
use crate::clock::SharedClock;
use crate::database::{Database, DatabaseState};
use crate::error_chain::ErrorChain;
use crate::job::JobId;
use crate::ledger::{Erasures, LEDGER_DATABASE, Ledger, LedgerError, OpenedLedger, SqliteLedger};
use crate::queue::{
    CallbacksOf, CrashAttribution, DeliveryRecords, DeliveryScope, DeliveryState, JobMaintenance, JobQueue, JobRecords,
    KnownJob, PAGE_MAX, PageRequest, QUEUE_DATABASE, QueueError, QueueSettings, SledQueue,
};
use crate::register::{
    EntryKind, KnownVersions, OpenedRecords, OpenedRegister, REGISTER_DATABASE, Register, RegisterError, SEALING_KEYS,
    SealedRecords, Sealer, SledRecords,
};

const BACKUP: &str = "backup";
const JOBS: &str = "jobs";
const ORIGINALS: &str = "originals";
const KEYS: &str = "sealing keys";
const REGISTRATIONS: &str = "users and stores";
const WOULD_RUN: &str = "jobs that would run";
const WOULD_BE_SENT: &str = "callbacks that would be sent";
const WOULD_BE_ERASED: &str = "erasures that would go on";

/// What the directory begins with in which its databases are opened.
const SCRATCH_PREFIX: &str = "pixerve-doctor-";
/// Ids that the queue is asked about at once.
const IDS_AT_ONCE: usize = 1_000;
/// Callbacks whose hosts are told.
const LOOKED_AT_MOST: usize = 2_000;

/// How to see it first.
const PAUSED: &str = "to look at it before, start a server on it with PIXERVE_PAUSED=true: it answers, and takes nothing in, makes, stores and calls nothing";

/// Which copy to look at.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The copy of a data directory.
    pub directory: PathBuf,
    /// Where its sealing keys may be, if not in it.
    pub sealing_keys: PathBuf,
    /// With which its queue is opened.
    pub queue: QueueSettings,
}

/// What is in a scratch directory of the databases of a backup, while it is looked at.
struct Copied {
    scratch: TempDir,
    sealer: Option<Arc<Sealer>>,
    keys: Check,
}

/// Looks at a backup: what it holds, and what would come back to life.
pub async fn look_at_backup(backup: Backup, clock: SharedClock) -> Vec<Check> {
    let prepared = spawn_blocking({
        let backup = backup.clone();
        move || prepare(&backup)
    });
    let (mut checks, copied) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => return vec![broke_off(&error)],
    };
    let Some(Copied { scratch, sealer, keys }) = copied else { return checks };
    checks.push(keys);
    checks.extend(queue(&backup, scratch.path(), sealer.clone(), &clock).await);
    checks.extend(ledger(scratch.path(), &clock).await);
    let registrations = {
        let (scratch, clock) = (scratch.path().to_owned(), Arc::clone(&clock));
        match sealer {
            Some(sealer) => spawn_blocking(move || registrations(&scratch, sealer, clock)).await,
            None => Ok(sealed_registrations(&scratch).await),
        }
    };
    checks.push(registrations.unwrap_or_else(|error| broke_off(&error)));
    // Removing it waits for the disk.
    let _ = spawn_blocking(move || drop(scratch)).await;
    checks
}

fn broke_off(error: &tokio::task::JoinError) -> Check {
    Check::failed(BACKUP, format!("looking at it broke off: {error}"), "report this: it is an error of the program")
}

/// Sees whether it is one, and copies its databases.
fn prepare(Backup { directory, sealing_keys, .. }: &Backup) -> (Vec<Check>, Option<Copied>) {
    let shown = directory.display();
    let databases = [QUEUE_DATABASE, REGISTER_DATABASE].map(|name| directory.join(name));
    if !databases.iter().any(|database| database.is_dir()) {
        let found =
            format!("{shown} is no copy of a data directory: it has neither {QUEUE_DATABASE} nor {REGISTER_DATABASE}");
        return (vec![Check::failed(BACKUP, found, "name the directory that PIXERVE_DATA_DIR was copied to")], None);
    }
    let mut checks = Vec::new();
    for database in &databases {
        match Database::look(database).map(|look| look.state) {
            Ok(DatabaseState::InUse) => {
                let found = format!("a server has {} open: this is no backup", database.display());
                let remedy =
                    "copy it while that server is stopped, or by a snapshot of the file system, and look at the copy";
                return (vec![Check::failed(BACKUP, found, remedy)], None);
            }
            Ok(DatabaseState::Gone) => checks.push(Check::failed(
                BACKUP,
                format!("{} is not there, though what belongs to it is", database.display()),
                "copy the whole data directory",
            )),
            Ok(_) => {}
            Err(error) => checks.push(Check::failed(BACKUP, ErrorChain(&error).to_string(), "let this user read it")),
        }
    }
    checks.extend(moved(directory));
    match copy(directory, sealing_keys) {
        Ok(copied) => {
            let size =
                WalkDir::new(directory).into_iter().filter_map(Result::ok).filter_map(|entry| entry.metadata().ok());
            let size: u64 = size.filter(fs::Metadata::is_file).map(|found| found.len()).sum();
            checks
                .insert(0, Check::ok(BACKUP, format!("{shown} is a copy of a data directory, {} in all", bytes(size))));
            (checks, Some(copied))
        }
        Err(error) => {
            let found = format!("its databases can't be copied, to be opened: {error}");
            checks.push(Check::failed(
                BACKUP,
                found,
                "make room where temporary files go (TMPDIR), and let this user read the backup",
            ));
            (checks, None)
        }
    }
}

/// Copies what is opened: opening it writes.
fn copy(directory: &Path, sealing_keys: &Path) -> io::Result<Copied> {
    let scratch = tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir()?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_database = [QUEUE_DATABASE, REGISTER_DATABASE, LEDGER_DATABASE].iter().any(|database| {
            text.strip_prefix(database).is_some_and(|rest| ["", ".uuid", ".synced", ".clean", "-wal"].contains(&rest))
        });
        if is_database {
            copy_tree(&entry.path(), &scratch.path().join(&name))?;
        }
    }
    let (sealer, keys) = open_keys(directory, sealing_keys, scratch.path())?;
    Ok(Copied { scratch, sealer: sealer.map(Arc::new), keys })
}

/// Copies a file, or a directory with all that is in it; what is copied may be written.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let inside = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let target = if inside.as_os_str().is_empty() { to.to_owned() } else { to.join(inside) };
        if entry.file_type().is_dir() {
            fs::create_dir(&target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// The keys that open it: those in it, or those that the settings name.
fn open_keys(directory: &Path, named: &Path, scratch: &Path) -> io::Result<(Option<Sealer>, Check)> {
    let inside = directory.join(SEALING_KEYS);
    let path = [inside.as_path(), named].into_iter().find(|path| path.is_file());
    let Some(path) = path else {
        let found = format!("neither {} nor {} is there", inside.display(), named.display());
        let remedy = "give the key file that belongs to it by PIXERVE_VAULT_KEY_FILE: without it users, stores and secrets of callbacks are lost";
        return Ok((None, Check::failed(KEYS, found, remedy)));
    };
    // A backup may have lost the permissions without which no server takes them.
    let copied = scratch.join(SEALING_KEYS);
    fs::copy(path, &copied)?;
    fs::set_permissions(&copied, Permissions::from_mode(0o600))?;
    Ok(match Sealer::open_existing(&copied) {
        Ok(sealer) => {
            let found = format!("{} has {}", path.display(), counted(sealer.keys(), "key"));
            (Some(sealer), Check::ok(KEYS, found))
        }
        Err(error) => {
            let found = format!("{} can't be used: {}", path.display(), ErrorChain(&error));
            (None, Check::failed(KEYS, found, "restore it from its own backup"))
        }
    })
}

/// What the ledger would have done. An older version left none.
async fn ledger(scratch: &Path, clock: &SharedClock) -> Option<Check> {
    let database = scratch.join(LEDGER_DATABASE);
    if !database.exists() && !database.with_extension("db.uuid").exists() {
        return None;
    }
    let scratch = scratch.to_owned();
    let look = async {
        let OpenedLedger { ledger, set_aside } = match spawn_blocking(move || SqliteLedger::open(&scratch)).await {
            Ok(opened) => opened?,
            Err(error) => return Ok(broke_off(&error)),
        };
        let running = ledger.running().await?.len();
        let due = ledger.due(clock.now(), LOOKED_AT_MOST).await?.len();
        // It is a copy of a copy.
        let _ = ledger.close().await;
        if let Some(damaged) = set_aside {
            let remedy = "use an older backup, or live with it: what lies in stores is erased by their own means then";
            return Ok(Check::failed(
                WOULD_BE_ERASED,
                format!("{LEDGER_DATABASE} is damaged: {}", damaged.why),
                remedy,
            ));
        }
        Ok::<_, LedgerError>(match (running, due) {
            (0, 0) => Check::ok(WOULD_BE_ERASED, "none"),
            (0, jobs) => Check::warning(
                WOULD_BE_ERASED,
                format!("{} whose time is over, with all that is stored of them", counted(jobs, "job")),
                PAUSED,
            ),
            (orders, _) => Check::warning(
                WOULD_BE_ERASED,
                format!(
                    "{}: what has been stored again since the copy was made, in the same places, goes too",
                    counted(orders, "order")
                ),
                PAUSED,
            ),
        })
    };
    Some(look.await.unwrap_or_else(|error| {
        let found = format!("{LEDGER_DATABASE} can't be read: {}", ErrorChain(&error));
        Check::failed(WOULD_BE_ERASED, found, "use the Pixerve that it was written by, or an older backup")
    }))
}

/// What is in the queue, and what it would do.
async fn queue(backup: &Backup, scratch: &Path, sealer: Option<Arc<Sealer>>, clock: &SharedClock) -> Vec<Check> {
    let path = scratch.join(QUEUE_DATABASE);
    if !path.exists() {
        let remedy = "copy the whole data directory; without it a server queues what is in the spool again";
        return vec![Check::failed(JOBS, format!("{QUEUE_DATABASE} is not in it"), remedy)];
    }
    let (settings, clock) = (backup.queue.clone(), Arc::clone(clock));
    let opened =
        spawn_blocking(move || SledQueue::open(&path, settings, clock, CrashAttribution::NoJob).map(Arc::new)).await;
    let queue = match opened {
        Ok(Ok(queue)) => queue,
        Ok(Err(error)) => {
            let found = format!("{QUEUE_DATABASE} can't be opened: {}", ErrorChain(&error));
            return vec![Check::failed(JOBS, found, "use the Pixerve that it was written by, or an older backup")];
        }
        Err(error) => return vec![broke_off(&error)],
    };
    let looked = look_into(backup, &queue, sealer).await;
    let mut checks = looked.unwrap_or_else(|error| {
        vec![Check::failed(JOBS, format!("the queue can't be read: {}", ErrorChain(&error)), "use an older backup")]
    });
    for damaged in queue.set_aside() {
        let remedy = "use an older backup, or live with it: what the spool has is queued again, other records are lost";
        checks.push(Check::failed(JOBS, format!("{QUEUE_DATABASE} is damaged: {}", damaged.why), remedy));
    }
    // It is a copy of a copy.
    let _ = queue.shutdown().await;
    checks
}

async fn look_into(
    backup: &Backup,
    queue: &Arc<SledQueue>,
    sealer: Option<Arc<Sealer>>,
) -> Result<Vec<Check>, QueueError> {
    let counts = queue.counts().await?;
    let mut checks = vec![Check::ok(
        JOBS,
        format!(
            "{} pending, those that were worked on among them, {} completed, {} failed, {} cancelled",
            counts.pending, counts.completed, counts.failed, counts.cancelled
        ),
    )];
    let directory = backup.directory.clone();
    let originals = spawn_blocking(move || ["jobs", "kept"].map(|place| originals(&directory, place))).await;
    let [live, kept] = originals.map_err(|error| QueueError::Unavailable {
        what: "listing originals broke off".to_owned(),
        source: Some(Box::new(error)),
    })?;
    let mut unknown = 0_u64;
    for ids in live.ids.chunks(IDS_AT_ONCE) {
        let known = queue.known(ids).await?;
        unknown += known.into_iter().filter(|known| *known == KnownJob::Unknown).count() as u64;
    }
    checks.push(Check::ok(
        ORIGINALS,
        format!(
            "{} of jobs that have not ended, {}; {} that are kept to run jobs again, {}",
            live.ids.len(),
            bytes(live.bytes),
            kept.ids.len(),
            bytes(kept.bytes)
        ),
    ));
    let missing = counts.pending.saturating_add(unknown).saturating_sub(live.ids.len() as u64);
    if missing > 0 {
        let found = format!("of {missing} jobs that have not ended the originals are not in it");
        checks.push(Check::failed(ORIGINALS, found, "copy the spool too: those jobs fail once they are run"));
    }
    checks.push(match counts.pending.saturating_add(unknown) {
        0 => Check::ok(WOULD_RUN, "none"),
        jobs if unknown > 0 => Check::warning(
            WOULD_RUN,
            format!(
                "{jobs}, {unknown} of which only the spool has: what has ended since the copy was made is done again"
            ),
            PAUSED,
        ),
        jobs => {
            Check::warning(WOULD_RUN, format!("{jobs}: what has ended since the copy was made is done again"), PAUSED)
        }
    });
    checks.extend(callbacks(queue, sealer).await?);
    Ok(checks)
}

/// Which callbacks are owed, and whether they can be unsealed.
async fn callbacks(queue: &Arc<SledQueue>, sealer: Option<Arc<Sealer>>) -> Result<Vec<Check>, QueueError> {
    let owed = queue.backlog().callbacks.count;
    let (mut hosts, mut looked_at, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = PageRequest { limit: PAGE_MAX, cursor };
        let page = queue.list_deliveries(DeliveryScope::All, DeliveryState::Pending, page).await?;
        looked_at += page.deliveries.len().max(1);
        for delivery in page.deliveries {
            if !hosts.contains(&delivery.host) {
                hosts.push(delivery.host);
            }
        }
        cursor = page.next;
        if cursor.is_none() || looked_at >= LOOKED_AT_MOST {
            break;
        }
    }
    let mut checks = Vec::new();
    if let Some(sealer) = sealer {
        let reader = Arc::clone(queue);
        let sealed_with_others = spawn_blocking(move || {
            let mut lost = 0_u64;
            reader.visit_callbacks(CallbacksOf::Kept, |id, target| {
                lost += u64::from(sealer.needs_older_key(id, target).is_err());
            })?;
            Ok::<_, QueueError>(lost)
        });
        let lost = sealed_with_others.await.map_err(|error| QueueError::Unavailable {
            what: "reading callbacks broke off".to_owned(),
            source: Some(Box::new(error)),
        })??;
        if lost > 0 {
            let found = format!("the sealing keys don't open what is secret of {lost} callbacks");
            checks.push(Check::failed(
                KEYS,
                found,
                "give the key file that belongs to this backup by PIXERVE_VAULT_KEY_FILE",
            ));
        }
    }
    checks.push(if owed == 0 {
        Check::ok(WOULD_BE_SENT, "none")
    } else {
        hosts.truncate(5);
        let found = format!("{owed}, to {}: receivers may have had them since the copy was made", hosts.join(", "));
        Check::warning(WOULD_BE_SENT, found, PAUSED)
    });
    Ok(checks)
}

/// Originals in one place of the spool.
#[derive(Debug, Default)]
struct Originals {
    ids: Vec<JobId>,
    bytes: u64,
}

fn originals(data: &Path, place: &str) -> Originals {
    let mut found = Originals::default();
    let entries = fs::read_dir(data.join("spool").join(place)).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
        if let Ok(original) = fs::metadata(entry.path().join("original")) {
            found.ids.push(id);
            found.bytes += original.len();
        }
    }
    found
}

/// Who and what is registered. Blocks.
fn registrations(scratch: &Path, sealer: Arc<Sealer>, clock: SharedClock) -> Check {
    if !scratch.join(REGISTER_DATABASE).exists() {
        return Check::ok(REGISTRATIONS, "none");
    }
    match Register::open(scratch, sealer, clock) {
        Ok(OpenedRegister { set_aside: Some(damaged), .. }) => Check::failed(
            REGISTRATIONS,
            format!("{REGISTER_DATABASE} is damaged: {}", damaged.why),
            "use an older backup, or register all anew",
        ),
        Ok(OpenedRegister { register, unreadable, .. }) => {
            let entries = register.list();
            let users = entries.iter().filter(|entry| entry.kind == EntryKind::User).count();
            let presets = match register.preset_names().len() {
                0 => String::new(),
                presets => format!(", {}", counted(presets, "preset")),
            };
            let found = format!("{}, {}{presets}", counted(users, "user"), counted(entries.len() - users, "store"));
            if unreadable.is_empty() {
                return Check::ok(REGISTRATIONS, found);
            }
            let found = format!("{found}; {} more can't be unsealed", unreadable.len());
            Check::failed(
                REGISTRATIONS,
                found,
                "give the key file that belongs to this backup by PIXERVE_VAULT_KEY_FILE, with its older keys",
            )
        }
        Err(error @ RegisterError::WrongKeys { .. }) => Check::failed(
            REGISTRATIONS,
            ErrorChain(&error).to_string(),
            "give the key file that belongs to this backup by PIXERVE_VAULT_KEY_FILE",
        ),
        Err(error) => Check::failed(REGISTRATIONS, ErrorChain(&error).to_string(), "use an older backup"),
    }
}

/// How many records there are, where no key opens them.
async fn sealed_registrations(scratch: &Path) -> Check {
    let path = scratch.to_owned();
    if !path.join(REGISTER_DATABASE).exists() {
        return Check::ok(REGISTRATIONS, "none");
    }
    let opened = spawn_blocking(move || SledRecords::open(&path)).await;
    let records = match opened {
        Ok(Ok(OpenedRecords { records, .. })) => records,
        Ok(Err(error)) => return Check::failed(REGISTRATIONS, ErrorChain(&error).to_string(), "use an older backup"),
        Err(error) => return broke_off(&error),
    };
    let count = records.changes(&KnownVersions::new()).await.map(|changes| changes.written.len());
    let _ = records.close().await;
    match count {
        Ok(0) => Check::ok(REGISTRATIONS, "none"),
        Ok(count) => Check::failed(
            REGISTRATIONS,
            format!("{}, which no key here opens", counted(count, "sealed record")),
            "give the key file that belongs to this backup by PIXERVE_VAULT_KEY_FILE",
        ),
        Err(error) => Check::failed(REGISTRATIONS, ErrorChain(&error).to_string(), "use an older backup"),
    }
}
