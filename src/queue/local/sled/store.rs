//! The tables in sled. The one module that knows its transactions.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ::sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use ::sled::{Error, IVec, Tree};
use parking_lot::Mutex;

use crate::database::{Database, DatabaseError, OpenedDatabase, SetAside};
use crate::queue::QueueError;
use crate::queue::local::store::{Batch, RecordStore, RecordStoreError, ScanOrder, Table, TableEntry};

/// Where stores come from: at the start, and after one of them failed.
pub(super) trait StoreOpener: Send + Sync + 'static {
    type Records: RecordStore;

    /// Opens the store, or makes a new one. Blocking.
    fn open(&self) -> Result<Self::Records, QueueError>;

    /// Writes a little to its disk, for who wants to know whether that hangs. What comes of it doesn't matter. Blocking.
    fn write_to_disk(&self);

    /// Whether opening now is worth a try, if the last store ran out of space.
    fn has_room(&self) -> bool;
}

/// The directory of a database.
#[derive(Debug)]
pub(super) struct DatabaseDirectory {
    path: PathBuf,
    set_aside: Mutex<Vec<SetAside>>,
}

impl DatabaseDirectory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, set_aside: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn set_aside(&self) -> Vec<SetAside> {
        self.set_aside.lock().clone()
    }
}

impl StoreOpener for DatabaseDirectory {
    type Records = SledRecords;

    fn open(&self) -> Result<SledRecords, QueueError> {
        let OpenedDatabase { database, set_aside } = Database::open(&self.path)?;
        if let Some(set_aside) = set_aside {
            tracing::error!(database = %self.path.display(), set_aside = %set_aside.path.display(),
                why = set_aside.why, "queue database was damaged and has been set aside; accepted uploads are requeued from \
                the spool, records of ended jobs are lost");
            self.set_aside.lock().push(set_aside);
        }
        Ok(SledRecords::new(database)?)
    }

    fn write_to_disk(&self) {
        Database::write_beside(&self.path);
    }

    fn has_room(&self) -> bool {
        Database::has_room(&self.path)
    }
}

/// The tables of one open database.
#[derive(Debug)]
pub(in crate::queue::local) struct SledRecords {
    /// In the order of [`Table::ALL`]. Dropped before the database, which can't be closed otherwise.
    trees: Vec<Tree>,
    database: Database,
}

impl SledRecords {
    fn new(database: Database) -> Result<Self, DatabaseError> {
        let trees = Table::ALL.iter().map(|table| database.tree(table.name())).collect::<Result<_, _>>()?;
        Ok(Self { trees, database })
    }

    fn tree(&self, table: Table) -> &Tree {
        &self.trees[table as usize]
    }
}

impl RecordStore for SledRecords {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordStoreError> {
        let value = self.tree(table).get(key).map_err(|e| failed("reading", e))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn range(
        &self,
        table: Table,
        keys: Range<&[u8]>,
        order: ScanOrder,
        limit: usize,
    ) -> Result<Vec<TableEntry>, RecordStoreError> {
        let range = self.tree(table).range(keys);
        let owned = |entry: ::sled::Result<(IVec, IVec)>| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|e| failed("listing", e))
        };
        match order {
            ScanOrder::Ascending => range.take(limit).map(owned).collect(),
            ScanOrder::Descending => range.rev().take(limit).map(owned).collect(),
        }
    }

    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, RecordStoreError> {
        let mut count = 0;
        for entry in self.tree(table).range(keys) {
            entry.map_err(|e| failed("counting", e))?;
            count += 1;
        }
        Ok(count)
    }

    fn apply(&self, batch: &Batch) -> Result<(), RecordStoreError> {
        // Inside, only the transaction's own trees may be touched: an outer one would wait for itself.
        let outcome = self.trees.as_slice().transaction(|trees| {
            for change in batch.changes() {
                let tree = &trees[change.table as usize];
                match &change.value {
                    Some(value) => tree.insert(change.key.as_slice(), value.as_slice())?,
                    None => tree.remove(change.key.as_slice())?,
                };
            }
            Ok::<(), ConflictableTransactionError<Error>>(())
        });
        outcome.map_err(|error| match error {
            TransactionError::Abort(error) | TransactionError::Storage(error) => failed("writing", error),
        })
    }

    fn sync(&self) -> Result<(), RecordStoreError> {
        Ok(self.database.sync()?)
    }

    fn close(self) -> Result<(), RecordStoreError> {
        let Self { trees, database } = self;
        drop(trees);
        Ok(database.close()?)
    }

    fn close_rewritten(self) -> Result<(), RecordStoreError> {
        let Self { trees, database } = self;
        drop(trees);
        Ok(database.close_rewritten()?)
    }
}

fn failed(what: &'static str, error: Error) -> RecordStoreError {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => RecordStoreError::StorageFull,
        error => RecordStoreError::failed(what, error),
    }
}

impl From<DatabaseError> for RecordStoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::StorageFull { .. } => Self::StorageFull,
            error => Self::failed("syncing", error),
        }
    }
}

impl From<DatabaseError> for QueueError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::AlreadyRunning { path } => Self::AlreadyRunning { path: path.display().to_string() },
            DatabaseError::StorageFull { .. } => Self::StorageFull,
            error => Self::Unavailable { what: error.to_string(), source: Some(Box::new(error)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_where_its_number_says() {
        for (i, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, i, "{table:?}");
        }
    }
}
