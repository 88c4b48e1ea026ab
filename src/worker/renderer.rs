//! Where a job's pixels are worked on: in a child of its own, or, where there can be none, in this process.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::budget::MemoryShare;
use crate::clock::SharedClock;
use crate::job::VariantSpec;
use crate::pipeline::{Admission, Engine, PipelineError, Rendered};
use crate::sandbox::{CageError, Sandbox, Task};

/// Makes variants.
#[derive(Clone)]
pub enum Renderer {
    /// In a confined child process a job.
    Caged(Arc<Sandbox>),
    /// In this process, by one engine for all jobs.
    InProcess(Arc<Engine>, SharedClock),
}

/// What is to be made, and for how long it is wanted.
pub(super) struct Order {
    /// Read from its start.
    pub(super) original: File,
    /// All of the job's.
    pub(super) variants: Vec<VariantSpec>,
    /// Those of them that are to be made, by index, ascending.
    pub(super) wanted: Vec<usize>,
    /// Stands for the job's owner.
    pub(super) owner: [u8; 32],
    pub(super) stop: CancellationToken,
    pub(super) timeout: Duration,
    /// What a child may take.
    pub(super) admission: Admission,
    /// Given back when nothing of this is in memory any more.
    pub(super) memory: MemoryShare,
}

/// Work on a job's pixels, under way.
pub(super) type Rendering = JoinHandle<Result<(), CageError>>;

/// Finished files, with their indices into the order's variants.
pub(super) type Files = UnboundedReceiver<(usize, Rendered)>;

impl Renderer {
    /// Begins. Files come out of the channel as they are done.
    pub(super) fn start(&self, order: Order) -> (Rendering, Files) {
        // Unbounded, since a slow store must not hold up the encoders of all jobs; a job's own limits bound it.
        let (deliver, files) = mpsc::unbounded_channel();
        let rendering = match self {
            Self::Caged(sandbox) => tokio::spawn(caged(Arc::clone(sandbox), order, deliver).in_current_span()),
            Self::InProcess(engine, clock) => in_process(Arc::clone(engine), Arc::clone(clock), order, deliver),
        };
        (rendering, files)
    }
}

async fn caged(
    sandbox: Arc<Sandbox>,
    order: Order,
    deliver: UnboundedSender<(usize, Rendered)>,
) -> Result<(), CageError> {
    let Order { original, variants, wanted, owner, admission, stop, timeout, memory: _memory } = order;
    let task = Task { variants: &variants, wanted: &wanted, admission, owner };
    let work = sandbox.render(original, task, |index, file| {
        // Nobody listens once the job is stopped.
        let _ = deliver.send((index, file));
    });
    // Whichever ends first: letting go of the work kills the child.
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(PipelineError::Cancelled.into()),
        () = tokio::time::sleep(timeout) => Err(PipelineError::Cancelled.into()),
    }
}

fn in_process(
    engine: Arc<Engine>,
    clock: SharedClock,
    order: Order,
    deliver: UnboundedSender<(usize, Rendered)>,
) -> Rendering {
    let span = tracing::Span::current();
    spawn_blocking(move || {
        let _entered = span.entered();
        let Order { mut original, variants, wanted, stop, timeout, memory: _memory, .. } = order;
        let deadline = clock.elapsed() + timeout;
        let mut source = Vec::new();
        original.read_to_end(&mut source).map_err(unreadable)?;
        let cancelled = || stop.is_cancelled() || clock.elapsed() >= deadline;
        let deliver = |index, file| {
            let _ = deliver.send((index, file));
        };
        let wanted = |index| wanted.binary_search(&index).is_ok();
        Ok(engine.render_wanted(source, &variants, &wanted, &cancelled, &|| (), &deliver)?)
    })
}

fn unreadable(source: std::io::Error) -> CageError {
    CageError::Io { what: "the original can't be read", source }
}
