//! From the disk to memory.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::record::Record;
use super::seal::KeyAge;
use super::{Disk, Inner, Known, Records, Register, RegisterError, Sealer};
use crate::clock::SharedClock;
use crate::database::{self, Database, DatabaseError, SetAside};
use crate::job::SealedText;

/// The database's directory inside the data directory.
const DATABASE: &str = "credentials.db";
const RECORDS: &str = "credentials";

/// The register, and what about it must be said loudly.
#[derive(Debug)]
pub struct Opened {
    /// The register, ready for use.
    pub register: Register,
    /// A database that was damaged and is kept under another name: credentials may have to be registered anew.
    pub set_aside: Option<SetAside>,
    /// Access keys whose records can't be unsealed, though others can: damaged, or sealed with a key that was removed
    /// from the key file. They serve nobody, and can be deregistered.
    pub unreadable: Vec<String>,
}

impl Register {
    /// Opens the credentials in the data directory `data`, or makes a place for them. What was sealed with an older
    /// key is sealed with the newest, so that the older one can be taken out of the key file.
    ///
    /// Blocks: belongs before the runtime or in `spawn_blocking`.
    ///
    /// # Errors
    /// [`RegisterError::WrongKeys`] if there are credentials but none can be unsealed, or the disk.
    pub fn open(data: &Path, sealer: Arc<Sealer>, clock: SharedClock) -> Result<Opened, RegisterError> {
        let path = data.join(DATABASE);
        let opened = Database::open(&path).map_err(RegisterError::Database)?;
        let records = opened.database.tree(RECORDS).map_err(RegisterError::Database)?;
        let disk = Records { records, database: opened.database };
        let Loaded { known, aged, unreadable } = load(&disk.records, &sealer)?;
        let readable = known.users.len() + known.storage.len();
        if readable == 0 && !unreadable.is_empty() {
            return Err(RegisterError::WrongKeys { records: unreadable.len(), database: path });
        }
        if !aged.is_empty() {
            write_all(&disk, &aged)?;
        }
        let inner = Inner { path, disk: Mutex::new(Disk::Open(disk)), known: RwLock::new(known), sealer, clock };
        Ok(Opened { register: Register { inner: Arc::new(inner) }, set_aside: opened.set_aside, unreadable })
    }
}

struct Loaded {
    known: Known,
    /// What was sealed with an older key, sealed with the newest.
    aged: Vec<(String, SealedText)>,
    unreadable: Vec<String>,
}

fn load(records: &sled::Tree, sealer: &Sealer) -> Result<Loaded, RegisterError> {
    let mut loaded = Loaded { known: Known::default(), aged: Vec::new(), unreadable: Vec::new() };
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

impl Inner {
    /// Opens a database again that has failed. What is in memory is what was answered, so the disk is made to agree: a
    /// registration nobody was told of goes, and one that was damaged meanwhile is written again.
    pub(super) fn reopen(&self) -> Result<Records, RegisterError> {
        if !Database::has_room(&self.path) {
            return Err(RegisterError::Database(DatabaseError::StorageFull { path: self.path.clone() }));
        }
        let database::Opened { database, set_aside } = Database::open(&self.path).map_err(RegisterError::Database)?;
        if let Some(set_aside) = set_aside {
            tracing::error!(path = %set_aside.path.display(), why = set_aside.why,
                "the register's database was damaged and has been set aside; everything registered is written anew");
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
        tracing::info!(written_again = missing.len(), "the register's database is open again");
        Ok(disk)
    }
}

fn write_all(disk: &Records, sealed: &[(String, SealedText)]) -> Result<(), RegisterError> {
    for (access_key, sealed) in sealed {
        disk.records.insert(access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine)?;
    }
    disk.database.sync().map_err(RegisterError::Database)
}
