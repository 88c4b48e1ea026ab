//! Where a job's variants are made: in a child process, or, where there can be none, in this one.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::place::PlaceGuard;
use crate::clock::SharedClock;
use crate::job::{OwnerKey, Placeholder, TraceContext};
use crate::pipeline::{Engine, PipelineError, RenderRequest, Rendered};
use crate::sandbox::{Sandbox, SandboxError};

/// Makes variants.
#[derive(Clone)]
pub enum Renderer {
    /// In confined child processes.
    Sandboxed(Arc<Sandbox>),
    /// In this process, by one engine for all jobs: its threads, limits and codecs count, not the request's.
    InProcess(Arc<Engine>, SharedClock),
}

/// A request, and what stays in this process.
pub(super) struct RenderJob {
    pub(super) request: RenderRequest,
    /// Read from its start.
    pub(super) original: File,
    /// See [`Owner::digest`](crate::job::Owner::digest).
    pub(super) owner: OwnerKey,
    /// What the steps of a child are parts of.
    pub(super) trace: Option<TraceContext>,
    pub(super) stop: CancellationToken,
    pub(super) timeout: Duration,
    /// Kept until nothing of the job is worked on any more.
    pub(super) place: Arc<PlaceGuard>,
}

/// Rendering under way, which comes to what stands in the picture's place, if that is wanted. A stop or the time-out is [`PipelineError::Cancelled`].
pub(super) type RenderTask = JoinHandle<Result<Option<Placeholder>, SandboxError>>;

/// Variants as they are made, with their indices into the request's.
pub(super) type RenderedVariants = Receiver<(usize, Rendered)>;

impl Renderer {
    /// Begins to render.
    pub(super) fn start(&self, job: RenderJob) -> (RenderTask, RenderedVariants) {
        // Whoever receives writes to the disk: while that is slow, the encoders of this job wait.
        let (deliver, variants) = mpsc::channel(1);
        let task = match self {
            Self::Sandboxed(sandbox) => {
                tokio::spawn(render_sandboxed(Arc::clone(sandbox), job, deliver).in_current_span())
            }
            Self::InProcess(engine, clock) => render_in_process(Arc::clone(engine), Arc::clone(clock), job, deliver),
        };
        (task, variants)
    }
}

async fn render_sandboxed(
    sandbox: Arc<Sandbox>,
    job: RenderJob,
    deliver: Sender<(usize, Rendered)>,
) -> Result<Option<Placeholder>, SandboxError> {
    let RenderJob { request, original, owner, trace, stop, timeout, place: _place } = job;
    let rendering = sandbox.render(original, request, owner, trace.as_ref(), deliver);
    // Dropping `rendering` kills the child.
    tokio::select! {
        outcome = rendering => outcome,
        () = stop.cancelled() => Err(PipelineError::Cancelled.into()),
        () = tokio::time::sleep(timeout) => {
            sandbox.note_timeout();
            Err(PipelineError::Cancelled.into())
        }
    }
}

fn render_in_process(
    engine: Arc<Engine>,
    clock: SharedClock,
    job: RenderJob,
    deliver: Sender<(usize, Rendered)>,
) -> RenderTask {
    let span = tracing::Span::current();
    spawn_blocking(move || {
        let _entered = span.entered();
        let RenderJob { request, mut original, stop, timeout, place: _place, .. } = job;
        let deadline = clock.elapsed() + timeout;
        let mut source = Vec::new();
        original.read_to_end(&mut source).map_err(SandboxError::unreadable)?;
        let cancelled = || stop.is_cancelled() || clock.elapsed() >= deadline;
        let deliver = |index, variant| {
            // Nobody receives once the job is stopped.
            let _ = deliver.blocking_send((index, variant));
        };
        let wanted = |index| request.is_wanted(index);
        if !request.placeholder {
            engine.render(source, &request.variants, &wanted, &cancelled, &|| (), &deliver)?;
            return Ok(None);
        }
        Ok(engine.render_with_placeholder(source, &request.variants, &wanted, &cancelled, &|| (), &deliver)?)
    })
}
