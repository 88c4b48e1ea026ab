//! What the ledger doesn't know: what is to be made of it.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::compare::{AT_ONCE, Comparison, bare};
use super::{EXAMPLES_MAX, GcError};
use crate::job::{HashKey, JobId, NamedOwner, Owner, StoredName};
use crate::ledger::{ErasureTarget, LedgerEntry, TargetKey, UnknownFile};
use crate::queue::Job;
use crate::worker::stores::ListedStore;
use crate::writer::FoundFile;

/// Hashes that the queue is asked for in one go.
const HASHES_AT_ONCE: usize = 32;

/// A file that the ledger doesn't know.
pub(super) struct Unknown {
    pub(super) file: FoundFile,
    pub(super) name: StoredName,
    pub(super) fate: Fate,
}

/// What is to be made of it.
pub(super) enum Fate {
    /// Somebody is at it.
    Busy,
    /// These jobs' records say that it is stored.
    Recorded(Vec<Job>),
    /// It is this owner's, of this hash, by its name and what else is known.
    Named(Owner, HashKey),
    UnknownOwner,
    UnclearOwner,
}

impl Fate {
    pub(super) fn is_adoptable(&self) -> bool {
        matches!(self, Self::Recorded(_) | Self::Named(..))
    }
}

/// What is known of some hashes.
pub(super) struct KnownOfHashes {
    entries: HashMap<HashKey, Vec<LedgerEntry>>,
    /// Of all of them.
    entry_ids: HashSet<JobId>,
    jobs: HashMap<HashKey, Vec<Job>>,
    /// Those that names tell of.
    named_jobs: HashMap<JobId, Job>,
    /// Orders to erase that are under way.
    orders: HashSet<TargetKey>,
}

impl KnownOfHashes {
    /// What the ledger has of this hash.
    pub(super) fn entries_of(&self, hash: &HashKey) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.get(hash).into_iter().flatten()
    }

    /// Whether the ledger has an entry of this job.
    pub(super) fn has_entry(&self, job: &JobId) -> bool {
        self.entry_ids.contains(job)
    }
}

