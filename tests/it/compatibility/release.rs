//! Writes the directory that a release adds: the same jobs, as this version writes them.
//!
//! `cargo test --locked --test it -- compatibility::release --ignored`, once the version in `Cargo.toml` is the release's.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::metadata::Orientation;
use pixerve::clock::Manual;
use pixerve::database::Database;
use pixerve::job::{
    ContentHash, ErrorCode, Inspection, JobError, JobId, JobRecord, Original, RecordVersion, SourceInfo, Stored,
    StoredFile, Warnings,
};
use pixerve::queue::{
    ClaimRequest, CrashAttribution, DeliveryOutcome, JobQueue, Lease, Place, QueueSettings, Retry, Settlement,
    SledQueue,
};
use pixerve::register::Sealer;
use pixerve::spool::{DirectorySpool, MadeFile, Spool, StoredLine};

use super::{
    CANCELLED, COMPLETED_AND_TOLD, COMPLETED_UNTOLD, CRASHED, Checked, DataDir, FAILED_AND_TRIED, FRESH, PROCESSING,
    START, TO_BE_RETRIED, job, versions,
};
use crate::harness::deliveries;

/// The tables of the queue's database, but for what sled and [`Database`] keep there for themselves.
fn is_ours(table: &str) -> bool {
    !table.starts_with("__") && table != "database"
}

#[tokio::test]
#[ignore = "writes into the sources, once a release"]
async fn this_version_leaves_its_own_directory() -> Checked {
    let released = versions()?.pop().ok_or("there is a release")?;
    let target = released.with_file_name(env!("CARGO_PKG_VERSION"));
    assert!(!target.exists(), "{} exists; the files of a released version are never edited", target.display());
    let records = records(&DataDir::of(&released)?).await?;

    let data = tempfile::tempdir()?;
    let clock = Arc::new(Manual::at(START));
    let database = data.path().join("ConvertQueue.db");
    let queue: Arc<dyn JobQueue> =
        Arc::new(SledQueue::open(&database, QueueSettings::default(), clock.clone(), CrashAttribution::NoJob)?);
    let spool = DirectorySpool::open(data.path())?;
    for record in records {
        clock.advance(Duration::from_secs(1));
        live_through(&queue, &spool, record).await?;
    }
    // As a kill would leave it: what the database has promised is in its files, and nothing was closed.
    let killed = data.path().join("killed");
    copy_all(&database, &killed.join("ConvertQueue.db"))?;
    write_tables(&killed.join("ConvertQueue.db"), &target.join("queue"))?;
    copy_all(&data.path().join("spool/jobs"), &target.join("spool"))?;
    fs::copy(released.join("vault.key"), target.join("vault.key"))?;
    Ok(())
}

/// The jobs of the release before, in the order in which they came, with what this version writes besides.
async fn records(data: &DataDir) -> Result<Vec<JobRecord>, Box<dyn Error>> {
    let sealer = Sealer::open(&data.temp.path().join("vault.key"))?;
    let queue = data.open_queue()?;
    let order =
        [COMPLETED_UNTOLD, FAILED_AND_TRIED, CANCELLED, COMPLETED_AND_TOLD, CRASHED, TO_BE_RETRIED, PROCESSING, FRESH];
    let mut records = Vec::new();
    for n in order {
        let record = job(&queue, n).await?.record;
        let Original { format, width, height, .. } = record.original;
        let orientation = Orientation::NoTransforms;
        let (channels, bits, frames, progressive, indexed) = (3, 8, 1, false, false);
        let alpha = None;
        let source =
            SourceInfo { format, width, height, orientation, channels, bits, frames, progressive, indexed, alpha };
        let inspection = Inspection { source, source_pixels_max: 100_000_000, source_side_max: 30_000 };
        let callback = record.callback.as_ref().map(|target| -> Result<_, Box<dyn Error>> {
            let (url, headers) = sealer.unseal_callback(&record.id, target)?;
            Ok(sealer.seal_callback(&record.id, &url, &headers)?)
        });
        let callback = callback.transpose()?;
        records.push(JobRecord { version: RecordVersion::newest(), inspection: Some(inspection), callback, ..record });
    }
    queue.shutdown().await?;
    Ok(records)
}

