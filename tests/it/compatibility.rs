//! What every released version left on disk is read.
//!
//! `compatibility/<version>/` holds the data directory of a server of that version that was killed, as that version wrote
//! it:
//!
//! - `queue/<table>.txt`: the queue's database, an entry a line: its key in hexadecimal, then its value, in hexadecimal as
//!   far as it is binary and then as the JSON that it is. Without the marks by which a database knows itself (`db_...`).
//! - `spool/<job id>/`: the spool's entries.
//! - `vault.key`: what the callback headers in both are sealed with, and nothing else.
//!
//! When a stored format changes (`JobRecord` and all that it holds, `src/queue/local/record.rs`, the journal's lines):
//!
//! 1. A field that older versions may ignore gets `#[serde(default)]`; nothing else is to be done. What a field, a word or
//!    a number means never changes, and no name is used twice.
//! 2. Anything else needs a new version: raise [`RecordVersion::CURRENT`], or `VERSION` in `src/queue/local/record.rs` for
//!    what only the queue writes. A record keeps the version that it was accepted in: `RecordVersion::among` says which that is,
//!    the newest on a server that is alone. Among nodes it is what all of them read, so the version before stays writable, for what
//!    it can say. Older versions of Pixerve refuse newer records by name, and keep them.
//! 3. The files of a released version are never edited. Each release adds a directory of its own, with the same jobs, which
//!    `compatibility/release.rs` writes.

mod release;

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Manual, Timestamp};
use pixerve::database::Database;
use pixerve::job::{BackendKind, Format, JobId, Priority, RecordVersion, State};
use pixerve::queue::{
    ClaimRequest, CrashAttribution, DeliveryOutcome, Enqueued, Filter, Job, JobQueue, PageRequest, Place,
    QueueSettings, SledQueue,
};
use pixerve::register::Sealer;
use pixerve::spool::{DirectorySpool, Spool, SpoolEntry};
use serde_json::Value;

use crate::harness::deliveries::settle;
use crate::harness::spool::entries;

type Checked = Result<(), Box<dyn Error>>;

/// When the killed servers were asked for anything: all within a minute.
const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// What became of each job.
const COMPLETED_UNTOLD: u8 = 1;
const FAILED_AND_TRIED: u8 = 2;
const CANCELLED: u8 = 3;
const COMPLETED_AND_TOLD: u8 = 4;
const PROCESSING: u8 = 5;
const CRASHED: u8 = 6;
const TO_BE_RETRIED: u8 = 7;
const FRESH: u8 = 8;

