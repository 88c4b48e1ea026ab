//! Records in a database on this machine's disk, which nobody else writes to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::sled::Tree;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::records::{KnownVersions, RecordChanges, SealedRecord, SealedRecords, SealedVersion};
use super::{Register, RegisterError};
use crate::database::{Database, DatabaseError, OpenedDatabase, SetAside};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::SealedText;

/// The database's directory inside the data directory.
pub const REGISTER_DATABASE: &str = "credentials.db";
const RECORDS: &str = "credentials";

/// The records in the data directory.
pub struct SledRecords {
    inner: Arc<Inner>,
}

/// The database, and what was wrong with it.
#[derive(Debug)]
pub struct OpenedRecords {
    /// The records, ready for use.
    pub records: SledRecords,
    /// A database that was damaged and is kept under another name.
    pub set_aside: Option<SetAside>,
}

struct Inner {
    /// The database's directory.
    path: PathBuf,
    disk: Mutex<Disk>,
}

struct Disk {
    state: DatabaseState,
    /// What is there, as far as anybody was told: what a database that has failed is made to agree with.
    answered: BTreeMap<String, SealedText>,
}

enum DatabaseState {
    Open(OpenDatabase),
    /// It failed, most often for want of space: the next change reopens it.
    Failed,
    Closed,
}

struct OpenDatabase {
    /// Access key to sealed text. Declared first, since it must be dropped before the database is closed.
    records: Tree,
    database: Database,
}

impl Register {
    /// Whether the register in the data directory `data` has records, without opening them. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn has_records(data: &Path) -> Result<bool, RegisterError> {
        if !Self::exists(data) {
            return Ok(false);
        }
        let database = Database::open(&data.join(REGISTER_DATABASE)).map_err(RegisterError::Database)?.database;
        let records = database.tree(RECORDS).map_err(RegisterError::Database)?;
        let any = !records.is_empty();
        drop(records);
        database.close().map_err(RegisterError::Database)?;
        Ok(any)
    }

    /// Whether there is a register in the data directory `data`. Blocks.
    #[must_use]
    pub fn exists(data: &Path) -> bool {
        data.join(REGISTER_DATABASE).exists()
    }
}

impl SledRecords {
    /// Opens the database in the data directory `data`, or makes one. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn open(data: &Path) -> Result<OpenedRecords, RegisterError> {
        let path = data.join(REGISTER_DATABASE);
        let (database, set_aside) = OpenDatabase::open(&path)?;
        let answered = database.all()?;
        let disk = Mutex::new(Disk { state: DatabaseState::Open(database), answered });
        Ok(OpenedRecords { records: Self { inner: Arc::new(Inner { path, disk }) }, set_aside })
    }

    /// All of them. They are in memory: this doesn't wait for the disk.
    pub(super) fn all(&self) -> Vec<SealedRecord> {
        let disk = self.inner.disk.lock();
        RecordChanges::between(&KnownVersions::new(), &disk.answered).written
    }

    /// Keeps all of these, in one sync. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn put_all(&self, records: &[(String, SealedText)]) -> Result<(), RegisterError> {
        let mut disk = self.inner.disk.lock();
        let Disk { state, answered } = &mut *disk;
        self.inner.change(state, answered, |database| database.write_all(records))?;
        answered.extend(records.iter().cloned());
        Ok(())
    }

    /// Runs what waits for the disk on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, RegisterError> + Send + 'static,
    ) -> Result<T, RegisterError> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(RegisterError::Closed),
        }
    }
}

/// By hand, since sled shows the content of its trees.
impl fmt::Debug for SledRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SledRecords({})", self.inner.path.display())
    }
}

#[async_trait]
impl SealedRecords for SledRecords {
    fn place(&self) -> String {
        format!("`{}`", self.inner.path.display())
    }

    async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError> {
        let seen = seen.clone();
        // A change may be waiting for the disk.
        self.blocking(move |inner| Ok(RecordChanges::between(&seen, &inner.disk.lock().answered))).await
    }

    async fn put(&self, access_key: &str, sealed: &SealedText) -> Result<SealedVersion, RegisterError> {
        let (access_key, sealed) = (access_key.to_owned(), sealed.clone());
        let version = SealedVersion::of(&sealed);
        self.blocking(move |inner| inner.put(access_key, sealed)).await?;
        Ok(version)
    }

    async fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
        let access_key = access_key.to_owned();
        self.blocking(move |inner| inner.remove(&access_key)).await
    }

    async fn close(&self) -> Result<(), RegisterError> {
        self.blocking(|inner| {
            let state = std::mem::replace(&mut inner.disk.lock().state, DatabaseState::Closed);
            let DatabaseState::Open(OpenDatabase { records, database }) = state else { return Ok(()) };
            drop(records);
            database.close().map_err(RegisterError::Database)
        })
        .await
    }
}

