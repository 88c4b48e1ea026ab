//! The first stage of an attempt: every variant that is missing is made, and leaves memory as it comes.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::admission::admit;
use super::{Attempt, AttemptError};
use crate::failpoint::{Step, reached};
use crate::job::SourceInfo;
use crate::pipeline::{Admission, Output, RenderRequest, same_as};
use crate::worker::place::PlaceGuard;
use crate::worker::renderer::{RenderJob, RenderedVariants};
use crate::worker::uploader::{FileUploader, PendingUploads};

/// Variants of one job that are on their way to the disk at once. More wait in the process that makes them, which then
/// waits itself: so what one job takes of this process's memory is bounded, however slow the disk is.
const CONCURRENT_TAKES: usize = 4;

impl Attempt<'_> {
    /// Makes every variant that is missing. When this returns, they are in the serve directory or the spool, and the
    /// place is given back.
    pub(super) async fn make_variants(
        &self,
        uploader: &FileUploader<'_>,
        uploads: PendingUploads,
        place: Option<PlaceGuard>,
    ) -> Result<(), AttemptError> {
        let wanted = uploader.missing_variants();
        if wanted.is_empty() {
            return Ok(());
        }
        let Some(place) = place else { return Err(AttemptError::Unmade) };
        let (source, admission) = tokio::select! {
            admitted = admit(self.context, self.record, &place) => admitted?,
            () = self.active.stop().cancelled() => return Ok(()),
        };
        let place = Arc::new(place);
        // It may have to be fetched first.
        let original = tokio::select! {
            opened = self.context.spool.open_original(self.record) => opened.map_err(AttemptError::Spool)?,
            () = self.active.stop().cancelled() => return Ok(()),
        };
        reached(Step::RenderBefore);
        let (task, rendered) = self.context.renderer.start(RenderJob {
            request: self.render_request(wanted, &source, admission),
            original,
            owner: self.record.owner.digest(),
            trace: self.trace.cloned(),
            stop: self.active.stop().clone(),
            timeout: self.context.settings.job_timeout,
            place: Arc::clone(&place),
        });
        let result = self.take_as_rendered(uploader, &uploads, &source, rendered).await;
        if self.is_stopped() {
            return Ok(());
        }
        // In this process a decoder can't be stopped in the middle of a picture; it isn't waited for, but keeps the place.
        if matches!(result, Err(AttemptError::TimedOut | AttemptError::DiskUnusable)) && !task.is_finished() {
            return result;
        }
        if let Err(AttemptError::DiskUnusable) = result {
            return result;
        }
        let placeholder = AttemptError::of_rendering(task.await).and_then(|made| result.map(|()| made))?;
        if let Some(placeholder) = placeholder {
            uploader.keep_placeholder(placeholder).await;
        }
        self.context.shortage.end();
        Ok(())
    }

    fn render_request(&self, wanted: Vec<usize>, source: &SourceInfo, admission: Admission) -> RenderRequest {
        let variants = self.record.spec.variants.clone();
        RenderRequest {
            outputs: variants.iter().map(|variant| Output::of(variant, source)).collect(),
            variants,
            wanted,
            source_bytes: self.record.original.bytes,
            limits: self.context.limit_of(self.record).pixels,
            admission,
            avif_engine: self.context.settings.avif_engine,
            placeholder: self.record.spec.placeholder,
        }
    }

    /// Returns when everything is rendered and taken; when the attempt is stopped or rendering takes too long, as soon as
    /// the disk has what came before.
    async fn take_as_rendered(
        &self,
        uploader: &FileUploader<'_>,
        uploads: &PendingUploads,
        source: &SourceInfo,
        mut rendered: RenderedVariants,
    ) -> Result<(), AttemptError> {
        let variants = &self.record.spec.variants;
        let mut takes = FuturesUnordered::new();
        let mut result = Ok(());
        let mut is_rendering = true;
        let mut timeout = pin!(tokio::time::sleep(self.context.settings.job_timeout));
        while is_rendering || !takes.is_empty() {
            tokio::select! {
                () = self.active.stop().cancelled(), if is_rendering => is_rendering = false,
                () = &mut timeout, if is_rendering => {
                    // Not the job's fault, if it waits for the disk.
                    if takes.len() >= CONCURRENT_TAKES {
                        return Err(AttemptError::DiskUnusable);
                    }
                    is_rendering = false;
                    result = Err(AttemptError::TimedOut);
                }
                next = rendered.recv(), if is_rendering && takes.len() < CONCURRENT_TAKES => match next {
                    Some((index, file)) => {
                        let earlier = same_as(index, variants, source).map(|earlier| &variants[earlier]);
                        takes.push(uploader.take_variant(uploads, &variants[index], earlier, file));
                    }
                    None => is_rendering = false,
                },
                Some(next) = takes.next() => result = AttemptError::worse_of(result, next),
            }
        }
        result
    }
}
