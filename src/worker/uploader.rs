//! Puts the files of one job into its stores, and journals each that is stored.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::attempt::AttemptError;
use super::stored_files::StoredFiles;
use super::stores::JobStore;
use crate::active_jobs::ActiveAttempt;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, JobRecord, StoredFile, VariantSpec, variant_name};
use crate::pipeline::Rendered;
use crate::spool::{Journal, Spool, StoredLine};
use crate::writer::{Body, Object, WriterBackend};

/// Writes of one job that run at once.
const CONCURRENT_PUTS: usize = 8;

/// One file, and what the record says about it.
struct FileUpload {
    object: Object,
    format: &'static str,
    width: u32,
    height: u32,
}

/// Uploads the files of one attempt.
pub(super) struct FileUploader<'a> {
    record: &'a JobRecord,
    attempt: &'a ActiveAttempt,
    stores: &'a [JobStore],
    journal: &'a Journal,
    stored_files: StoredFiles,
    put_permits: Semaphore,
}

impl<'a> FileUploader<'a> {
    /// An uploader that skips what `journal` says is stored.
    pub(super) fn new(
        record: &'a JobRecord,
        attempt: &'a ActiveAttempt,
        stores: &'a [JobStore],
        journal: &'a Journal,
    ) -> Self {
        let stored_files = StoredFiles::new(record, journal.earlier());
        let put_permits = Semaphore::new(CONCURRENT_PUTS);
        let uploader = Self { record, attempt, stores, journal, stored_files, put_permits };
        uploader.publish_progress();
        uploader
    }

    /// Everything stored so far.
    pub(super) fn files(&self) -> Vec<StoredFile> {
        self.stored_files.files()
    }

    /// Whether every file is in every store.
    pub(super) fn is_complete(&self) -> bool {
        self.stored_files.complete(self.stores.len()) == self.record.spec.file_count()
    }

    /// The variants that some store lacks: indices into the job's, ascending.
    pub(super) fn missing_variants(&self) -> Vec<usize> {
        let variants = &self.record.spec.variants;
        (0..variants.len()).filter(|index| self.is_missing(&self.variant_name(&variants[*index]))).collect()
    }

    /// Uploads one variant to every store that lacks it.
    pub(super) async fn upload_variant(&self, variant: &VariantSpec, rendered: Rendered) -> Result<(), AttemptError> {
        let Rendered { width, height, bytes } = rendered;
        let bytes = Bytes::from(bytes);
        let hashed = bytes.clone();
        let sha256 = spawn_blocking(move || ContentHash::of(&hashed))
            .await
            .map_err(|error| AttemptError::Panicked(format!("hashing a variant: {error}")))?;
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name: self.variant_name(variant),
            media_type: variant.format.media_type(),
            sha256,
            body: Body::Bytes(bytes),
        };
        self.upload(&FileUpload { object, format: variant.format.extension(), width, height }).await
    }

    /// Uploads the original to every store that lacks it, if the job keeps it.
    pub(super) async fn upload_original(&self, spool: &Spool) -> Result<(), AttemptError> {
        let original = &self.record.original;
        let name = self.record.original_name();
        if !self.record.spec.keep_original || !self.is_missing(&name) {
            return Ok(());
        }
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name,
            media_type: original.format.media_type(),
            sha256: original.sha256,
            body: Body::File { path: spool.original(self.record.id), bytes: original.bytes },
        };
        let (width, height) = (original.width, original.height);
        self.upload(&FileUpload { object, format: original.format.extension(), width, height }).await
    }

    fn variant_name(&self, variant: &VariantSpec) -> String {
        variant_name(&self.record.hash, &self.record.stem, variant.height, variant.width, variant.format)
    }

    fn is_missing(&self, name: &str) -> bool {
        self.stores.iter().any(|store| !self.stored_files.has(name, store.name(), None))
    }

    /// A store that fails doesn't keep the others from getting theirs.
    async fn upload(&self, upload: &FileUpload) -> Result<(), AttemptError> {
        let Object { name, sha256, .. } = &upload.object;
        let lacking = self.stores.iter().filter(|store| !self.stored_files.has(name, store.name(), Some(sha256)));
        let puts: FuturesUnordered<_> = lacking.map(|store| self.put(store, upload)).collect();
        puts.fold(Ok(()), async |all, one| AttemptError::worse_of(all, one)).await
    }

    async fn put(&self, store: &JobStore, upload: &FileUpload) -> Result<(), AttemptError> {
        let Ok(_permit) = self.put_permits.acquire().await else { return Ok(()) };
        if self.attempt.stop().is_cancelled() {
            return Ok(());
        }
        let FileUpload { object, format, width, height } = upload;
        reached(Step::WriteBeforePut);
        let stored = store.put(object).await.map_err(AttemptError::Store)?;
        let line = StoredLine {
            name: object.name.clone(),
            format: (*format).to_owned(),
            width: *width,
            height: *height,
            bytes: object.body.len(),
            sha256: object.sha256,
            stored,
        };
        reached(Step::JournalBefore);
        // Without its line, a restart merely writes the file again.
        if let Err(error) = self.journal.append(&line).await {
            warn!(error = %ErrorChain(&error), "stored file can't be journaled");
        }
        reached(Step::JournalAfter);
        self.stored_files.add(line);
        self.publish_progress();
        Ok(())
    }

    fn publish_progress(&self) {
        self.attempt.set_stored(self.stored_files.files(), self.stored_files.complete(self.stores.len()));
    }
}
