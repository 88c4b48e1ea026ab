//! How files are deleted: what of a job lies where is in the ledger, and what another job names stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::EraseError;
use crate::error_chain::ErrorChain;
use crate::failpoint::{ErasureStep, reached};
use crate::job::{JobId, Owner};
use crate::ledger::{ErasureTally, KeptPlace, LedgerEntry, LeftPlace, PendingJob, Place};
use crate::queue::Job;
use crate::worker::WorkerContext;
use crate::worker::stores::{HeldName, PlaceError};
use crate::writer::Deletion;

/// Files of a job that are deleted at the same time.
const CONCURRENT_FILES: usize = 4;
/// Jobs of which it is found out at the same time what other jobs name.
const PLANNED_AT_ONCE: usize = 64;

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
enum Whose {
    /// What is served under `/files`.
    Own,
    Stores,
}

impl Whose {
    fn has(self, place: &Place) -> bool {
        (self == Self::Own) == place.access_key.is_none()
    }
}

/// What is to be done about some files of a job.
#[derive(Default)]
struct Plan {
    /// What is kept, or can't be deleted yet.
    settled: Deleted,
    /// What is to be deleted.
    places: Vec<PlannedPlace>,
    /// Their names, which nobody of this process writes meanwhile: a job that was accepted since would lose its file.
    held: Vec<HeldName>,
}

/// A place at which a file is to be deleted.
struct PlannedPlace {
    place: Place,
    owner: Owner,
    /// Where it is noted what became of it, if several jobs name it.
    shared: Option<Arc<OnceCell<bool>>>,
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

    /// Deletes what the server serves itself of these jobs, but for what other jobs name. What came of each job, in their order.
    pub(super) async fn delete_own(
        &self,
        jobs: &[PendingJob],
        being_erased: &HashSet<JobId>,
    ) -> Vec<Result<Deleted, EraseError>> {
        let planned = stream::iter(jobs.to_vec());
        let planned = planned.map(|job| async move { self.plan(&job, being_erased, Whose::Own).await });
        let planned: Vec<_> = planned.buffered(PLANNED_AT_ONCE).collect().await;
        let (mut batch, mut of_batch) = (Vec::new(), Vec::new());
        let mut first: HashMap<(String, String), usize> = HashMap::new();
        let mut again = Vec::new();
        let (mut outcomes, mut all_held) = (Vec::with_capacity(jobs.len()), Vec::new());
        for (number, plan) in planned.into_iter().enumerate() {
            outcomes.push(plan.map(|Plan { settled, places, held }| {
                let mut outcome = settled;
                all_held.extend(held);
                for PlannedPlace { place, owner, shared } in places {
                    let seen_to = shared.as_ref().and_then(|shared| shared.get()).copied();
                    let key = (place.backend.clone(), place.location.clone());
                    match (seen_to, first.get(&key)) {
                        (Some(is_gone), _) => outcome.gone.extend(is_gone.then_some(place)),
                        (None, Some(at)) => again.push((number, *at)),
                        (None, None) => {
                            first.insert(key, batch.len());
                            of_batch.push((number, shared));
                            batch.push((place, owner));
                        }
                    }
                }
                outcome
            }));
        }
        let deleted = self.context.stores.delete_own(&batch).await;
        drop(all_held);
        let mut failures = Vec::with_capacity(batch.len());
        for (((place, _), (number, shared)), deleted) in batch.iter().zip(of_batch).zip(deleted) {
            let of_place = deleted_place(&jobs[number], place, deleted);
            failures.push(of_place.left.first().cloned());
            if let Some(shared) = shared.filter(|_| of_place.left.is_empty()) {
                // Nobody else has seen to it: orders are carried out one batch after the other.
                let _ = shared.set(true);
            }
            if let Ok(outcome) = &mut outcomes[number] {
                outcome.add(of_place);
            }
        }
        for (number, at) in again {
            if let Ok(outcome) = &mut outcomes[number] {
                match failures[at].clone() {
                    Some(left) => outcome.left.push(left),
                    None => outcome.gone.push(batch[at].0.clone()),
                }
            }
        }
        outcomes
    }

