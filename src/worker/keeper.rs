//! Puts the files of one job into its stores, and remembers that.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::WorkerContext;
use super::shelf::Shelf;
use super::stores::Store;
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, JobRecord, StoredFile, VariantSpec, variant_name};
use crate::pipeline::{PipelineError, Rendered};
use crate::running::RunningJob;
use crate::sandbox::CageError;
use crate::spool::{Journal, SpoolError, StoredLine};
use crate::writer::{Body, Object, WriteError};

/// Files of one job on their way to stores at once.
const PUTS_AT_ONCE: usize = 8;

/// Why an attempt failed.
pub(super) enum Failure {
    Spool(SpoolError),
    Pixels(PipelineError),
    /// The process that worked on the pixels, not the pixels.
    Child(CageError),
    Panicked(String),
    Store(WriteError),
}

impl Failure {
    /// Of two failures, the one that decides: a final one, else the first.
    pub(super) fn worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Store(first), Self::Store(second)) if first.transient && !second.transient => other,
            _ => self,
        }
    }
}

/// Puts files into stores and remembers that.
pub(super) struct Keeper<'a> {
    record: &'a JobRecord,
    running: &'a RunningJob,
    stores: &'a [Store],
    journal: &'a Journal,
    shelf: Shelf,
    places: Semaphore,
}

impl<'a> Keeper<'a> {
    /// A keeper that knows what earlier attempts of the same job wrote.
    pub(super) fn new(
        record: &'a JobRecord,
        running: &'a RunningJob,
        stores: &'a [Store],
        journal: &'a Journal,
    ) -> Self {
        let known = Shelf::new(record, journal.earlier());
        running.set_stored(known.files(), known.complete(stores.len()));
        Self { record, running, stores, journal, shelf: known, places: Semaphore::new(PUTS_AT_ONCE) }
    }

    /// Everything stored so far.
    pub(super) fn files(&self) -> Vec<StoredFile> {
        self.shelf.files()
    }

    /// Whether every file is in every store.
    pub(super) fn is_done(&self) -> bool {
        self.shelf.complete(self.stores.len()) == self.record.spec.file_count()
    }

    /// The name of a variant's file.
    pub(super) fn name_of(&self, variant: &VariantSpec) -> String {
        variant_name(&self.record.hash, &self.record.stem, variant.height, variant.width, variant.format)
    }

    /// Whether some store hasn't got this file from this job yet.
    pub(super) fn lacks(&self, name: &str) -> bool {
        self.stores.iter().any(|store| !self.shelf.has(name, store.name(), None))
    }

    /// Stores one variant everywhere.
    pub(super) async fn variant(&self, variant: &VariantSpec, rendered: Rendered) -> Result<(), Failure> {
        let Rendered { width, height, bytes } = rendered;
        let bytes = Bytes::from(bytes);
        let hashed = bytes.clone();
        let sha256 = spawn_blocking(move || ContentHash::of(&hashed))
            .await
            .map_err(|error| Failure::Panicked(format!("hashing a variant: {error}")))?;
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name: self.name_of(variant),
            media_type: variant.format.media_type(),
            sha256,
            body: Body::Bytes(bytes),
        };
        self.everywhere(&object, variant.format.extension(), (width, height)).await
    }

    /// Stores the original everywhere, if the job keeps it.
    pub(super) async fn original(&self, context: &WorkerContext) -> Result<(), Failure> {
        let original = &self.record.original;
        let name = self.record.original_name();
        if !self.record.spec.keep_original || !self.lacks(&name) {
            return Ok(());
        }
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name,
            media_type: original.format.media_type(),
            sha256: original.sha256,
            body: Body::File { path: context.spool.original(self.record.id), bytes: original.bytes },
        };
        self.everywhere(&object, original.format.extension(), (original.width, original.height)).await
    }

    /// Puts one file into every store that lacks it. A store that fails doesn't keep the others from getting theirs.
    async fn everywhere(&self, object: &Object, format: &str, (width, height): (u32, u32)) -> Result<(), Failure> {
        let puts: FuturesUnordered<_> = self
            .stores
            .iter()
            .filter(|store| !self.shelf.has(&object.name, store.name(), Some(&object.sha256)))
            .map(|store| self.one(store, object, format, (width, height)))
            .collect();
        let failures = puts.filter_map(|put| std::future::ready(put.err())).collect::<Vec<_>>().await;
        failures.into_iter().reduce(Failure::worse).map_or(Ok(()), Err)
    }

    async fn one(
        &self,
        store: &Store,
        object: &Object,
        format: &str,
        (width, height): (u32, u32),
    ) -> Result<(), Failure> {
        let Ok(_place) = self.places.acquire().await else { return Ok(()) };
        if self.running.stop().is_cancelled() {
            return Ok(());
        }
        reached(Step::WriteBeforePut);
        let stored = store.put(object, self.running.stop()).await.map_err(Failure::Store)?;
        let line = StoredLine {
            name: object.name.clone(),
            format: format.to_owned(),
            width,
            height,
            bytes: object.body.len(),
            sha256: object.sha256,
            stored,
        };
        reached(Step::JournalBefore);
        // The store has it; should the journal fail, a restart merely writes it again.
        if let Err(error) = self.journal.append(&line).await {
            warn!(%error, "can't note that a file is stored");
        }
        reached(Step::JournalAfter);
        self.shelf.put(line);
        self.running.set_stored(self.shelf.files(), self.shelf.complete(self.stores.len()));
        Ok(())
    }
}
