//! The files of one job on their way: from being made, through the spool, into every store. The pictures come first; the manifest,
//! if the job wants one, tells where they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::WorkerContext;
use super::attempt::AttemptError;
use super::stores::JobStore;
use crate::active_jobs::ActiveAttempt;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{
    CallbackTarget, ContentHash, JobRecord, MANIFEST, Placeholder, State, Stored, StoredFile, TraceContext,
    VariantSpec, Warnings, shown_files,
};
use crate::manifest::Manifest;
use crate::pipeline::{Rendered, StoreStep};
use crate::queue::Lease;
use crate::spool::{Durability, Journal, MadeFile, SpoolError, StoredFiles, StoredLine};
use crate::writer::{Body, Object, WriteError, WriteErrorKind};

/// Writes of one job to one store that run or wait at once. The others are no more than their names.
const CONCURRENT_PUTS: usize = 8;

/// A file that is made and wanted by some store.
#[derive(Debug)]
struct Pending {
    file: MadeFile,
    step: StoreStep,
}

/// Gets the files of one attempt into their stores.
pub(super) struct FileUploader<'a> {
    record: &'a JobRecord,
    /// What storing is a part of.
    trace: Option<&'a TraceContext>,
    attempt: &'a ActiveAttempt,
    lease: &'a Lease,
    stores: &'a [Arc<JobStore>],
    context: &'a WorkerContext,
    journal: &'a Journal,
    stored_files: StoredFiles,
    /// The variants that lie in the spool, as earlier attempts left them.
    made: Vec<MadeFile>,
    /// What stands in the picture's place, once it is made.
    placeholder: Mutex<Option<Placeholder>>,
}

/// Where files wait to be stored, by store. Once every clone is dropped no more will come.
#[derive(Clone)]
pub(super) struct PendingUploads(Vec<UnboundedSender<Arc<Pending>>>);

/// The other end.
pub(super) struct UploadQueues(Vec<UnboundedReceiver<Arc<Pending>>>);

/// A queue for each of `stores`.
pub(super) fn upload_queues(stores: &[Arc<JobStore>]) -> (PendingUploads, UploadQueues) {
    let (senders, receivers) = stores.iter().map(|_| mpsc::unbounded_channel()).unzip();
    (PendingUploads(senders), UploadQueues(receivers))
}

fn received<T>(queue: UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(queue, async |mut queue| queue.recv().await.map(|item| (item, queue)))
}

impl<'a> FileUploader<'a> {
    /// An uploader that goes on where the attempts before, which left `journal`, came to an end.
    ///
    /// # Errors
    /// If the spool can't be looked at.
    pub(super) async fn new(
        record: &'a JobRecord,
        trace: Option<&'a TraceContext>,
        attempt: &'a ActiveAttempt,
        lease: &'a Lease,
        stores: &'a [Arc<JobStore>],
        context: &'a WorkerContext,
        journal: &'a Journal,
    ) -> Result<Self, SpoolError> {
        let earlier = journal.earlier();
        let stored_files = StoredFiles::new(record, &earlier.stored);
        let mut latest: Vec<MadeFile> = Vec::new();
        for file in &earlier.made {
            latest.retain(|older| older.name != file.name);
            latest.push(file.clone());
        }
        let made = context.spool.whole_made(record.id, latest).await?;
        let placeholder = Mutex::new(earlier.placeholder.clone());
        let uploader =
            Self { record, trace, attempt, lease, stores, context, journal, stored_files, made, placeholder };
        uploader.publish_progress();
        Ok(uploader)
    }

    /// Everything stored so far.
    pub(super) fn files(&self) -> Vec<StoredFile> {
        self.stored_files.files()
    }

    /// What stands in the picture's place, if that is made.
    pub(super) fn placeholder(&self) -> Option<Placeholder> {
        self.placeholder.lock().clone()
    }

    /// Keeps what stands in the picture's place, also for the attempts after this one, which may have nothing left to make.
    pub(super) async fn keep_placeholder(&self, placeholder: Placeholder) {
        *self.placeholder.lock() = Some(placeholder.clone());
        // What is stored tells of it, and is to tell the same after a crash.
        let durability = if self.record.spec.manifest { Durability::Durable } else { Durability::Soon };
        if let Err(error) = self.journal.append_placeholder(placeholder, durability).await {
            warn!(error = %ErrorChain(&error), "placeholder can't be journaled");
        }
    }