impl Comparison<'_> {
    /// Finds out what is to be made of what the ledger doesn't know, and does it.
    pub(super) async fn judge_all(
        &self,
        number: usize,
        store: &ListedStore,
        entries: Vec<LedgerEntry>,
        unknown: Vec<(FoundFile, StoredName)>,
    ) -> Result<(), GcError> {
        if unknown.is_empty() {
            return Ok(());
        }
        let (old, young): (Vec<_>, Vec<_>) = unknown.into_iter().partition(|(file, _)| self.is_old(file));
        self.count(|report| report.young += young.len() as u64);
        if old.is_empty() {
            return Ok(());
        }
        let hashes: BTreeSet<HashKey> = old.iter().flat_map(|(_, name)| name.hashes()).collect();
        let hashes: Vec<HashKey> = hashes.into_iter().collect();
        let chunks: Vec<Vec<HashKey>> = hashes.chunks(HASHES_AT_ONCE).map(<[HashKey]>::to_vec).collect();
        let found = stream::iter(chunks).map(|chunk| async move { self.context.queue.of_hashes(&chunk).await });
        let found: Vec<Vec<Job>> = found.buffer_unordered(AT_ONCE).try_collect().await?;
        let mut jobs: HashMap<HashKey, Vec<Job>> = HashMap::new();
        for job in found.into_iter().flatten() {
            jobs.entry(job.record.hash.clone()).or_default().push(job);
        }
        let named = stream::iter(old.iter().filter_map(|(_, name)| name.job()).collect::<BTreeSet<_>>());
        let named = named.map(|id| async move { self.context.queue.get(&id).await }).buffer_unordered(AT_ONCE);
        let named = named.try_collect::<Vec<_>>().await?.into_iter().flatten();
        let named_jobs = named.map(|job| (job.record.id, job)).collect();
        let entry_ids = entries.iter().map(|entry| entry.job_id).collect();
        let mut of_hash: HashMap<HashKey, Vec<LedgerEntry>> = HashMap::new();
        for entry in entries {
            of_hash.entry(entry.hash()).or_default().push(entry);
        }
        let known = KnownOfHashes { entries: of_hash, entry_ids, jobs, named_jobs, orders: self.orders().await? };
        let mut judged = Vec::with_capacity(old.len());
        for (file, name) in old {
            let fate = self.judge(&file, &name, &known).await?;
            judged.push(Unknown { file, name, fate });
        }
        self.tell(store, &judged);
        if self.request.adopt {
            judged = self.adopt(store, judged, &known).await?;
        }
        if self.request.delete {
            self.delete_all(number, store, judged).await?;
        }
        Ok(())
    }

    /// What is being erased.
    pub(super) async fn orders(&self) -> Result<HashSet<TargetKey>, GcError> {
        let ledger = &self.context.ledger;
        let mut orders = HashSet::new();
        for id in ledger.running().await? {
            orders.extend(ledger.erasure(&id).await?.and_then(|order| order.target));
        }
        Ok(orders)
    }

    async fn judge(&self, file: &FoundFile, name: &StoredName, known: &KnownOfHashes) -> Result<Fate, GcError> {
        let hashes = name.hashes();
        let of_hashes = hashes.iter().filter_map(|hash| known.jobs.get(hash)).flatten();
        let jobs: Vec<&Job> = of_hashes.chain(name.job().and_then(|id| known.named_jobs.get(&id))).collect();
        let is_spooled = match name.job() {
            Some(id) => jobs.is_empty() && self.context.spool.holds(id).await?,
            None => hashes.iter().any(|hash| self.spooled.contains(hash)),
        };
        let is_erased = |target: ErasureTarget| known.orders.contains(&target.key());
        let is_busy = is_spooled
            || hashes.iter().any(|hash| is_erased(ErasureTarget::Hash(hash.clone())))
            || jobs.iter().any(|job| !job.state.is_terminal() || is_erased(ErasureTarget::Job(job.record.id)));
        if is_busy {
            return Ok(Fate::Busy);
        }
        let recorded = self.recorded(file, &jobs).await?;
        let fate = match recorded.first() {
            Some(_) => Fate::Recorded(recorded),
            None => self.named(name, &hashes, &jobs, known).await?,
        };
        let is_erased_owner =
            |owner: &Owner| is_erased(ErasureTarget::Subject { user: owner.user.clone(), sub: owner.sub.clone() });
        Ok(match &fate {
            Fate::Recorded(jobs) if jobs.iter().any(|job| is_erased_owner(&job.record.owner)) => Fate::Busy,
            Fate::Named(owner, _) if is_erased_owner(owner) => Fate::Busy,
            _ => fate,
        })
    }

    /// The jobs whose record or journal says that this file is stored.
    pub(super) async fn recorded(&self, file: &FoundFile, jobs: &[&Job]) -> Result<Vec<Job>, GcError> {
        let location = bare(&file.location);
        let mut recorded = Vec::new();
        for job in jobs {
            let journaled = self.context.spool.stored_files(&job.record).await?;
            let mut files = job.files.iter().chain(&journaled);
            if files.any(|file| file.stored.iter().any(|stored| bare(&stored.location) == location)) {
                recorded.push((*job).clone());
            }
        }
        Ok(recorded)
    }

    /// Whose it is, as far as its name and what else is known of its hash tell.
    async fn named(
        &self,
        name: &StoredName,
        hashes: &[HashKey],
        jobs: &[&Job],
        known: &KnownOfHashes,
    ) -> Result<Fate, GcError> {
        let of_entries =
            hashes.iter().flat_map(|hash| known.entries_of(hash).map(move |entry| (hash.clone(), &entry.owner)));
        let of_jobs = jobs.iter().map(|job| (job.record.hash.clone(), &job.record.owner));
        let mut owners: Vec<(HashKey, Owner)> = of_entries
            .chain(of_jobs.filter(|(hash, _)| hashes.contains(hash)))
            // Present and former holders of a user's name have the same hashes.
            .map(|(hash, owner)| (hash, Owner { access_key: None, ..owner.clone() }))
            .collect();
        owners.sort();
        owners.dedup();
        if let [(hash, owner)] = &*owners {
            return Ok(Fate::Named(owner.clone(), hash.clone()));
        }
        if name.job().is_some() {
            return Ok(Fate::UnknownOwner);
        }
        let ([hash], true) = (hashes, owners.is_empty()) else { return Ok(Fate::UnclearOwner) };
        Ok(match name.owner() {
            NamedOwner::Subject(owner) => Fate::Named(owner, hash.clone()),
            NamedOwner::Digest(part) => match self.context.ledger.owner_of(&part).await? {
                Some(owner) => Fate::Named(owner, hash.clone()),
                None => Fate::UnknownOwner,
            },
            NamedOwner::Unclear => Fate::UnclearOwner,
            NamedOwner::Untold => Fate::UnknownOwner,
        })
    }

    fn tell(&self, store: &ListedStore, judged: &[Unknown]) {
        self.count(|report| {
            for Unknown { file, fate, .. } in judged {
                let adoptable = &mut report.unknown.adoptable;
                match fate {
                    Fate::Busy => report.busy += 1,
                    Fate::Recorded(_) => adoptable.by_record += 1,
                    Fate::Named(..) => adoptable.by_name += 1,
                    Fate::UnknownOwner => adoptable.unknown_owner += 1,
                    Fate::UnclearOwner => adoptable.unclear_owner += 1,
                }
                if matches!(fate, Fate::Busy) {
                    continue;
                }
                report.unknown.files += 1;
                report.unknown.bytes += file.bytes;
                if report.unknown.examples.len() < EXAMPLES_MAX {
                    report.unknown.examples.push(UnknownFile {
                        backend: store.backend.to_owned(),
                        location: file.location.clone(),
                        bytes: file.bytes,
                        age: file.age.as_secs(),
                        adoptable: fate.is_adoptable(),
                    });
                }
            }
        });
    }
}