/// Takes a job in and to where the tests expect it.
async fn live_through(queue: &Arc<dyn JobQueue>, spool: &DirectorySpool, record: JobRecord) -> Checked {
    let (id, n) = (record.id, record.id.as_bytes()[15]);
    if [PROCESSING, CRASHED, TO_BE_RETRIED, FRESH].contains(&n) {
        let mut upload = spool.receive(id).await?;
        upload.write(format!("the bytes of upload {n}\n").into()).await?;
        upload.finish().await?.accept(&record).await?;
    }
    queue.enqueue(record).await?;
    let settle =
        async |settlement| queue.settle(&claim(queue, id).await?, settlement).await.map_err(Box::<dyn Error>::from);
    match n {
        COMPLETED_UNTOLD | COMPLETED_AND_TOLD => {
            settle(Settlement::Completed { files: files(), placeholder: None }).await?;
            if n == COMPLETED_AND_TOLD {
                deliveries::settle(&**queue, id, DeliveryOutcome::Delivered).await?;
            }
        }
        FAILED_AND_TRIED => {
            let error = JobError::new(ErrorCode::StoreRefused, "putting Photo.jpg into s3://bucket: it answered 403");
            settle(Settlement::Failed { error, files: files()[..1].to_vec(), retry: Retry::Never }).await?;
            deliveries::settle(&**queue, id, DeliveryOutcome::Retry(Duration::from_mins(5))).await?;
        }
        CANCELLED => {
            queue.cancel(&id, Vec::new()).await?;
        }
        PROCESSING => {
            claim(queue, id).await?;
            let journal = spool.journal(id).await?;
            let file = files().remove(0);
            for stored in file.stored {
                let StoredFile { name, format, width, height, bytes, sha256, .. } = files().remove(0);
                let file =
                    MadeFile { name, format, width, height, bytes, sha256, warnings: Warnings::new(), same_as: None };
                journal.append_stored(StoredLine { file, stored }).await?;
            }
        }
        CRASHED => {
            let error = JobError::new(ErrorCode::Crashed, "the process that worked on it was ended by SIGSEGV");
            settle(Settlement::Crashed { error, files: Vec::new() }).await?;
            settle(unreachable(Vec::new(), Duration::from_hours(24))).await?;
        }
        TO_BE_RETRIED => {
            settle(unreachable(files()[..1].to_vec(), Duration::from_secs(20))).await?;
        }
        FRESH => {}
        other => panic!("job {other} has no story"),
    }
    Ok(())
}

async fn claim(queue: &Arc<dyn JobQueue>, id: JobId) -> Result<Lease, Box<dyn Error>> {
    let request = ClaimRequest { max: 1, place: Place::Regular, memory: u64::MAX, lease: Duration::from_mins(1) };
    let claim = queue.claim(request).await?.claims.pop().ok_or("a job waits")?;
    assert_eq!(claim.lease.id, id);
    Ok(claim.lease)
}

fn unreachable(files: Vec<StoredFile>, wait: Duration) -> Settlement {
    let error =
        JobError::new(ErrorCode::StoreUnreachable, "putting Photo.jpg into s3://bucket: the store answered 503");
    Settlement::Failed { error, files, retry: Retry::After(wait) }
}

fn files() -> Vec<StoredFile> {
    let at = |backend: &str, location: &str| Stored::at(backend, location);
    let served = at("directHost", "/files/tenant-123/one.jpg");
    let stored = vec![served.clone(), at("s3", "s3://bucket/one.jpg"), at("gcs", "gs://bucket/one.jpg")];
    let file = |name: &str, stored| StoredFile {
        name: name.to_owned(),
        format: "jpg".to_owned(),
        width: 800,
        height: 600,
        bytes: 12_345,
        sha256: ContentHash::of(name.as_bytes()),
        warnings: Warnings::new(),
        same_as: None,
        stored,
    };
    vec![file("one.jpg", stored), file("two.jpg", vec![served])]
}

fn write_tables(database: &Path, to: &Path) -> Checked {
    fs::create_dir_all(to)?;
    let names = table_names(database)?;
    let database = Database::open(database)?.database;
    for name in names.iter().filter(|name| is_ours(name)) {
        let mut lines = Vec::new();
        for entry in &database.tree(name)? {
            let (key, value) = entry?;
            if key.starts_with(b"db_") {
                continue;
            }
            let json = value.iter().position(|byte| *byte == b'{').unwrap_or(value.len());
            let (binary, json) = value.split_at(json);
            let space = if json.is_empty() { "" } else { " " };
            writeln!(lines, "{} {}{space}{}", hex::encode(&key), hex::encode(binary), std::str::from_utf8(json)?)?;
        }
        if !lines.is_empty() {
            File::create_new(to.join(format!("{name}.txt")))?.write_all(&lines)?;
        }
    }
    Ok(database.close()?)
}

/// As sled has them: [`Database`] only knows names that it is asked for.
fn table_names(database: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    // Lines of text, and a checksum behind them.
    let conf = fs::read(database.join("conf"))?;
    let segment = String::from_utf8_lossy(&conf);
    let segment = segment.lines().find_map(|line| line.strip_prefix("segment_size: ")).ok_or("it has segments")?;
    let engine = sled::Config::new().path(database).segment_size(segment.trim().parse()?).open()?;
    Ok(engine.tree_names().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn copy_all(from: &Path, to: &Path) -> Checked {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
