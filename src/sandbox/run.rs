//! The server's side: start a child, give it its order, take what it makes, and notice how it ends.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Confinement;
use super::child::{PROBE, SUBCOMMAND};
use super::kept::{Kept, Running};
use super::protocol::{self, Order, Report};
use crate::encoder::AvifEngine;
use crate::job::VariantSpec;
use crate::pipeline::{Admission, PipelineError, PixelLimits, Rendered};

/// A child that doesn't even answer whether it is confined is broken.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// What a dying child may have to say.
const LAST_WORDS_BYTES_MAX: u64 = 4096;

/// What Rust's standard library says before it aborts because it was refused memory. Tests run a child into it, so that a
/// change of these words would be noticed.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// SIGABRT.
const ABORTED: i32 = 6;

/// Bytes of a file beyond what its pixels could take uncompressed: headers, and formats that grow.
const FILE_BYTES_SLACK: u64 = 1024 * 1024;

/// Bytes that a pixel has before it is compressed.
const BYTES_A_PIXEL_MAX: u64 = 4;

/// How children work.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The binary that is started; it must pass [`SUBCOMMAND`] on to [`child_main`](super::child_main).
    pub program: PathBuf,
    /// What a source may be.
    pub limits: PixelLimits,
    /// What makes AVIF.
    pub avif_engine: AvifEngine,
    /// Time from a child's start until it has decoded the original.
    pub decode_timeout: Duration,
    /// How many children may wait at once for another job of their owner.
    pub keep_max: usize,
    /// For how long; zero gives every job a new child.
    pub keep: Duration,
}

/// What a child is to make.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// All of the job's.
    pub variants: &'a [VariantSpec],
    /// Those of them that are to be made: indices, ascending.
    pub wanted: &'a [usize],
    /// What it may take.
    pub admission: Admission,
    /// Stands for whoever the job belongs to.
    pub owner: [u8; 32],
}

/// Why a child gave no or not all files.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// The picture can't be made; the child said so.
    #[error(transparent)]
    Pixels(#[from] PipelineError),
    /// The child died.
    #[error("the process that made its variants {how}{words}")]
    Died {
        /// As in `was killed by signal 9`.
        how: String,
        /// What it wrote before, behind a colon.
        words: String,
    },
    /// The child was refused memory.
    #[error(
        "making its variants took more than the {mib} MiB of memory that this job was given; ask for smaller or fewer \
         sizes, or tell whoever runs this server, who can raise PIXERVE_WORKER_MEMORY_MAX"
    )]
    OutOfMemory {
        /// Its cap.
        mib: u64,
    },
    /// The child says what no child of ours says.
    #[error("the process that made its variants broke its protocol: {0}")]
    Protocol(String),
    /// There is no child, or no original to give it.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Starts children.
#[derive(Debug)]
pub struct Sandbox {
    settings: SandboxSettings,
    kept: Arc<Kept>,
}

impl Sandbox {
    /// A sandbox; nothing is started yet.
    #[must_use]
    pub fn new(settings: SandboxSettings) -> Self {
        let kept = Arc::new(Kept::new(settings.keep_max, settings.keep));
        Self { settings, kept }
    }

    /// Lets a child find out how well it is confined here.
    ///
    /// # Errors
    /// If no child can be started, or it doesn't answer.
    pub async fn probe(&self) -> io::Result<Confinement> {
        let mut child = self.command().arg(PROBE).stdin(Stdio::null()).spawn()?;
        let Some(mut output) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        tokio::time::timeout(PROBE_PATIENCE, protocol::receive(&mut output)).await?
    }

