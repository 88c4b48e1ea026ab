//! The server's side: starts children and sends each its request and original.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use serde::Deserialize;
use tokio::io::BufReader;
use tokio::process::Command;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, spawn_blocking};

use super::child::{PROBE, SUBCOMMAND};
use super::error::{exit_error, last_line, stderr_of};
use super::idle_children::{ChildProcess, IdleChildren};
use super::metrics::{DeathCause, SandboxMetrics};
use super::protocol;
use super::receive::{ProtocolError, StepsTold, receive_variants};
use super::{Confinement, SandboxError, SandboxMode};
use crate::error_chain::ErrorChain;
use crate::job::{OwnerKey, Placeholder, TraceContext};
use crate::pipeline::{PipelineError, RenderRequest, Rendered, StepMetrics};
use crate::setting;

/// For a child to answer how well it is confined.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a pipe holds: the most that Linux grants an unprivileged process.
const PIPE_BYTES: usize = 1024 * 1024;

/// How children are run.
#[derive(Clone, Debug, Deserialize)]
pub struct SandboxSettings {
    /// Whether jobs run in child processes at all.
    pub sandbox: SandboxMode,
    /// Time from a request until the child has decoded its original.
    #[serde(deserialize_with = "setting::duration")]
    pub decode_timeout: Duration,
    /// How long a child may wait for another job of its owner; zero gives every job a new child.
    #[serde(deserialize_with = "setting::duration_or_zero")]
    pub sandbox_idle_timeout: Duration,
    /// How many may wait at once: one for each worker.
    #[serde(rename = ".max_workers", deserialize_with = "setting::workers")]
    pub max_workers: usize,
}

/// Has variants made by child processes.
#[derive(Debug)]
pub struct Sandbox {
    /// The binary that is started; it must pass [`SUBCOMMAND`] on to [`child_main`](super::child_main).
    program: PathBuf,
    settings: SandboxSettings,
    idle: Arc<IdleChildren>,
    metrics: SandboxMetrics,
    steps: StepMetrics,
}

impl Sandbox {
    /// A sandbox whose children run `program`; none is started yet. How long their steps take is told to `steps`.
    #[must_use]
    pub fn new(program: PathBuf, settings: SandboxSettings, steps: StepMetrics) -> Self {
        let is_strict = settings.sandbox == SandboxMode::Strict;
        let idle_timeout = if is_strict { Duration::ZERO } else { settings.sandbox_idle_timeout };
        let idle = Arc::new(IdleChildren::new(settings.max_workers, idle_timeout));
        Self { program, settings, idle, metrics: SandboxMetrics::default(), steps }
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &SandboxMetrics {
        &self.metrics
    }

    /// Counts a child that is killed because its job takes too long.
    pub fn note_timeout(&self) {
        self.metrics.died(DeathCause::Timeout);
    }

    /// Starts a child that finds out how well it is confined on this system.
    ///
    /// # Errors
    /// If no child can be started, or it doesn't answer within 10 s.
    pub async fn probe(&self) -> io::Result<Confinement> {
        let mut child = self.command().arg(PROBE).stdin(Stdio::null()).spawn()?;
        let Some(mut output) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let answer = tokio::time::timeout(PROBE_TIMEOUT, protocol::receive(&mut output)).await?;
        // A child that can't confine itself says why, and ends.
        match answer {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let said = tokio::time::timeout(PROBE_TIMEOUT, stderr_of(&mut child)).await?;
                Err(last_line(&said).map_or(error, io::Error::other))
            }
            answer => answer,
        }
    }

    /// Has the wanted variants of `original`, which is read from its start, made by a child that has worked for this
    /// `owner` only. Each is sent to `deliver` with its index as soon as it is made; while that has no room, the child waits.
    /// Its steps are told as parts of `trace`. Dropping the future kills the child. Answers what stands in the picture's place, if
    /// that is wanted.
    ///
    /// # Errors
    /// What stopped the request. What was delivered before stays delivered.
    pub async fn render(
        &self,
        original: File,
        mut request: RenderRequest,
        owner: OwnerKey,
        trace: Option<&TraceContext>,
        deliver: Sender<(usize, Rendered)>,
    ) -> Result<Option<Placeholder>, SandboxError> {
        let (original, steps) = (Arc::new(original), StepsTold { metrics: &self.steps, trace });
        if let Some(child) = self.idle.take(owner, request.admission.bytes) {
            let mut delivered = Vec::new();
            match self.run(child, &request, &original, steps, &deliver, &mut delivered).await {
                Ok((child, placeholder)) => {
                    self.idle.put(owner, child);
                    return Ok(placeholder);
                }
                Err(error @ SandboxError::Pixels(PipelineError::DecodeTimeout { .. })) => return Err(error),
                // The cause may be an earlier job; with a new child it can only be this one.
                Err(error) => tracing::debug!(
                    error = ErrorChain(&error).to_string(),
                    "reused child failed; trying the job with a new one"
                ),
            }
            request.wanted.retain(|index| !delivered.contains(index));
            (&*original).rewind().map_err(SandboxError::unreadable)?;
        }
        let child = self.start(request.admission.bytes)?;
        let (child, placeholder) = self.run(child, &request, &original, steps, &deliver, &mut Vec::new()).await?;
        self.idle.put(owner, child);
        Ok(placeholder)
    }

