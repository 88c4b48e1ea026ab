//! Opening the register: from the disk to memory.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::record::Record;
use super::seal::KeyAge;
use super::{DatabaseState, Records, Register, RegisterError, RegisterInner, Registered, Sealer};
use crate::clock::SharedClock;
use crate::database::{self, Database, DatabaseError, SetAside};
use crate::job::SealedText;

/// The database's directory inside the data directory.
pub const REGISTER_DATABASE: &str = "credentials.db";
const RECORDS: &str = "credentials";

/// The register, and what was wrong with it.
#[derive(Debug)]
pub struct OpenedRegister {
    /// The register, ready for use.
    pub register: Register,
    /// A database that was damaged and is kept under another name: users and stores may have to be registered again.
    pub set_aside: Option<SetAside>,
    /// Access keys whose records can't be unsealed, though others can: damaged, or sealed with a key that was removed
    /// from the key file. They can't be used, and can be deregistered.
    pub unreadable: Vec<String>,
}

impl Register {
    /// Whether the register in the data directory `data` has records, without opening them. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn has_records(data: &Path) -> Result<bool, RegisterError> {
        let path = data.join(REGISTER_DATABASE);
        if !path.exists() {
            return Ok(false);
        }
        let database = Database::open(&path).map_err(RegisterError::Database)?.database;
        let records = database.tree(RECORDS).map_err(RegisterError::Database)?;
        let any = !records.is_empty();
        drop(records);
        database.close().map_err(RegisterError::Database)?;
        Ok(any)
    }

    /// Opens the register in the data directory `data`, or makes one. What was sealed with an older key is sealed with the
    /// newest, so that the older one can be taken out of the key file.
    ///
    /// Blocks: belongs before the runtime or in `spawn_blocking`.
    ///
    /// # Errors
    /// [`RegisterError::WrongKeys`] if it has records and none can be unsealed, or the disk.
    pub fn open(data: &Path, sealer: Arc<Sealer>, clock: SharedClock) -> Result<OpenedRegister, RegisterError> {
        let path = data.join(REGISTER_DATABASE);
        let opened = Database::open(&path).map_err(RegisterError::Database)?;
        let records = opened.database.tree(RECORDS).map_err(RegisterError::Database)?;
        let disk = Records { records, database: opened.database };
        let Loaded { known, aged, unreadable } = load(&disk.records, &sealer)?;
        let readable = known.users.len() + known.stores.len();
        if readable == 0 && !unreadable.is_empty() {
            return Err(RegisterError::WrongKeys { records: unreadable.len(), database: path });
        }
        if !aged.is_empty() {
            write_all(&disk, &aged)?;
        }
        let inner = RegisterInner {
            path,
            disk: Mutex::new(DatabaseState::Open(disk)),
            known: RwLock::new(known),
            sealer,
            clock,
        };
        Ok(OpenedRegister { register: Register { inner: Arc::new(inner) }, set_aside: opened.set_aside, unreadable })
    }
}

impl Register {
    /// Whether there is a register in the data directory `data`. Blocks.
    #[must_use]
    pub fn exists(data: &Path) -> bool {
        data.join(REGISTER_DATABASE).exists()
    }
}

struct Loaded {
    known: Registered,
    /// What was sealed with an older key, sealed with the newest.
    aged: Vec<(String, SealedText)>,
    unreadable: Vec<String>,
}

fn load(records: &sled::Tree, sealer: &Sealer) -> Result<Loaded, RegisterError> {
    let mut loaded = Loaded { known: Registered::default(), aged: Vec::new(), unreadable: Vec::new() };
    for entry in records {
        let (key, value) = entry.map_err(RegisterError::Engine)?;
        let access_key = String::from_utf8_lossy(&key).into_owned();
        let text = SealedText(String::from_utf8_lossy(&value).into_owned());
        let Ok((record, age)) = Record::unseal(sealer, &access_key, &text) else {
            loaded.unreadable.push(access_key);
            continue;
        };
        if age == KeyAge::Older {
            loaded.aged.push((access_key.clone(), record.seal(sealer, &access_key)?));
        }
        loaded.known.insert(access_key, record);
    }
    Ok(loaded)
}

impl RegisterInner {
    /// Reopens a database that has failed. What is in memory is what was answered, so the disk is made to agree: a
    /// registration that was never answered is removed, and one that was damaged meanwhile is written again.
    pub(super) fn reopen(&self) -> Result<Records, RegisterError> {
        if !Database::has_room(&self.path) {
            return Err(RegisterError::Database(DatabaseError::StorageFull { path: self.path.clone() }));
        }
        let database::OpenedDatabase { database, set_aside } =
            Database::open(&self.path).map_err(RegisterError::Database)?;
        if let Some(set_aside) = set_aside {
            tracing::error!(path = %set_aside.path.display(), why = set_aside.why,
                "register database damaged and set aside; its records are written again");
        }
        let records = database.tree(RECORDS).map_err(RegisterError::Database)?;
        let disk = Records { records, database };
        let on_disk = load(&disk.records, &self.sealer)?.known;
        let mut missing = Vec::new();
        {
            let known = self.known.read();
            for (access_key, _) in on_disk.records().filter(|(access_key, _)| !known.has(access_key)) {
                disk.records.remove(access_key).map_err(RegisterError::Engine)?;
            }
            for (access_key, record) in known.records().filter(|(access_key, _)| !on_disk.has(access_key)) {
                missing.push((access_key.clone(), record.seal(&self.sealer, access_key)?));
            }
        }
        write_all(&disk, &missing)?;
        tracing::info!(records_written = missing.len(), "register database reopened");
        Ok(disk)
    }
}

fn write_all(disk: &Records, sealed: &[(String, SealedText)]) -> Result<(), RegisterError> {
    for (access_key, sealed) in sealed {
        disk.records.insert(access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine)?;
    }
    disk.database.sync().map_err(RegisterError::Database)
}