    /// Deletes the files of a job in registered stores, but for those that other jobs name.
    pub(super) async fn delete_stored(
        &self,
        job: &PendingJob,
        being_erased: &HashSet<JobId>,
    ) -> Result<Deleted, EraseError> {
        let Plan { settled: mut all, places, held: _held } = self.plan(job, being_erased, Whose::Stores).await?;
        let outcomes = stream::iter(places).map(|place| self.delete_once(job, place));
        let mut outcomes = outcomes.buffer_unordered(CONCURRENT_FILES);
        while let Some(outcome) = outcomes.next().await {
            all.add(outcome);
        }
        Ok(all)
    }

    /// What is to be done about the files of a job in some of its places.
    async fn plan(&self, job: &PendingJob, being_erased: &HashSet<JobId>, whose: Whose) -> Result<Plan, EraseError> {
        let entry = self.context.ledger.entry(&job.job_id).await?;
        let Some(entry) = entry.filter(|entry| entry.places().any(|place| whose.has(place))) else {
            return Ok(Plan::default());
        };
        // Before it is looked which jobs live.
        let names = entry.files.iter().filter(|file| file.places.iter().any(|place| whose.has(place)));
        let held = names.map(|file| self.context.stores.hold(&file.name)).collect();
        let others = self.others(&entry, being_erased).await?;
        let (mut settled, mut places) = (Deleted::default(), Vec::new());
        for place in entry.places().filter(|place| whose.has(place)) {
            if let Some(other) = others.staying.iter().find(|other| other.names(place)) {
                settled.tally.kept += 1;
                settled.kept.push(KeptPlace { location: Some(place.location.clone()), job_id: other.job_id });
            } else if let Some(other) = others.live.iter().find(|other| may_write(other, place)) {
                let why = format!("job {} may be writing it; waited for", other.record.id);
                settled.left.push(left(place, why));
                settled.waits_for_live = true;
            } else {
                let is_shared = others.erased.iter().any(|other| other.names(place));
                let (owner, shared) = (entry.owner.clone(), self.shared(place, is_shared));
                places.push(PlannedPlace { place: place.clone(), owner, shared });
            }
        }
        Ok(Plan { settled, places, held })
    }

    /// Where it is noted what became of a place that several jobs name.
    fn shared(&self, place: &Place, is_shared: bool) -> Option<Arc<OnceCell<bool>>> {
        let mut shared = self.shared.lock();
        let key = (place.backend.clone(), place.location.clone());
        if is_shared { Some(Arc::clone(shared.entry(key).or_default())) } else { shared.get(&key).cloned() }
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
    async fn delete_once(&self, job: &PendingJob, planned: PlannedPlace) -> Deleted {
        let PlannedPlace { place, owner, shared } = planned;
        let (place, owner) = (&place, &owner);
        let Some(shared) = shared else { return self.delete_place(job, owner, place).await };
        let mut deleted = None;
        let seeing_to = async {
            let outcome = self.delete_place(job, owner, place).await;
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

    async fn delete_place(&self, job: &PendingJob, owner: &Owner, place: &Place) -> Deleted {
        deleted_place(job, place, self.context.stores.delete(place, owner).await)
    }
}

/// What became of one place of a job.
fn deleted_place(job: &PendingJob, place: &Place, deleted: Result<Deletion, PlaceError>) -> Deleted {
    let mut outcome = Deleted::default();
    match deleted {
        Ok(Deletion { was_there, keeps_versions }) => {
            // What an earlier try didn't leave it has deleted.
            let was_deleted = job.tries > 0 && !job.left.iter().any(|left| left.location == place.location);
            if was_there || was_deleted {
                outcome.tally.deleted = 1;
            } else {
                outcome.tally.missing = 1;
            }
            outcome.is_versioned = keeps_versions;
            outcome.gone.push(place.clone());
            reached(ErasureStep::FileDeleted);
        }
        Err(PlaceError::UnknownStore) => outcome.left.push(left(place, UNKNOWN_STORE.to_owned())),
        Err(PlaceError::Store(error)) => outcome.left.push(left(place, ErrorChain(&error).to_string())),
    }
    outcome
}

fn left(place: &Place, error: String) -> LeftPlace {
    LeftPlace { backend: place.backend.clone(), location: place.location.clone(), error }
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
