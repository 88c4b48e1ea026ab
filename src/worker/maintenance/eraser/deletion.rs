//! How files are deleted: what of a job lies where is in the ledger, and what another job names stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::EraseError;
use crate::error_chain::ErrorChain;
use crate::failpoint::{ErasureStep, reached};
use crate::job::JobId;
use crate::ledger::{ErasureTally, KeptPlace, LedgerEntry, LeftPlace, PendingJob, Place};
use crate::queue::Job;
use crate::worker::WorkerContext;
use crate::worker::stores::PlaceError;
use crate::writer::Deletion;

/// Files of a job that are deleted at the same time.
const CONCURRENT_FILES: usize = 4;

/// What is left of a file in a store that is registered no more.
pub(super) const UNKNOWN_STORE: &str = "unknown_store";

/// What became of some places of a job.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    pub(super) tally: ErasureTally,
    pub(super) is_versioned: bool,
    pub(super) kept: Vec<KeptPlace>,
    pub(super) left: Vec<LeftPlace>,
    /// Whether something is left that a live job writes to.
    pub(super) waits_for_live: bool,
    /// Where nothing is any more.
    pub(super) gone: Vec<Place>,
}

impl Deleted {
    pub(super) fn add(&mut self, other: Self) {
        self.tally.deleted += other.tally.deleted;
        self.tally.missing += other.tally.missing;
        self.tally.kept += other.tally.kept;
        self.is_versioned |= other.is_versioned;
        self.kept.extend(other.kept);
        self.left.extend(other.left);
        self.waits_for_live |= other.waits_for_live;
        self.gone.extend(other.gone);
    }
}

/// Some of a job's places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// What is served under `/files`.
    Own,
    Stores,
}

impl Whose {
    fn has(self, place: &Place) -> bool {
        (self == Self::Own) == place.access_key.is_none()
    }
}

/// Deletes the files of one order's jobs.
pub(super) struct FileDeletion {
    context: Arc<WorkerContext>,
    /// By backend and location, the places that several jobs of those under way name: once it is seen to, whether it is gone. So it is
    /// counted, and deleted, once.
    shared: Mutex<SharedPlaces>,
}

type SharedPlaces = HashMap<(String, String), Arc<OnceCell<bool>>>;

/// The other jobs of a job's hash, which alone may name the same places.
struct Others {
    /// Those that stay.
    staying: Vec<LedgerEntry>,
    /// Those that are being erased, too.
    erased: Vec<LedgerEntry>,
    /// Those that have not ended, and stay.
    live: Vec<Job>,
}

impl FileDeletion {
    /// Of an order that is begun, or gone on with after a start.
    pub(super) fn new(context: Arc<WorkerContext>) -> Self {
        Self { context, shared: Mutex::default() }
    }

    /// Deletes the files of a job in some of its places, but for those that other jobs name.
    pub(super) async fn delete(
        &self,
        job: &PendingJob,
        being_erased: &HashSet<JobId>,
        whose: Whose,
    ) -> Result<Deleted, EraseError> {
        let Some(entry) = self.context.ledger.entry(&job.job_id).await? else { return Ok(Deleted::default()) };
        let places: Vec<Place> = entry.places().filter(|place| whose.has(place)).cloned().collect();
        if places.is_empty() {
            return Ok(Deleted::default());
        }
        let others = self.others(&entry, being_erased).await?;
        let (entry, others) = (&entry, &others);
        let outcomes =
            stream::iter(places).map(|place| async move { self.delete_once(job, entry, &place, others).await });
        let mut outcomes = outcomes.buffer_unordered(CONCURRENT_FILES);
        let mut all = Deleted::default();
        while let Some(outcome) = outcomes.next().await {
            all.add(outcome);
        }
        Ok(all)
    }

