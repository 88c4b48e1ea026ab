//! Deletes what nobody knows, once it was looked again that nobody does.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::GcError;
use super::compare::{AT_ONCE, Comparison, bare, name_of};
use super::unknown::{Fate, Unknown};
use crate::error_chain::ErrorChain;
use crate::failpoint::{GcStep, reached};
use crate::ledger::LedgerEntry;
use crate::worker::WorkerContext;
use crate::worker::stores::{ListedStore, PlaceError};
use crate::writer::WriteError;

/// What became of a file that was to be deleted.
enum Deleted {
    Gone,
    /// It had gone by itself.
    Missing,
    /// Somebody knows it now.
    Known,
    /// Its store refuses, or can't be reached.
    Failed(String),
}

impl Comparison<'_> {
    /// What the record of a job names is never among it.
    pub(super) async fn delete_all(
        &self,
        number: usize,
        store: &ListedStore,
        judged: Vec<Unknown>,
    ) -> Result<(), GcError> {
        let unnamed = judged
            .into_iter()
            .filter(|unknown| matches!(unknown.fate, Fate::Named(..) | Fate::UnknownOwner | Fate::UnclearOwner));
        let deleted = stream::iter(unnamed).map(|unknown| async move {
            let deleted = self.delete(store, &unknown).await?;
            self.tell_deleted(number, unknown.file.bytes, deleted);
            Ok(())
        });
        deleted.buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    fn tell_deleted(&self, number: usize, bytes: u64, deleted: Deleted) {
        match deleted {
            Deleted::Gone => self.count(|report| report.deleted.add(bytes)),
            Deleted::Missing => {}
            Deleted::Known => self.count(|report| report.left += 1),
            Deleted::Failed(why) => {
                self.count(|report| report.left += 1);
                self.fail(number, &why);
            }
        }
    }

    async fn delete(&self, store: &ListedStore, unknown: &Unknown) -> Result<Deleted, GcError> {
        let (stores, location) = (&self.context.stores, &unknown.file.location);
        // From here on no job of this process writes it; one that had begun is live, or in the ledger.
        let _held = stores.hold(name_of(location));
        if self.is_known_now(unknown).await? {
            return Ok(Deleted::Known);
        }
        let failed = |error: &WriteError| Deleted::Failed(ErrorChain(error).to_string());
        match self.is_unchanged(store, &unknown.file).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => return Ok(Deleted::Known),
            Ok(None) => return Ok(Deleted::Missing),
            Err(error) => return Ok(failed(&error)),
        }
        Ok(match stores.delete_in(store, location).await {
            Ok(_) => {
                reached(GcStep::FileDeleted);
                Deleted::Gone
            }
            Err(PlaceError::UnknownStore) => Deleted::Failed("it is not registered any more".to_owned()),
            Err(PlaceError::Store(error)) => failed(&error),
        })
    }

    /// Whether a live job, a record or an entry may name it by now.
    async fn is_known_now(&self, unknown: &Unknown) -> Result<bool, GcError> {
        let WorkerContext { ledger, queue, .. } = self.context;
        let hashes = unknown.name.hashes();
        let mut jobs = Vec::new();
        for hash in &hashes {
            jobs.extend(queue.of_hash(hash).await?);
        }
        if let Some(id) = unknown.name.job() {
            jobs.extend(queue.get(&id).await?);
        }
        let recorded = self.recorded(&unknown.file, &jobs.iter().collect::<Vec<_>>()).await?;
        if jobs.iter().any(|job| !job.state.is_terminal()) || !recorded.is_empty() {
            return Ok(true);
        }
        // After the queue: one that ends meanwhile is in one of the two.
        let mut entries = ledger.of_hashes(&hashes).await?;
        if let Some(id) = unknown.name.job() {
            entries.extend(ledger.entry(&id).await?);
        }
        let location = bare(&unknown.file.location);
        Ok(entries.iter().flat_map(LedgerEntry::places).any(|place| bare(&place.location) == location))
    }
}