    /// Has the wanted variants of the original made by a child, which hands each to `deliver` with its index as soon as it is
    /// done. To stop it, drop the future: that kills the child.
    ///
    /// # Errors
    /// What stopped the job. What was delivered before stays delivered.
    pub async fn render(
        &self,
        original: File,
        task: Task<'_>,
        mut deliver: impl FnMut(usize, Rendered),
    ) -> Result<(), CageError> {
        let source_bytes = original.metadata().map_err(unreadable)?.len();
        let original = Arc::new(original);
        let mut order = Order {
            variants: task.variants.to_vec(),
            wanted: task.wanted.to_vec(),
            limits: self.settings.limits,
            threads: task.admission.threads,
            avif_engine: self.settings.avif_engine,
            memory_max: task.admission.bytes,
            source_bytes,
        };
        if let Some(running) = self.kept.take(task.owner, task.admission.bytes) {
            let mut delivered = Vec::new();
            let deliver = |index, file| {
                delivered.push(index);
                deliver(index, file);
            };
            match self.work(running, &order, &original, deliver).await {
                Ok(running) => {
                    self.kept.put(task.owner, running);
                    return Ok(());
                }
                Err(error @ CageError::Pixels(PipelineError::DecodeTimeout { .. })) => return Err(error),
                // Whether an earlier job is to blame, a new child shows.
                Err(error) => tracing::debug!(%error, "a child that was kept failed; a new one does its job"),
            }
            order.wanted.retain(|index| !delivered.contains(index));
            (&*original).rewind().map_err(unreadable)?;
        }
        let running = self.start(task.admission.bytes)?;
        let running = self.work(running, &order, &original, deliver).await?;
        self.kept.put(task.owner, running);
        Ok(())
    }

    fn start(&self, memory_max: u64) -> Result<Running, CageError> {
        let (theirs, ours) = io::pipe().map_err(io_error("the process that makes variants can't be given a pipe"))?;
        let spawned = self.command().stdin(theirs).spawn();
        let mut child = spawned.map_err(io_error("the process that makes variants can't be started"))?;
        let Some(output) = child.stdout.take() else {
            return Err(CageError::Protocol("it has no pipe".to_owned()));
        };
        // More at once, fewer turns. What the kernel doesn't grant, it does without.
        let _ = (fcntl_setpipe_size(&ours, PIPE_BYTES), fcntl_setpipe_size(&output, PIPE_BYTES));
        let input = File::from(OwnedFd::from(ours));
        Ok(Running { child, input: Some(input), output: BufReader::new(output), memory_max, jobs: 0 })
    }