impl Inner {
    /// Makes the text durable, or leaves what was there before, as far as the disk lets it.
    fn put(&self, access_key: String, sealed: SealedText) -> Result<(), RegisterError> {
        let mut disk = self.disk.lock();
        let Disk { state, answered } = &mut *disk;
        self.change(state, answered, |database| {
            let written = database.records.insert(&access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine);
            reached(Step::RegisterWritten);
            let durable = written.and_then(|_| database.database.sync().map_err(RegisterError::Database));
            reached(Step::RegisterDurable);
            if durable.is_err() {
                // If that fails too: a new access key is never handed out, and a user's old record differs in a secret that
                // nobody was given, beside which the one before signs. Of a preset either text may be there: whoever put it was
                // told that it failed.
                let _ = match answered.get(&access_key) {
                    Some(before) => database.records.insert(&access_key, before.0.as_bytes()),
                    None => database.records.remove(&access_key),
                };
            }
            durable
        })?;
        answered.insert(access_key, sealed);
        Ok(())
    }

    fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
        let mut disk = self.disk.lock();
        let Disk { state, answered } = &mut *disk;
        self.change(state, answered, |database| {
            database.records.remove(access_key).map_err(RegisterError::Engine)?;
            database.database.sync().map_err(RegisterError::Database)
        })?;
        // Only then: if the disk fails, a second try must still find it.
        answered.remove(access_key);
        Ok(())
    }

    /// Changes what is on disk. A database that has failed stays so until it is reopened, which the next change does.
    fn change(
        &self,
        state: &mut DatabaseState,
        answered: &BTreeMap<String, SealedText>,
        change: impl FnOnce(&OpenDatabase) -> Result<(), RegisterError>,
    ) -> Result<(), RegisterError> {
        let changed = match state {
            DatabaseState::Closed => return Err(RegisterError::Closed),
            DatabaseState::Open(database) => change(database),
            DatabaseState::Failed => {
                let database = self.reopen(answered)?;
                let changed = change(&database);
                *state = DatabaseState::Open(database);
                changed
            }
        };
        if let Err(error) = &changed {
            tracing::error!(error = %ErrorChain(error), "register database failed; the next change reopens it");
            *state = DatabaseState::Failed;
        }
        changed
    }

    /// Reopens a database that has failed, and makes it agree with what was answered: a registration that never was is
    /// removed, and one that was damaged meanwhile is written again.
    fn reopen(&self, answered: &BTreeMap<String, SealedText>) -> Result<OpenDatabase, RegisterError> {
        if !Database::has_room(&self.path) {
            return Err(RegisterError::Database(DatabaseError::StorageFull { path: self.path.clone() }));
        }
        let (database, set_aside) = OpenDatabase::open(&self.path)?;
        if let Some(set_aside) = set_aside {
            tracing::error!(path = %set_aside.path.display(), why = set_aside.why,
                "register database damaged and set aside; its records are written again");
        }
        let on_disk = database.all()?;
        for access_key in on_disk.keys().filter(|access_key| !answered.contains_key(*access_key)) {
            database.records.remove(access_key).map_err(RegisterError::Engine)?;
        }
        let missing: Vec<_> = answered
            .iter()
            .filter(|(access_key, text)| on_disk.get(*access_key) != Some(text))
            .map(|(access_key, text)| (access_key.clone(), text.clone()))
            .collect();
        database.write_all(&missing)?;
        tracing::info!(records_written = missing.len(), "register database reopened");
        Ok(database)
    }
}

impl OpenDatabase {
    fn open(path: &Path) -> Result<(Self, Option<SetAside>), RegisterError> {
        let OpenedDatabase { database, set_aside } = Database::open(path).map_err(RegisterError::Database)?;
        let records = database.tree(RECORDS).map_err(RegisterError::Database)?;
        Ok((Self { records, database }, set_aside))
    }

    fn all(&self) -> Result<BTreeMap<String, SealedText>, RegisterError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let record = |entry: ::sled::Result<_>| {
            let (key, value): (::sled::IVec, ::sled::IVec) = entry.map_err(RegisterError::Engine)?;
            Ok((text(&key), SealedText(text(&value))))
        };
        self.records.iter().map(record).collect()
    }

    fn write_all(&self, records: &[(String, SealedText)]) -> Result<(), RegisterError> {
        for (access_key, sealed) in records {
            self.records.insert(access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine)?;
        }
        self.database.sync().map_err(RegisterError::Database)
    }
}
