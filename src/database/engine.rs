//! sled itself: its settings, and an opening that neither panics nor believes an empty database.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::DatabaseError;
use super::place::{self, Place, RELEASE_TIMEOUT};
use super::segments;

const CACHE_BYTES: u64 = 64 << 20;
const FLUSH_EVERY_MS: u64 = 500;

pub(super) const META: &str = "meta";
const UUID: &str = "db_uuid";

/// Why an opening came to nothing.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The bytes on disk are not a database any more.
    Damaged(String),
    /// They may well be: something else is wrong.
    Failed(DatabaseError),
}

impl From<DatabaseError> for Attempt {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

/// A database of which every record was read.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) engine: sled::Db,
    /// Bytes of all keys and values.
    pub(super) live_bytes: u64,
}

/// Opens whatever is there, or makes a new database.
pub(super) fn open(place: &Place) -> Result<sled::Db, Attempt> {
    place::until(RELEASE_TIMEOUT, || match guarded(place, || configured(place).open()) {
        Err(Attempt::Failed(DatabaseError::AlreadyRunning { .. })) => None,
        settled => Some(settled),
    })
    .unwrap_or_else(|| Err(Attempt::Failed(DatabaseError::AlreadyRunning { path: place.dir().to_owned() })))
}

/// Opens an existing database and reads all of it. sled opens some damaged files as empty ones without an error, some
/// that it can't read to the end, and passes over segments whose header is damaged.
pub(super) fn open_and_check(place: &Place) -> Result<Checked, Attempt> {
    if let Some(offset) = segments::damaged_header(place)? {
        return Err(Attempt::Damaged(format!("the header of the segment at byte {offset} is damaged")));
    }
    let engine = open(place)?;
    match check(&engine, place) {
        Ok(live_bytes) => Ok(Checked { engine, live_bytes }),
        Err(attempt) => {
            // Dropping writes, and on a damaged database that may panic as well. What matters is known by now.
            drop(guarded(place, || {
                drop(engine);
                Ok(())
            }));
            Err(attempt)
        }
    }
}

/// Answers the bytes of all keys and values.
fn check(engine: &sled::Db, place: &Place) -> Result<u64, Attempt> {
    let live_bytes = guarded(place, || read_everything(engine))?;
    let inside = guarded(place, || engine.open_tree(META)?.get(UUID))?;
    let inside = inside.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match (place.uuid()?, inside) {
        (Some(expected), Some(inside)) if expected == inside => {}
        // Without its companion (restored from a backup, or a first start that didn't finish) it is taken as it is.
        (None, Some(inside)) => place.write_uuid(&inside)?,
        (None, None) if live_bytes == 0 => {
            let uuid = mark(engine, place)?;
            engine.flush().map_err(|source| place.engine_error("flushing", source))?;
            place.open_file()?.sync_all().map_err(|source| place.io_error("syncing", source))?;
            place.write_uuid(&uuid)?;
        }
        (_, None) => return Err(Attempt::Damaged("it opens, but what was in it is gone".to_owned())),
        (_, Some(inside)) => {
            return Err(Attempt::Damaged(format!("it is not the database that was here before, but {inside}")));
        }
    }
    Ok(live_bytes)
}

/// Gives the database an identity, which its companion file repeats.
pub(super) fn mark(engine: &sled::Db, place: &Place) -> Result<String, DatabaseError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| place.io_error("naming", io::Error::other(e)))?;
    let uuid = hex::encode(bytes);
    let write = || engine.open_tree(META)?.insert(UUID, uuid.as_bytes());
    write().map_err(|source| place.engine_error("naming", source))?;
    Ok(uuid)
}

pub(super) fn configured(place: &Place) -> sled::Config {
    sled::Config::new()
        .path(place.dir())
        .segment_size(segments::bytes(place))
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
fn guarded<T>(place: &Place, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Attempt> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_damage(&error) => Err(Attempt::Damaged(error.to_string())),
        Ok(Err(error)) => Err(Attempt::Failed(place.engine_error("opening", error))),
        Err(panic) => {
            let message = message_of(panic.as_ref());
            if message.contains("StorageFull") || message.contains("No space left") {
                return Err(Attempt::Failed(DatabaseError::StorageFull { path: place.dir().to_owned() }));
            }
            Err(Attempt::Damaged(format!("reading it panicked: {message}")))
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
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "for no stated reason".to_owned())
}