fn id(n: u8) -> JobId {
    let mut bytes = [0x01, 0x97, 0xa3, 0xc5, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    bytes[15] = n;
    JobId::from_bytes(bytes)
}

/// The data directory that a version left.
struct DataDir {
    temp: tempfile::TempDir,
    clock: Arc<Manual>,
}

impl DataDir {
    /// One for each version that was ever released.
    fn of_every_version() -> Result<Vec<Self>, Box<dyn Error>> {
        versions()?.iter().map(|version| Self::of(version)).collect()
    }

    fn of(version: &Path) -> Result<Self, Box<dyn Error>> {
        let data = Self { temp: tempfile::tempdir()?, clock: Arc::new(Manual::at(START)) };
        let database = Database::open(&data.queue())?.database;
        for table in fs::read_dir(version.join("queue"))? {
            let table = table?.path();
            let name = table.file_stem().and_then(|name| name.to_str()).ok_or("a table has a name")?;
            let tree = database.tree(name)?;
            for line in fs::read_to_string(&table)?.lines() {
                let (key, value) = entry(line)?;
                tree.insert(key, value)?;
            }
        }
        database.close()?;
        for entry in fs::read_dir(version.join("spool"))? {
            let entry = entry?;
            let to = data.spool().join(entry.file_name());
            fs::create_dir_all(&to)?;
            for file in fs::read_dir(entry.path())? {
                let file = file?;
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
        let key = data.temp.path().join("vault.key");
        fs::copy(version.join("vault.key"), &key)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok(data)
    }

    fn queue(&self) -> PathBuf {
        self.temp.path().join("ConvertQueue.db")
    }

    fn spool(&self) -> PathBuf {
        self.temp.path().join("spool/jobs")
    }

    fn open_queue(&self) -> Result<Arc<dyn JobQueue>, Box<dyn Error>> {
        let (settings, clock) = (QueueSettings::default(), self.clock.clone());
        let queue = SledQueue::open(&self.queue(), settings, clock, CrashAttribution::NoJob)?;
        assert_eq!(queue.set_aside().len(), 0);
        Ok(Arc::new(queue))
    }

    /// Writes a job's record anew, as `change` makes it.
    fn rewrite(&self, table: &str, id: JobId, change: impl FnOnce(&mut Value)) -> Result<Vec<u8>, Box<dyn Error>> {
        let database = Database::open(&self.queue())?.database;
        let tree = database.tree(table)?;
        let stored = tree.get(id.as_bytes())?.ok_or("it is there")?;
        let mut record = serde_json::from_slice(&stored[1..])?;
        change(&mut record);
        let changed = [&stored[..1], &serde_json::to_vec(&record)?].concat();
        tree.insert(id.as_bytes(), changed.as_slice())?;
        drop(tree);
        database.close()?;
        Ok(changed)
    }

    fn in_database(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        let database = Database::open(&self.queue())?.database;
        let value = database.tree(table)?.get(key)?.map(|value| value.to_vec());
        database.close()?;
        Ok(value)
    }
}

/// The directory of every released version, the oldest first.
fn versions() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/compatibility");
    let mut versions = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            versions.push(entry.path());
        }
    }
    versions.sort();
    assert!(versions.first().is_some_and(|oldest| oldest.ends_with("0.1.0")), "{versions:?}");
    Ok(versions)
}

/// An entry of the queue's database as a line holds it.
fn entry(line: &str) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let (key, value) = line.split_once(' ').ok_or("a line has a key and a value")?;
    let (binary, json) = value.split_once(' ').unwrap_or((value, ""));
    Ok((hex::decode(key)?, [hex::decode(binary)?.as_slice(), json.as_bytes()].concat()))
}

async fn job(queue: &Arc<dyn JobQueue>, n: u8) -> Result<Job, Box<dyn Error>> {
    Ok(queue.get(&id(n)).await?.ok_or_else(|| format!("job {n} is unknown"))?)
}

#[tokio::test]
async fn ended_jobs_of_every_version_are_read() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let completed = job(&queue, COMPLETED_UNTOLD).await?;
        assert_eq!((completed.state, completed.error, completed.files.len()), (State::Completed, None, 2));
        assert!(completed.started_at.is_some() && completed.started_at <= completed.finished_at);
        let places: Vec<_> = completed.files[0].stored.iter().map(|at| (&*at.backend, &*at.location)).collect();
        let in_stores = [("s3", "s3://bucket/one.jpg"), ("gcs", "gs://bucket/one.jpg")];
        assert_eq!(places[0], ("directHost", "/files/tenant-123/one.jpg"));
        assert_eq!(places[1..], in_stores);

        let failed = job(&queue, FAILED_AND_TRIED).await?;
        assert_eq!((failed.state, failed.attempts, failed.files.len()), (State::Failed, 1, 1));
        assert_eq!(failed.error.map(|error| error.code), Some("store_refused".to_owned()));
        assert_eq!(job(&queue, CANCELLED).await?.state, State::Cancelled);
        assert_eq!(job(&queue, COMPLETED_AND_TOLD).await?.state, State::Completed);

        let counts = queue.counts().await?;
        let ended = (counts.completed, counts.failed, counts.cancelled);
        assert_eq!((ended, counts.pending, counts.processing), ((2, 1, 1), 4, 0));
        let of_shop = Filter { owner: Some(job(&queue, FRESH).await?.record.owner), ..Filter::default() };
        let listed = queue.list(&of_shop, PageRequest { limit: 10, cursor: None }).await?.jobs;
        let listed: Vec<_> = listed.into_iter().map(|job| job.record.id).collect();
        assert_eq!(listed, [FRESH, PROCESSING, FAILED_AND_TRIED].map(id));
    }
    Ok(())
}