    /// Whether every file is in every store.
    pub(super) fn is_complete(&self) -> bool {
        self.stored_files.complete(self.stores.len()) == self.record.spec.file_count()
    }

    /// Whether every file is that the manifest tells of.
    fn has_pictures_everywhere(&self) -> bool {
        let manifest = self.record.manifest_name();
        let is_missing = |name: &String| {
            *name != manifest && !self.stores.iter().all(|store| self.stored_files.has(name, store.name(), None))
        };
        !self.record.expected_files().iter().any(is_missing)
    }

    /// The variants that some store lacks and that are not in the spool: indices into the job's, ascending.
    pub(super) fn missing_variants(&self) -> Vec<usize> {
        let variants = &self.record.spec.variants;
        let is_missing = |index: &usize| {
            let name = self.record.variant_name(&variants[*index]);
            let is_made = self.made.iter().any(|file| file.name == name);
            !is_made && self.stores.iter().any(|store| !self.stored_files.has(&name, store.name(), None))
        };
        (0..variants.len()).filter(is_missing).collect()
    }

    /// Queues what is there already: the original, if the job keeps it, and variants in the spool.
    pub(super) fn queue_existing(&self, uploads: &PendingUploads) {
        let original = &self.record.original;
        if self.record.spec.keep_original {
            let file = MadeFile {
                name: self.record.original_name(),
                format: original.format.extension().to_owned(),
                width: original.width,
                height: original.height,
                bytes: original.bytes,
                sha256: original.sha256,
                warnings: Warnings::new(),
                same_as: None,
            };
            self.queue(uploads, Pending { file, step: StoreStep::Original });
        }
        for variant in &self.record.spec.variants {
            let name = self.record.variant_name(variant);
            if let Some(file) = self.made.iter().find(|file| file.name == name) {
                self.queue(uploads, Pending { file: file.clone(), step: StoreStep::Variant(variant.format) });
            }
        }
    }

    /// Takes a variant that was just made. The serve directory gets it at once, from memory, if it can; whatever else
    /// wants it finds it in the spool. When this returns, nothing of it is in memory. `same_as` is the variant that it comes
    /// out as.
    pub(super) async fn take_variant(
        &self,
        uploads: &PendingUploads,
        variant: &VariantSpec,
        same_as: Option<&VariantSpec>,
        rendered: Rendered,
    ) -> Result<(), AttemptError> {
        let Rendered { width, height, bytes, warnings } = rendered;
        let bytes = Bytes::from(bytes);
        let hashed = bytes.clone();
        let sha256 = spawn_blocking(move || ContentHash::of(&hashed))
            .await
            .map_err(|error| AttemptError::Panicked(format!("hashing a variant: {error}")))?;
        let file = MadeFile {
            name: self.record.variant_name(variant),
            format: variant.format.extension().to_owned(),
            width,
            height,
            bytes: bytes.len() as u64,
            sha256,
            warnings,
            same_as: same_as.map(|earlier| self.record.variant_name(earlier)),
        };
        self.context.metrics.made(variant.format, file.bytes);
        let pending = Pending { file, step: StoreStep::Variant(variant.format) };
        self.serve_directly(&pending, bytes.clone()).await;
        if self.stores.iter().any(|store| self.lacks(store, &pending.file)) {
            self.keep_in_spool(&pending.file, bytes).await?;
            self.queue(uploads, pending);
        }
        Ok(())
    }

    async fn serve_directly(&self, pending: &Pending, bytes: Bytes) {
        let Some(store) = self.stores.iter().find(|store| store.is_serve_directory()) else { return };
        if !self.lacks(store, &pending.file) {
            return;
        }
        reached(Step::WriteBeforePut);
        // If it fails, it goes the way of the others, which says so.
        let began = self.context.clock.elapsed();
        if let Some(Ok(stored)) = store.try_put(&self.object(pending, Body::Bytes(bytes))).await {
            self.time_storing(pending, began);
            self.note_stored(&pending.file, stored).await;
        }
    }