    /// One job by this child, which is given back if it has done it well.
    async fn work(
        &self,
        running: Running,
        order: &Order,
        original: &Arc<File>,
        deliver: impl FnMut(usize, Rendered),
    ) -> Result<Running, CageError> {
        let Running { mut child, input, mut output, memory_max, jobs } = running;
        // Its cap stays as it was set.
        let order = &Order { memory_max, ..order.clone() };
        let giving = give_order(input, order, Arc::clone(original), self.kept.keeps());
        let error = match take_reports(&mut output, order, self.settings.decode_timeout, deliver).await {
            Ok(Ok(())) => {
                // In the middle of an original nobody can tell it anything else.
                let input = if giving.is_finished() { giving.await.ok().and_then(Result::ok).flatten() } else { None };
                return Ok(Running { child, input, output, memory_max, jobs: jobs + 1 });
            }
            Ok(Err(error)) => error.into(),
            Err(Broken::Deed(deed)) => CageError::Protocol(deed),
            Err(Broken::Silence) => last_words(&mut child, memory_max).await,
        };
        // It dies, so that whoever gives it the original comes to an end, who may be the cause, too.
        drop(child);
        match giving.await {
            Ok(Err(cause)) => Err(cause),
            _ => Err(error),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.settings.program);
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

fn unreadable(source: io::Error) -> CageError {
    CageError::Io { what: "the original can't be read", source }
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> CageError {
    move |source| CageError::Io { what, source }
}

/// Writes the order and the original; gives back the way to the child if it is to `keep` that. That the child doesn't listen
/// to the end is no error: it says why itself.
///
/// In a thread of its own, with a pipe that blocks: so the kernel can move the original's pages into the pipe by itself.
fn give_order(
    input: Option<File>,
    order: &Order,
    original: Arc<File>,
    keep: bool,
) -> JoinHandle<Result<Option<File>, CageError>> {
    let (header, bytes) = (protocol::encode(order), order.source_bytes);
    spawn_blocking(move || {
        let header = header.map_err(io_error("the job can't be written down"))?;
        let Some(mut input) = input else { return Ok(None) };
        if input.write_all(&header).is_err() {
            return Ok(None);
        }
        match io::copy(&mut original.take(bytes), &mut input) {
            Ok(copied) if copied == bytes => Ok(keep.then_some(input)),
            Ok(_) => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    })
}

/// What a pipe holds: the most that Linux grants without being asked as root.
const PIPE_BYTES: usize = 1024 * 1024;

/// How a child fails its protocol.
enum Broken {
    /// It ended without a last report.
    Silence,
    /// It said something that makes no sense.
    Deed(String),
}

/// Takes reports until the last. The child may be in a stranger's hands: nothing it says is believed that the order
/// doesn't allow.
async fn take_reports(
    mut output: &mut BufReader<ChildStdout>,
    order: &Order,
    decode_timeout: Duration,
    mut deliver: impl FnMut(usize, Rendered),
) -> Result<Result<(), PipelineError>, Broken> {
    let deed = |what: String| Err(Broken::Deed(what));
    let mut delivered: Vec<bool> =
        (0..order.variants.len()).map(|index| order.wanted.binary_search(&index).is_err()).collect();
    let mut bytes_left = order.limits.output_pixels_max.saturating_mul(BYTES_A_PIXEL_MAX);
    let mut decoded = false;
    let decoding_ends = Instant::now() + decode_timeout;
    loop {
        let receiving = protocol::receive(output);
        let received = if decoded {
            receiving.await
        } else if let Ok(received) = timeout_at(decoding_ends, receiving).await {
            received
        } else {
            return Ok(Err(PipelineError::DecodeTimeout { secs: decode_timeout.as_secs() }));
        };
        let report = match received {
            Ok(report) => report,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Broken::Silence),
            Err(error) => return deed(error.to_string()),
        };
        match report {
            Report::Decoded => decoded = true,
            Report::Done if delivered.iter().all(|done| *done) => return Ok(Ok(())),
            Report::Done => return deed("it ended before all variants were there".to_owned()),
            Report::Failed(error) => return Ok(Err(error)),
            Report::Variant { index, width, height, bytes } => {
                match delivered.get_mut(index) {
                    Some(done) if !*done => *done = true,
                    _ => return deed(format!("variant {index} is not wanted, or came twice")),
                }
                // An animation has as many pixels more as it has frames.
                let still = u64::from(width) * u64::from(height) * BYTES_A_PIXEL_MAX;
                let bytes_max = if order.variants[index].animated { bytes_left } else { still.min(bytes_left) };
                if width == 0 || height == 0 || bytes > bytes_max + FILE_BYTES_SLACK {
                    return deed(format!("a file of {bytes} bytes for {width} x {height} pixels"));
                }
                bytes_left = bytes_left.saturating_sub(bytes);
                let mut file = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
                let taken = (&mut output).take(bytes).read_to_end(&mut file).await;
                if taken.ok().and_then(|taken| u64::try_from(taken).ok()) != Some(bytes) {
                    return Err(Broken::Silence);
                }
                deliver(index, Rendered { width, height, bytes: file });
            }
        }
    }
}

/// How the child ended, with what it wrote about that.
async fn last_words(child: &mut Child, memory_max: u64) -> CageError {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut words).await;
    }
    let all_words = String::from_utf8_lossy(&words);
    let ran_out = all_words.lines().any(|line| line.contains(OUT_OF_MEMORY));
    let words = all_words
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default();
    match child.wait().await {
        Ok(status) if ran_out && status.signal() == Some(ABORTED) => {
            CageError::OutOfMemory { mib: memory_max.div_ceil(1024 * 1024) }
        }
        Ok(status) => CageError::Died { how: ended(status), words },
        Err(source) => CageError::Io { what: "the process that made its variants is lost", source },
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".to_owned(),
    }
}