#[tokio::test]
async fn live_jobs_of_every_version_go_on() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let crashed = job(&queue, CRASHED).await?;
        assert_eq!((crashed.attempts, crashed.crashes, crashed.error.is_some()), (2, 1, true));
        let fresh = job(&queue, FRESH).await?.record;
        let twin = pixerve::job::JobRecord { id: id(100), ..fresh };
        assert!(matches!(queue.enqueue(twin).await?, Enqueued::Duplicate(job) if job.record.id == id(FRESH)));

        // By then the one that waits for a minute's part is due, and the one that waits for a day is not.
        data.clock.advance(Duration::from_mins(2));
        let request = ClaimRequest { max: 10, place: Place::Regular, memory: u64::MAX, lease: Duration::from_mins(1) };
        let mut claimed = queue.claim(request).await?.claims;
        claimed.sort_by_key(|claim| claim.job.record.id);
        let attempts: Vec<_> = claimed.iter().map(|claim| (claim.job.record.id, claim.job.attempts)).collect();
        assert_eq!(attempts, [(id(PROCESSING), 1), (id(TO_BE_RETRIED), 2), (id(FRESH), 1)]);
        assert!(claimed.iter().all(|claim| claim.lease.token > 8), "no fence is used twice");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_job_asks_for_is_read_in_every_version() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let record = job(&queue, PROCESSING).await?.record;
        let variants: Vec<_> =
            record.spec.variants.iter().map(|v| (v.format, v.width, v.height, v.quality, v.speed)).collect();
        let asked = [
            (Format::Jpeg, 800, 600, Some(80), Some(2)),
            (Format::Png, 64, 64, None, None),
            (Format::Webp, 320, 240, Some(70), None),
            (Format::Webp, 640, 480, Some(70), None),
            (Format::Avif, 320, 0, Some(60), Some(8)),
        ];
        assert_eq!(variants, asked);
        let stores: Vec<_> = record.spec.storage.iter().map(|key| (key.backend, &*key.access_key)).collect();
        assert_eq!(stores, [(BackendKind::S3, "AK-S3-123"), (BackendKind::Gcs, "AK-GCS-456")]);
        assert_eq!((record.spec.priority, record.memory), (Priority::Queued, Some(987_654_321)));

        let callback = record.callback.ok_or("it has a callback")?;
        let keys = Sealer::open(&data.temp.path().join("vault.key"))?;
        let (url, headers) = keys.unseal_callback(&record.id, &callback)?;
        assert_eq!(url.as_str(), "https://app.example/hooks/pixerve?tenant=123");
        let names: Vec<_> = headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["authorization", "x-tenant"]);
    }
    Ok(())
}

#[tokio::test]
async fn callbacks_that_every_version_owed_are_delivered() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let lease = Duration::from_mins(10);
        let due = queue.due_deliveries(10, lease).await?;
        let due: Vec<_> = due.iter().map(|delivery| (delivery.id.job, &*delivery.host, delivery.attempts)).collect();
        assert_eq!(due, [(id(COMPLETED_UNTOLD), "app.example", 0)]);
        data.clock.advance(Duration::from_mins(6));
        let retried = queue.due_deliveries(10, lease).await?;
        let retried: Vec<_> = retried.iter().map(|delivery| (delivery.id.job, delivery.attempts)).collect();
        assert_eq!(retried, [(id(FAILED_AND_TRIED), 1)]);
    }
    Ok(())
}