    /// Puts the manifest into the serve directory, if the job wants one, every picture is in every store by now, and the directory
    /// takes it at once.
    pub(super) async fn serve_manifest(&self) {
        if let Some((pending, bytes)) = self.missing_manifest() {
            self.serve_directly(&pending, bytes).await;
        }
    }

    /// Stores the manifest, if the job wants one and every picture is in every store by now.
    ///
    /// It is made again by each attempt that comes so far, of what is durable: of the record and of what is stored. So it has the bytes
    /// that it had, and if it should not, since the server is reached at another address meanwhile, it replaces what was stored.
    pub(super) async fn store_manifest(&self, no_waiting: &CancellationToken) -> Result<(), AttemptError> {
        let Some((pending, bytes)) = self.missing_manifest() else { return Ok(()) };
        self.serve_directly(&pending, bytes.clone()).await;
        let lacking: Vec<_> = self.stores.iter().filter(|store| self.lacks(store, &pending.file)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        for store in lacking {
            store.set_wanting(true);
        }
        // It may wait for a store for days, and that is not to cost memory.
        let written = self.context.spool.write_made(self.record.id, &pending.file.name, bytes).await;
        written.map_err(AttemptError::Spool)?;
        let (uploads, queues) = upload_queues(self.stores);
        self.queue(&uploads, pending);
        drop(uploads);
        self.store_all(queues, no_waiting).await
    }

    /// The manifest, if the job wants one, all that it tells of is where it is to be, and some store lacks it. It tells of a job
    /// that has completed, which it has once this is stored, too.
    fn missing_manifest(&self) -> Option<(Pending, Bytes)> {
        if !self.record.spec.manifest || !self.has_pictures_everywhere() {
            return None;
        }
        let files = shown_files(self.record, self.files(), &self.context.settings.public_url);
        let json = Manifest::of(self.record, State::Completed, self.placeholder(), files).json();
        let file = MadeFile {
            name: self.record.manifest_name(),
            format: MANIFEST.extension.to_owned(),
            width: 0,
            height: 0,
            bytes: json.len() as u64,
            sha256: ContentHash::of(json.as_bytes()),
            warnings: Warnings::new(),
            same_as: None,
        };
        if !self.stores.iter().any(|store| self.lacks(store, &file)) {
            return None;
        }
        reached(Step::ManifestMade);
        Some((Pending { file, step: StoreStep::Manifest }, json.into()))
    }

    async fn keep_in_spool(&self, file: &MadeFile, bytes: Bytes) -> Result<(), AttemptError> {
        self.context.spool.write_made(self.record.id, &file.name, bytes).await.map_err(AttemptError::Spool)?;
        self.journal.append_made(file.clone()).await.map_err(AttemptError::Spool)
    }

    fn queue(&self, uploads: &PendingUploads, pending: Pending) {
        let pending = Arc::new(pending);
        for (store, queue) in self.stores.iter().zip(&uploads.0) {
            if self.lacks(store, &pending.file) {
                // Whoever receives may have been stopped.
                let _ = queue.send(Arc::clone(&pending));
            }
        }
    }

    fn lacks(&self, store: &JobStore, file: &MadeFile) -> bool {
        !self.stored_files.has(&file.name, store.name(), Some(&file.sha256))
    }

    /// Stores what comes through `queues` until no more will. A store that fails doesn't keep the others from getting
    /// theirs; a variant that must be made again does (`no_waiting`), since that takes another attempt.
    pub(super) async fn store_all(
        &self,
        queues: UploadQueues,
        no_waiting: &CancellationToken,
    ) -> Result<(), AttemptError> {
        let stores = self.stores.iter().zip(queues.0).map(async |(store, queue)| {
            let puts =
                received(queue).map(|pending| self.put(store, pending, no_waiting)).buffer_unordered(CONCURRENT_PUTS);
            let stored = puts.fold(Ok(()), async |all, one| AttemptError::worse_of(all, one)).await;
            store.set_wanting(false);
            stored
        });
        join_all(stores).await.into_iter().fold(Ok(()), AttemptError::worse_of)
    }

    async fn put(
        &self,
        store: &JobStore,
        pending: Arc<Pending>,
        no_waiting: &CancellationToken,
    ) -> Result<(), AttemptError> {
        let spool = &self.context.spool;
        let path = match pending.step {
            // Fetching it again takes another attempt.
            StoreStep::Original => {
                let fetched = tokio::select! {
                    fetched = spool.fetch(self.record) => fetched,
                    () = self.attempt.stop().cancelled() => return Ok(()),
                };
                fetched.map_err(|error| {
                    no_waiting.cancel();
                    AttemptError::Spool(error)
                })?
            }
            StoreStep::Variant(_) | StoreStep::Manifest => spool.made(self.record.id, &pending.file.name),
        };
        let object = self.object(&pending, Body::File { path, bytes: pending.file.bytes });
        reached(Step::WriteBeforePut);
        let began = self.context.clock.elapsed();
        match store.put(&object).await {
            Ok(stored) => {
                self.time_storing(&pending, began);
                self.note_stored(&pending.file, stored).await;
                Ok(())
            }
            Err(error) if error.kind == WriteErrorKind::SourceDamaged => {
                no_waiting.cancel();
                Err(self.damaged(&pending, &error).await)
            }
            Err(error) => Err(AttemptError::Store(error)),
        }
    }

    /// What it means that a file in the spool is not what it was.
    async fn damaged(&self, pending: &Pending, error: &WriteError) -> AttemptError {
        let name = &pending.file.name;
        warn!(name, error = %ErrorChain(error), "file in the spool can't be used");
        // Without the whole spool (a disk that is not mounted) it says nothing about the file.
        if !self.context.spool.is_there().await.unwrap_or(false) {
            return AttemptError::DiskUnusable;
        }
        if pending.step == StoreStep::Original {
            return AttemptError::OriginalDamaged;
        }
        let removed = self.context.spool.remove_made(self.record.id, name).await;
        removed.map_or_else(AttemptError::Spool, |()| AttemptError::VariantLost)
    }

    /// What storing took, waits for the store included.
    fn time_storing(&self, pending: &Pending, began: Duration) {
        let took = self.context.clock.elapsed().saturating_sub(began);
        self.context.metrics.steps().observe_store(pending.step, took);
    }

    fn object(&self, pending: &Pending, body: Body) -> Object {
        Object {
            area: self.record.served_area(),
            sub_dir: self.record.spec.sub_dir.clone(),
            name: pending.file.name.clone(),
            media_type: match pending.step {
                StoreStep::Original => self.record.original.format.media_type(),
                StoreStep::Variant(format) => format.media_type(),
                StoreStep::Manifest => MANIFEST.media_type,
            },
            sha256: pending.file.sha256,
            body,
            trace: self.trace.cloned(),
        }
    }

    async fn note_stored(&self, file: &MadeFile, stored: Stored) {
        let line = StoredLine { file: file.clone(), stored };
        reached(Step::JournalBefore);
        // Without its line, a restart merely writes the file again.
        if let Err(error) = self.journal.append_stored(line.clone()).await {
            warn!(error = %ErrorChain(&error), "stored file can't be journaled");
        }
        reached(Step::JournalAfter);
        self.stored_files.add(line);
        self.publish_progress();
        self.tell_if_everywhere(&file.name).await;
    }

    /// Owes a callback that tells of each file the one that tells of this, once it is in every store. What the queue can't note
    /// now it finds when the job ends.
    async fn tell_if_everywhere(&self, name: &str) {
        if !self.record.callback.as_ref().is_some_and(CallbackTarget::tells_files) {
            return;
        }
        let index = self.record.expected_files().iter().position(|expected| expected == name);
        let Some(index) = index.and_then(|index| u16::try_from(index).ok()) else { return };
        let file = self.files().into_iter().find(|file| file.name == name && file.stored.len() >= self.stores.len());
        let Some(file) = file else { return };
        if let Err(error) = self.context.queue.file_stored(self.lease, index, file).await {
            warn!(name, error = %ErrorChain(&error), "callback about a stored file is put off to the job's end");
        }
    }

    fn publish_progress(&self) {
        self.attempt.set_stored(self.stored_files.files(), self.stored_files.complete(self.stores.len()));
    }
}
