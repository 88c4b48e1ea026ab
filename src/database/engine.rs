//! sled itself: its settings, and an opening that doesn't panic and doesn't take a damaged database for an empty one.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::DatabaseError;
use super::files::{self, DatabaseFiles, RELEASE_TIMEOUT};
use super::segments;

const CACHE_BYTES: u64 = 64 << 20;
const FLUSH_EVERY_MS: u64 = 500;

pub(super) const META: &str = "meta";
const UUID: &str = "db_uuid";

/// Why a database could not be opened.
#[derive(Debug)]
pub(super) enum DatabaseOpenError {
    /// The bytes on disk are not a database any more.
    Damaged(String),
    /// The bytes may be sound: something else is wrong.
    Failed(DatabaseError),
}

impl From<DatabaseError> for DatabaseOpenError {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

/// A database of which every record was read.
#[derive(Debug)]
pub(super) struct CheckedEngine {
    pub(super) engine: sled::Db,
    /// Bytes of all keys and values.
    pub(super) live_bytes: u64,
}

/// Opens whatever is there, or makes a new database.
pub(super) fn open(files: &DatabaseFiles) -> Result<sled::Db, DatabaseOpenError> {
    files::until(RELEASE_TIMEOUT, || match guarded(files, || configured(files).open()) {
        Err(DatabaseOpenError::Failed(DatabaseError::AlreadyRunning { .. })) => None,
        settled => Some(settled),
    })
    .unwrap_or_else(|| Err(DatabaseOpenError::Failed(DatabaseError::AlreadyRunning { path: files.dir().to_owned() })))
}

/// Opens an existing database and reads all of it. sled opens some damaged files as empty ones without an error, some
/// that it can't read to the end, and passes over segments whose header is damaged.
pub(super) fn open_and_check(files: &DatabaseFiles) -> Result<CheckedEngine, DatabaseOpenError> {
    if let Some(offset) = segments::damaged_header(files)? {
        return Err(DatabaseOpenError::Damaged(format!("the header of the segment at byte {offset} is damaged")));
    }
    let engine = open(files)?;
    match check(&engine, files) {
        Ok(live_bytes) => Ok(CheckedEngine { engine, live_bytes }),
        Err(error) => {
            // Dropping writes, and on a damaged database that may panic as well. What matters is known by now.
            drop(guarded(files, || {
                drop(engine);
                Ok(())
            }));
            Err(error)
        }
    }
}

/// Answers the bytes of all keys and values.
fn check(engine: &sled::Db, files: &DatabaseFiles) -> Result<u64, DatabaseOpenError> {
    let live_bytes = guarded(files, || read_everything(engine))?;
    let inside = guarded(files, || engine.open_tree(META)?.get(UUID))?;
    let inside = inside.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match (files.uuid()?, inside) {
        (Some(expected), Some(inside)) if expected == inside => {}
        // Without its companion (restored from a backup, or a first start that didn't finish) it is taken as it is.
        (None, Some(inside)) => files.write_uuid(&inside)?,
        (None, None) if live_bytes == 0 => {
            let uuid = write_uuid(engine, files)?;
            engine.flush().map_err(|source| files.engine_error("flushing", source))?;
            files.open_file()?.sync_all().map_err(|source| files.io_error("syncing", source))?;
            files.write_uuid(&uuid)?;
        }
        (_, None) => return Err(DatabaseOpenError::Damaged("it opens, but what was in it is gone".to_owned())),
        (_, Some(inside)) => {
            return Err(DatabaseOpenError::Damaged(format!(
                "it is not the database that was here before, but {inside}"
            )));
        }
    }
    Ok(live_bytes)
}

/// Gives the database an identity, which its companion file repeats.
pub(super) fn write_uuid(engine: &sled::Db, files: &DatabaseFiles) -> Result<String, DatabaseError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| files.io_error("naming", io::Error::other(e)))?;
    let uuid = hex::encode(bytes);
    let write = || engine.open_tree(META)?.insert(UUID, uuid.as_bytes());
    write().map_err(|source| files.engine_error("naming", source))?;
    Ok(uuid)
}

pub(super) fn configured(files: &DatabaseFiles) -> sled::Config {
    sled::Config::new()
        .path(files.dir())
        .segment_size(segments::bytes(files))
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
}

fn read_everything(engine: &sled::Db) -> sled::Result<u64> {
    let mut bytes = 0;
    for name in engine.tree_names() {
        for entry in &engine.open_tree(name)? {
            let (key, value) = entry?;
            bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(bytes)
}

/// Runs what may panic on damaged files, and judges what came of it.
fn guarded<T>(files: &DatabaseFiles, work: impl FnOnce() -> sled::Result<T>) -> Result<T, DatabaseOpenError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_damage(&error) => Err(DatabaseOpenError::Damaged(error.to_string())),
        Ok(Err(error)) => Err(DatabaseOpenError::Failed(files.engine_error("opening", error))),
        Err(panic) => {
            let message = message_of(panic.as_ref());
            if message.contains("StorageFull") || message.contains("No space left") {
                return Err(DatabaseOpenError::Failed(DatabaseError::StorageFull { path: files.dir().to_owned() }));
            }
            Err(DatabaseOpenError::Damaged(format!("reading it panicked: {message}")))
        }
    }
}

fn is_damage(error: &sled::Error) -> bool {
    match error {
        // A refusal of the operating system says nothing about the bytes; one that ends too early does.
        sled::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        ),
        _ => true,
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