#[tokio::test]
async fn where_callbacks_of_every_version_went_is_forgotten_once_they_are_owed_no_more() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        for (n, is_owed) in [(COMPLETED_AND_TOLD, false), (CANCELLED, false), (COMPLETED_UNTOLD, true)] {
            assert_eq!(job(&queue, n).await?.record.callback.is_some(), is_owed, "job {n}");
        }
        settle(&*queue, id(COMPLETED_UNTOLD), DeliveryOutcome::Delivered).await?;
        assert_eq!(job(&queue, COMPLETED_UNTOLD).await?.record.callback, None);
        queue.shutdown().await?;
        let database = Database::open(&data.queue())?.database;
        for table in ["success", "failures"] {
            for entry in &database.tree(table)? {
                let (key, value) = entry?;
                let has_url = String::from_utf8_lossy(&value).contains("hooks/pixerve?");
                assert_eq!(has_url, key.last() == Some(&FAILED_AND_TRIED), "{table}: {key:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn spools_of_every_version_are_read() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let spool = DirectorySpool::open(data.temp.path())?;
        let mut ids = Vec::new();
        for entry in entries(&spool).await? {
            let SpoolEntry::Whole(record) = entry else { panic!("{entry:?}") };
            let known = queue.get(&record.id).await?.ok_or("the queue knows it")?;
            assert_eq!(known.record, *record);
            ids.push(record.id);
        }
        assert_eq!(ids, [PROCESSING, CRASHED, TO_BE_RETRIED, FRESH].map(id));
        let journal = spool.journal(id(PROCESSING)).await?;
        let lines: Vec<_> =
            journal.earlier().stored.iter().map(|line| (&*line.file.name, &*line.stored.backend)).collect();
        assert_eq!(lines, [("one.jpg", "directHost"), ("one.jpg", "s3"), ("one.jpg", "gcs")]);
    }
    Ok(())
}

#[tokio::test]
async fn a_manifest_of_a_newer_version_is_named_and_left_where_it_is() -> Checked {
    for data in DataDir::of_every_version()? {
        let path = data.spool().join(id(FRESH).to_string()).join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path)?)?;
        manifest["version"] = (RecordVersion::CURRENT + 1).into();
        File::create(&path)?.write_all(&serde_json::to_vec(&manifest)?)?;
        let spool = DirectorySpool::open(data.temp.path())?;
        let damaged: Vec<_> = entries(&spool)
            .await?
            .into_iter()
            .filter_map(|entry| match entry {
                SpoolEntry::Damaged { why, .. } => Some(why),
                SpoolEntry::Whole(_) => None,
            })
            .collect();
        assert!(damaged.len() == 1 && damaged[0].contains("use the newer Pixerve"), "{damaged:?}");
        assert_eq!(serde_json::from_slice::<Value>(&fs::read(&path)?)?, manifest);
    }
    Ok(())
}

#[tokio::test]
async fn a_queue_record_of_a_newer_version_is_set_aside_and_kept() -> Checked {
    for data in DataDir::of_every_version()? {
        let queue = data.open_queue()?;
        let older = job(&queue, COMPLETED_AND_TOLD).await?.record;
        queue.shutdown().await?;
        for (table, n) in [("jobs", FRESH), ("success", COMPLETED_AND_TOLD)] {
            let newer = |record: &mut Value| record["job"]["record"]["version"] = (RecordVersion::CURRENT + 1).into();
            let written = data.rewrite(table, id(n), newer)?;
            let queue = data.open_queue()?;
            assert_eq!(queue.get(&id(n)).await?, None);
            assert_eq!(job(&queue, TO_BE_RETRIED).await?.state, State::Pending, "the others go on");
            // As the spool would.
            let again = pixerve::job::JobRecord { id: id(n), ..older.clone() };
            assert_eq!(queue.enqueue(again).await?, Enqueued::Created);
            queue.cancel(&id(n), Vec::new()).await?;
            queue.shutdown().await?;
            let key = [table.as_bytes(), b"/", id(n).as_bytes()].concat();
            assert_eq!(data.in_database("unreadable", &key)?, Some(written));
        }
    }
    Ok(())
}