    async fn others(&self, entry: &LedgerEntry, being_erased: &HashSet<JobId>) -> Result<Others, EraseError> {
        let WorkerContext { ledger, queue, .. } = &*self.context;
        let hash = entry.hash();
        // Before the ledger: one that ends meanwhile is in one of the two.
        let mut live = queue.of_hash(&hash).await?;
        live.retain(|other| {
            let id = other.record.id;
            id != entry.job_id && !being_erased.contains(&id) && !other.state.is_terminal()
        });
        let mut others = ledger.of_hash(&hash).await?;
        others.retain(|other| other.job_id != entry.job_id);
        let (erased, staying) = others.into_iter().partition(|other| being_erased.contains(&other.job_id));
        Ok(Others { staying, erased, live })
    }

    /// Deletes what is at a place, unless that was seen to for another job of the order.
    async fn delete_once(&self, job: &PendingJob, entry: &LedgerEntry, place: &Place, others: &Others) -> Deleted {
        let shared = {
            let mut shared = self.shared.lock();
            let key = (place.backend.clone(), place.location.clone());
            if others.erased.iter().any(|other| other.names(place)) {
                Some(Arc::clone(shared.entry(key).or_default()))
            } else {
                shared.get(&key).cloned()
            }
        };
        let Some(shared) = shared else { return self.delete_place(job, entry, place, others).await };
        let mut deleted = None;
        let seeing_to = async {
            let outcome = self.delete_place(job, entry, place, others).await;
            if !outcome.left.is_empty() {
                return Err(outcome);
            }
            let is_gone = !outcome.gone.is_empty();
            deleted = Some(outcome);
            Ok(is_gone)
        };
        let seen_to = shared.get_or_try_init(|| seeing_to).await.copied();
        match (deleted, seen_to) {
            (Some(deleted), _) | (None, Err(deleted)) => deleted,
            (None, Ok(is_gone)) => {
                Deleted { gone: is_gone.then(|| place.clone()).into_iter().collect(), ..Deleted::default() }
            }
        }
    }

    async fn delete_place(&self, job: &PendingJob, entry: &LedgerEntry, place: &Place, others: &Others) -> Deleted {
        let Place { backend, location, .. } = place;
        let left = |error: String| LeftPlace { backend: backend.clone(), location: location.clone(), error };
        let mut outcome = Deleted::default();
        if let Some(other) = others.staying.iter().find(|other| other.names(place)) {
            outcome.tally.kept = 1;
            outcome.kept.push(KeptPlace { location: Some(location.clone()), job_id: other.job_id });
            return outcome;
        }
        if let Some(other) = others.live.iter().find(|other| may_write(other, place)) {
            outcome.left.push(left(format!("job {} may be writing it; waited for", other.record.id)));
            outcome.waits_for_live = true;
            return outcome;
        }
        match self.context.stores.delete(place, &entry.owner).await {
            Ok(Deletion { was_there, keeps_versions }) => {
                // What an earlier try didn't leave it has deleted.
                let was_deleted = job.tries > 0 && !job.left.iter().any(|left| left.location == *location);
                if was_there || was_deleted {
                    outcome.tally.deleted = 1;
                } else {
                    outcome.tally.missing = 1;
                }
                outcome.is_versioned = keeps_versions;
                outcome.gone.push(place.clone());
                reached(ErasureStep::FileDeleted);
            }
            Err(PlaceError::UnknownStore) => outcome.left.push(left(UNKNOWN_STORE.to_owned())),
            Err(PlaceError::Store(error)) => outcome.left.push(left(ErrorChain(&error).to_string())),
        }
        outcome
    }
}

/// Whether a live job has a file of its own at this place, or will have one.
fn may_write(job: &Job, place: &Place) -> bool {
    let spec = &job.record.spec;
    let names = job.record.expected_files();
    let goes_there = match &place.access_key {
        // What is private and what is served to anyone may have one name, and never one place.
        None => {
            return spec.direct_host
                && names.iter().any(|name| job.record.served_path(name).to_string() == place.location);
        }
        // The same bucket may be registered twice.
        Some(_) => spec.storage.iter().any(|key| key.backend.as_str() == place.backend),
    };
    let ends_so = |name: &String| place.location.ends_with(&format!("/{}", spec.sub_dir.join(name)));
    goes_there && names.iter().any(ends_so)
}