    fn start(&self, memory_max: u64) -> Result<ChildProcess, SandboxError> {
        let (theirs, ours) =
            io::pipe().map_err(SandboxError::io("a pipe to the process that makes variants can't be made"))?;
        let spawned = self.command().stdin(theirs).spawn();
        let mut child = spawned.map_err(SandboxError::io("the process that makes variants can't be started"))?;
        let Some(output) = child.stdout.take() else {
            return Err(SandboxError::Protocol("it has no pipe".to_owned()));
        };
        // Larger pipes mean fewer context switches. Where the kernel refuses, the usual size does.
        let _ = (fcntl_setpipe_size(&ours, PIPE_BYTES), fcntl_setpipe_size(&output, PIPE_BYTES));
        let input = File::from(OwnedFd::from(ours));
        let (output, count) = (BufReader::new(output), self.metrics.child());
        Ok(ChildProcess { child, input: Some(input), output, memory_max, jobs: 0, count })
    }

    /// Gives the child back if it has made everything. Notes what it has `delivered`.
    async fn run(
        &self,
        process: ChildProcess,
        request: &RenderRequest,
        original: &Arc<File>,
        steps: StepsTold<'_>,
        deliver: &Sender<(usize, Rendered)>,
        delivered: &mut Vec<usize>,
    ) -> Result<(ChildProcess, Option<Placeholder>), SandboxError> {
        let ChildProcess { mut child, input, mut output, memory_max, jobs, count } = process;
        let sending = send(input, request, Arc::clone(original), self.idle.is_enabled());
        let timeout = self.settings.decode_timeout;
        let error = match receive_variants(&mut output, request, timeout, steps, deliver, delivered).await {
            Ok(Ok(placeholder)) => {
                // A child that didn't read its original to the end can't be sent another request.
                let input =
                    if sending.is_finished() { sending.await.ok().and_then(Result::ok).flatten() } else { None };
                let child = ChildProcess { child, input, output, memory_max, jobs: jobs + 1, count };
                return Ok((child, placeholder));
            }
            Ok(Err(error)) => error.into(),
            Err(ProtocolError::Violation(what)) => SandboxError::Protocol(what),
            Err(ProtocolError::Eof) => exit_error(&mut child, memory_max).await,
        };
        if let Some(cause) = DeathCause::of(&error) {
            self.metrics.died(cause);
        }
        // Kills the child: a sender that waits for it to read comes to an end. What stopped the sender may be the cause.
        drop(child);
        match sending.await {
            Ok(Err(cause)) => Err(cause),
            _ => Err(error),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// Writes the request and the original; gives the pipe back if it is to stay open (`keep_open`). That the child stops
/// reading is no error here: its output says why.
///
/// On a thread of its own, through a pipe that blocks: so the kernel can move the original's pages into it by itself.
fn send(
    input: Option<File>,
    request: &RenderRequest,
    original: Arc<File>,
    keep_open: bool,
) -> JoinHandle<Result<Option<File>, SandboxError>> {
    let (header, bytes) = (protocol::encode(request), request.source_bytes);
    spawn_blocking(move || {
        let header = header.map_err(SandboxError::io("the request can't be encoded"))?;
        let Some(mut input) = input else { return Ok(None) };
        if input.write_all(&header).is_err() {
            return Ok(None);
        }
        match io::copy(&mut original.take(bytes), &mut input) {
            Ok(copied) if copied == bytes => Ok(keep_open.then_some(input)),
            // Cut short on the disk: the end of the pipe tells the child, which finds the picture truncated.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(SandboxError::unreadable(error)),
        }
    })
}
