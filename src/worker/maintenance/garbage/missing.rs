//! What the ledger knows and no store has.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::compare::{Comparison, bare};
use super::{EXAMPLES_MAX, GcError};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::ledger::{LedgerEntry, LedgerPageRequest, MissingFile, Place};
use crate::worker::stores::ListedStore;

/// Entries that are read at once.
const ENTRIES_AT_ONCE: usize = 500;
/// A job that ended no longer before the comparison began may have been stored where had been looked already.
const ENDED_BEFORE: Duration = Duration::from_hours(1);
/// Places that are looked at once more. Where more are missing than that, one or the other that has come meanwhile doesn't count.
const LOOKED_AT_MAX: u64 = 1000;
/// Jobs of an order to erase that are looked up.
const ERASED_JOBS_MAX: usize = 100_000;
/// After every time that something may be due.
const FAR_FUTURE: Timestamp = Timestamp::from_millis(i64::MAX as u64);

impl Comparison<'_> {
    pub(super) async fn look_for_missing(&self) -> Result<(), GcError> {
        let ended_before = self.report.lock().started_at.before(ENDED_BEFORE);
        let whole = self.stores.iter().zip(&self.is_whole).filter(|(_, is_whole)| **is_whole).map(|(store, _)| store);
        let mut stores: HashMap<Option<&str>, &ListedStore> = HashMap::new();
        for store in whole {
            if store.access_key.is_none() {
                stores.insert(None, store);
            }
            stores.extend(store.access_keys.iter().map(|key| (Some(key.as_str()), store)));
        }
        let mut page = LedgerPageRequest::first(ENTRIES_AT_ONCE);
        loop {
            let found = self.context.ledger.all(&page).await?;
            let erased = self.being_erased().await?;
            for entry in found.entries.iter().filter(|entry| entry.ended_at < ended_before) {
                if !erased.contains(&entry.job_id) {
                    self.look_for_places_of(entry, &stores).await?;
                }
            }
            page.after = found.next;
            if page.after.is_none() {
                return Ok(());
            }
        }
    }

    async fn look_for_places_of(
        &self,
        entry: &LedgerEntry,
        stores: &HashMap<Option<&str>, &ListedStore>,
    ) -> Result<(), GcError> {
        let mut looked_for = 0;
        for place in entry.places() {
            let store = stores.get(&place.access_key.as_deref());
            // What a store was registered with before may lie elsewhere.
            let Some(store) = store.filter(|store| place.location.starts_with(&store.base)) else { continue };
            if store.is_of_another(&place.location) {
                continue;
            }
            let Some(was_seen) = self.seen.has(bare(&place.location)) else { continue };
            looked_for += 1;
            if !was_seen && self.is_missing(entry, place, store).await? {
                self.tell_missing(&entry.job_id, place);
            }
        }
        self.count(|report| report.missing.looked_for += looked_for);
        Ok(())
    }

    /// Whether it is missing still, and was not erased meanwhile.
    async fn is_missing(&self, entry: &LedgerEntry, place: &Place, store: &ListedStore) -> Result<bool, GcError> {
        if self.report.lock().report.missing.files < LOOKED_AT_MAX
            && !matches!(self.context.stores.look(store, &place.location).await, Ok(None))
        {
            return Ok(false);
        }
        Ok(self.context.ledger.entry(&entry.job_id).await?.is_some_and(|entry| entry.names(place)))
    }

    fn tell_missing(&self, job: &JobId, place: &Place) {
        self.count(|report| {
            report.missing.files += 1;
            if report.missing.examples.len() < EXAMPLES_MAX {
                report.missing.examples.push(MissingFile {
                    backend: place.backend.clone(),
                    location: place.location.clone(),
                    job_id: job.to_string(),
                });
            }
        });
    }

    /// Every job of every order under way.
    async fn being_erased(&self) -> Result<HashSet<JobId>, GcError> {
        let mut jobs = HashSet::new();
        for id in self.context.ledger.running().await? {
            let pending = self.context.ledger.pending(&id, FAR_FUTURE, ERASED_JOBS_MAX).await?;
            jobs.extend(pending.into_iter().map(|job| job.job_id));
        }
        Ok(jobs)
    }
}
