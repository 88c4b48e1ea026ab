//! Writes down what the ledger doesn't know: what records say that is stored, then what names tell of.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::GcError;
use super::compare::{AT_ONCE, Comparison, name_of};
use super::unknown::{Fate, KnownOfHashes, Unknown};
use crate::failpoint::{GcStep, reached};
use crate::job::{HashKey, JobId, State};
use crate::ledger::{EntryFile, ErasureTarget, LedgerEntry, Place};
use crate::queue::{Filter, Job, PAGE_MAX, Page, PageRequest};
use crate::worker::WorkerContext;
use crate::worker::maintenance::add_files;
use crate::worker::stores::ListedStore;
use crate::writer::FoundFile;

/// Entries that are written at the same time: they share a commit.
const RECORDED_AT_ONCE: usize = 64;

impl Comparison<'_> {
    /// Has the ledger know every job that has ended, by its record. So owners are known whose names have a digest alone.
    pub(super) async fn adopt_records(&self) -> Result<(), GcError> {
        for state in [State::Completed, State::Failed, State::Cancelled] {
            let mut cursor = None;
            loop {
                let page = PageRequest { limit: PAGE_MAX, cursor };
                let Page { jobs, next } = self.context.queue.list(&Filter::in_state(state), page).await?;
                let adopted = stream::iter(jobs).map(|job| async move { self.adopt_record(&job).await });
                adopted.buffer_unordered(RECORDED_AT_ONCE).try_collect::<()>().await?;
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn adopt_record(&self, job: &Job) -> Result<(), GcError> {
        let WorkerContext { ledger, spool, clock, .. } = self.context;
        let mut files = job.files.clone();
        add_files(&mut files, spool.stored_files(&job.record).await?);
        let ended_at = job.finished_at.unwrap_or(clock.now());
        let known = ledger.entry(&job.record.id).await?;
        let mut found = LedgerEntry::of(&job.record, &files, ended_at);
        if let Some(known) = &known {
            // The order may be written down already, and then it is due no more.
            found.expires_at = known.expires_at;
        }
        let lacks = |place: &&Place| !known.as_ref().is_some_and(|known| known.names(place));
        let lacking = found.places().filter(lacks).count() as u64;
        if lacking == 0 || ledger.erased_at(&job.record.id).await?.is_some() || self.is_ordered_gone(job).await? {
            return Ok(());
        }
        let bytes =
            found.files.iter().map(|file| file.bytes * file.places.iter().filter(lacks).count() as u64).sum::<u64>();
        ledger.record(&found).await?;
        self.count(|report| {
            report.adopted.files += lacking;
            report.adopted.bytes += bytes;
        });
        reached(GcStep::Adopted);
        Ok(())
    }

    /// Whether an order to erase it is under way.
    async fn is_ordered_gone(&self, job: &Job) -> Result<bool, GcError> {
        let orders = self.orders().await?;
        let owner = &job.record.owner;
        let targets = [
            ErasureTarget::Job(job.record.id),
            ErasureTarget::Hash(job.record.hash.clone()),
            ErasureTarget::Subject { user: owner.user.clone(), sub: owner.sub.clone() },
        ];
        Ok(targets.iter().any(|target| orders.contains(&target.key())))
    }

    /// Writes down what of these can be; answers the others.
    pub(super) async fn adopt(
        &self,
        store: &ListedStore,
        judged: Vec<Unknown>,
        known: &KnownOfHashes,
    ) -> Result<Vec<Unknown>, GcError> {
        let (adoptable, others): (Vec<_>, Vec<_>) = judged.into_iter().partition(|unknown| unknown.fate.is_adoptable());
        let looked = stream::iter(adoptable).map(|unknown| async move {
            // After it was known that no erasure has to do with it: what one deletes isn't written down again.
            let is_there =
                self.is_unchanged(store, &unknown.file).await.is_ok_and(|is_unchanged| is_unchanged == Some(true));
            is_there.then_some(unknown)
        });
        let there: Vec<Unknown> =
            looked.buffer_unordered(AT_ONCE).filter_map(|unknown| async { unknown }).collect().await;
        let (mut entries, mut adopted) = (BTreeMap::new(), HashMap::new());
        for unknown in &there {
            self.add_to_entries(store, unknown, known, &mut entries, &mut adopted).await?;
        }
        let entries: Vec<LedgerEntry> = entries.into_values().collect();
        if !entries.is_empty() {
            self.context.ledger.record_all(&entries).await?;
            reached(GcStep::Adopted);
        }
        self.count(|report| there.iter().for_each(|unknown| report.adopted.add(unknown.file.bytes)));
        Ok(others)
    }

    /// Adds a file to the entries of the jobs that it is adopted for.
    async fn add_to_entries(
        &self,
        store: &ListedStore,
        unknown: &Unknown,
        known: &KnownOfHashes,
        entries: &mut BTreeMap<JobId, LedgerEntry>,
        adopted: &mut HashMap<HashKey, JobId>,
    ) -> Result<(), GcError> {
        let (file, place) = (&unknown.file, store.place(&unknown.file.location));
        let new = match &unknown.fate {
            Fate::Recorded(jobs) => jobs.iter().map(|job| of_record(job, file)).collect(),
            Fate::Named(owner, hash) => {
                let written_at = self.context.clock.now().before(file.age);
                // One for all of its files: that of an earlier comparison, or of one before in this.
                let of_hash = known.entries_of(hash).map(|entry| entry.job_id).find(|id| hash.is_adopted(id));
                let job_id = of_hash.or_else(|| adopted.get(hash).copied());
                let job_id = job_id.unwrap_or_else(|| hash.adopted_job(written_at));
                adopted.insert(hash.clone(), job_id);
                vec![LedgerEntry {
                    job_id,
                    owner: owner.clone(),
                    content: hash.content(),
                    ended_at: written_at,
                    expires_at: None,
                    files: Vec::new(),
                    recipient: None,
                }]
            }
            Fate::Busy | Fate::UnknownOwner | Fate::UnclearOwner => Vec::new(),
        };
        for new in new {
            let id = new.job_id;
            let entry = match entries.entry(id) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let is_known = known.has_entry(&id);
                    // As it is now: some of it may have been erased.
                    let now = if is_known { self.context.ledger.entry(&id).await? } else { None };
                    entry.insert(now.unwrap_or(new))
                }
            };
            add_place(entry, file, &place);
        }
        Ok(())
    }
}

/// What a job's record says that is stored of it; at least that it is, where only its journal says so.
fn of_record(job: &Job, file: &FoundFile) -> LedgerEntry {
    let ended_at = job.finished_at.unwrap_or(job.record.created_at);
    let mut entry = LedgerEntry::of(&job.record, &job.files, ended_at);
    if entry.files.is_empty() {
        let name = name_of(&file.location).to_owned();
        entry.files.push(EntryFile { name, bytes: file.bytes, places: Vec::new() });
    }
    entry
}

fn add_place(entry: &mut LedgerEntry, file: &FoundFile, place: &Place) {
    if entry.names(place) {
        return;
    }
    let name = name_of(&file.location);
    if let Some(known) = entry.files.iter_mut().find(|known| known.name == name) {
        known.places.push(place.clone());
    } else {
        let places = vec![place.clone()];
        entry.files.push(EntryFile { name: name.to_owned(), bytes: file.bytes, places });
    }
}
