//! One comparison: store by store, part by part.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use super::seen::Seen;
use super::{GcError, Report};
use crate::error_chain::ErrorChain;
use crate::failpoint::{GcStep, reached};
use crate::job::{HashKey, StoredName};
use crate::ledger::{FileCount, GcReport, GcRequest, GcStore, LedgerEntry};
use crate::queue::KnownJob;
use crate::spool::{SpoolEntry, SpoolPage};
use crate::worker::WorkerContext;
use crate::worker::stores::{ListedStore, OwnBucket};
use crate::writer::{FoundFile, FoundFiles, WriteError};

/// Hashes that the queue is asked for, and files that are looked at or deleted, at the same time.
pub(super) const AT_ONCE: usize = 16;
/// Files that are compared in one go, however many a store lists at once.
const COMPARED_AT_ONCE: usize = 512;

pub(super) struct Comparison<'a> {
    pub(super) context: &'a WorkerContext,
    pub(super) report: &'a Report,
    pub(super) request: GcRequest,
    pub(super) stores: Vec<ListedStore>,
    /// Of each store, whether all of it was listed.
    pub(super) is_whole: Vec<bool>,
    pub(super) seen: Seen,
    /// Of what the spool has and the queue doesn't know.
    pub(super) spooled: HashSet<HashKey>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        context: &'a WorkerContext,
        own_bucket: Option<&OwnBucket>,
        report: &'a Report,
        request: GcRequest,
    ) -> Self {
        let stores = context.stores.listed(own_bucket);
        let of_store = |store: &ListedStore| GcStore {
            backend: store.backend.to_owned(),
            access_key: store.access_key.clone(),
            base: store.base.clone(),
            files: 0,
            error: None,
        };
        report.lock().report.stores = stores.iter().map(of_store).collect();
        let is_whole = vec![false; stores.len()];
        let (seen, spooled) = (Seen::default(), HashSet::new());
        Self { context, report, request, stores, is_whole, seen, spooled }
    }

    pub(super) async fn run(mut self) -> Result<(), GcError> {
        if (self.request.delete || self.request.adopt) && !self.context.clock_trust.is_trusted() {
            // By a clock that was set wrong, everything would be old.
            self.request = GcRequest { adopt: false, delete: false, ..self.request };
            for number in 0..self.stores.len() {
                self.fail(
                    number,
                    "nothing is adopted or deleted: this machine's clock was set wrong, or can't be believed yet",
                );
            }
        }
        self.spooled = self.spooled_alone().await?;
        if self.request.adopt {
            self.adopt_records().await?;
        }
        for number in 0..self.stores.len() {
            self.go_through(number).await?;
        }
        reached(GcStep::Compared);
        self.look_for_missing().await
    }

    pub(super) fn count(&self, counted: impl FnOnce(&mut GcReport)) {
        counted(&mut self.report.lock().report);
    }

    pub(super) fn fail(&self, number: usize, why: &str) {
        self.count(|report| {
            report.stores[number].error.get_or_insert_with(|| why.to_owned());
        });
    }

    /// Hashes of what was accepted and isn't in the queue yet.
    async fn spooled_alone(&self) -> Result<HashSet<HashKey>, GcError> {
        let WorkerContext { spool, queue, .. } = self.context;
        let (mut hashes, mut from) = (HashSet::new(), None);
        loop {
            let SpoolPage { uploads, next, .. } = spool.uploads(from).await?;
            let ids: Vec<_> = uploads.iter().map(|upload| upload.id).collect();
            for (id, known) in ids.iter().zip(queue.known(&ids).await?) {
                if known == KnownJob::Unknown
                    && let Some(SpoolEntry::Whole(record)) = spool.manifest(*id).await?
                {
                    hashes.insert(record.hash);
                }
            }
            from = next;
            if from.is_none() {
                return Ok(hashes);
            }
        }
    }

    /// Compares one store. That it can't be listed, or no further, is told of it and ends nothing else.
    async fn go_through(&mut self, number: usize) -> Result<(), GcError> {
        let store = self.stores[number].clone();
        let failed = |error: &WriteError| {
            warn!(backend = store.backend, access_key = store.access_key, error = %ErrorChain(error), "store can't be compared with the ledger");
            self.fail(number, &ErrorChain(error).to_string());
        };
        let mut parts = match self.context.stores.list(&store).await {
            Ok(parts) => parts,
            Err(error) => {
                failed(&error);
                return Ok(());
            }
        };
        while let Some(part) = parts.next().await {
            let FoundFiles { mut files, foreign } = match part {
                Ok(part) => part,
                Err(error) => {
                    self.fail(number, &ErrorChain(&error).to_string());
                    return Ok(());
                }
            };
            self.count(|report| report.foreign += foreign);
            while !files.is_empty() {
                let rest = files.split_off(files.len().min(COMPARED_AT_ONCE));
                self.compare(number, &store, std::mem::replace(&mut files, rest)).await?;
            }
        }
        self.is_whole[number] = true;
        Ok(())
    }

    async fn compare(&mut self, number: usize, store: &ListedStore, files: Vec<FoundFile>) -> Result<(), GcError> {
        let mut ours = Vec::with_capacity(files.len());
        let (mut foreign, mut all) = (0, 0);
        for file in files {
            if store.is_of_another(&file.location) {
                continue;
            }
            all += 1;
            self.seen.add(bare(&file.location));
            match StoredName::parse(name_of(&file.location)) {
                Some(name) => ours.push((file, name)),
                None => foreign += 1,
            }
        }
        self.count(|report| {
            report.foreign += foreign;
            report.stores[number].files += all;
        });
        let hashes: BTreeSet<HashKey> = ours.iter().flat_map(|(_, name)| name.hashes()).collect();
        let hashes: Vec<HashKey> = hashes.into_iter().collect();
        let mut entries = self.context.ledger.of_hashes(&hashes).await?;
        let ledger = &self.context.ledger;
        let jobs = stream::iter(ours.iter().filter_map(|(_, name)| name.job()).collect::<BTreeSet<_>>());
        let of_jobs = jobs.map(|job| async move { ledger.entry(&job).await }).buffer_unordered(AT_ONCE);
        entries.extend(of_jobs.try_collect::<Vec<_>>().await?.into_iter().flatten());
        let named: HashSet<&str> =
            entries.iter().flat_map(LedgerEntry::places).map(|place| bare(&place.location)).collect();
        let (mut known, mut unknown) = (FileCount::default(), Vec::new());
        for (file, name) in ours {
            if named.contains(bare(&file.location)) {
                known.add(file.bytes);
            } else {
                unknown.push((file, name));
            }
        }
        self.count(|report| {
            report.known.files += known.files;
            report.known.bytes += known.bytes;
        });
        drop(named);
        self.judge_all(number, store, entries, unknown).await
    }

    pub(super) fn is_old(&self, file: &FoundFile) -> bool {
        file.age >= self.request.older_than.max(GcRequest::OLDER_THAN_MIN)
    }

    /// Whether what is there now is what was listed; none if nothing is.
    pub(super) async fn is_unchanged(&self, store: &ListedStore, file: &FoundFile) -> Result<Option<bool>, WriteError> {
        let now = self.context.stores.look(store, &file.location).await?;
        Ok(now.map(|now| now.bytes == file.bytes && self.is_old(&now)))
    }
}

/// The last part of a location.
pub(super) fn name_of(location: &str) -> &str {
    location.rsplit_once('/').map_or(location, |(_, name)| name)
}

/// A location without the kind of its store: what is asked for by S3 may be asked for by the API of Google's as well.
pub(super) fn bare(location: &str) -> &str {
    location.split_once("://").map_or(location, |(_, rest)| rest)
}
