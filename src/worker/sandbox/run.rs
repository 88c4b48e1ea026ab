//! The server's side: start a child, give it its order, take what it makes, and notice how it ends.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::Confinement;
use super::child::{PROBE, SUBCOMMAND};
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
}

impl Sandbox {
    /// A sandbox; nothing is started yet.
    #[must_use]
    pub fn new(settings: SandboxSettings) -> Self {
        Self { settings }
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

    /// Has those `variants` of the original that are `wanted` (indices, ascending) made by a new child that takes no more than
    /// admitted, which hands each to `deliver` with its index as soon as it is done. To stop it, drop the future: that kills
    /// the child.
    ///
    /// # Errors
    /// What stopped the job. What was delivered before stays delivered.
    pub async fn render(
        &self,
        original: File,
        variants: &[VariantSpec],
        wanted: &[usize],
        admission: Admission,
        deliver: impl FnMut(usize, Rendered),
    ) -> Result<(), CageError> {
        let source_bytes = original.metadata().await.map_err(io_error("the original can't be read"))?.len();
        let order = Order {
            variants: variants.to_vec(),
            wanted: wanted.to_vec(),
            limits: self.settings.limits,
            threads: admission.threads,
            avif_engine: self.settings.avif_engine,
            memory_max: admission.bytes,
            source_bytes,
        };
        let spawned = self.command().stdin(Stdio::piped()).spawn();
        let mut child = spawned.map_err(io_error("the process that makes variants can't be started"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(CageError::Protocol("it has no pipes".to_owned()));
        };
        let reading = take_reports(BufReader::new(output), &order, self.settings.decode_timeout, deliver);
        let (given, taken) = tokio::join!(give_order(input, &order, original), reading);
        match (taken, given) {
            // Whatever it had to say counts, even if it didn't hear us out.
            (Ok(outcome), _) => Ok(outcome?),
            (Err(Broken::Deed(deed)), _) => Err(CageError::Protocol(deed)),
            (Err(Broken::Silence), Err(error @ CageError::Io { .. })) => Err(error),
            (Err(Broken::Silence), _) => Err(last_words(child, admission.bytes).await),
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

fn io_error(what: &'static str) -> impl Fn(io::Error) -> CageError {
    move |source| CageError::Io { what, source }
}

/// Writes the order and the original. That the child doesn't listen to the end is no error: it says why itself.
async fn give_order(mut input: ChildStdin, order: &Order, original: File) -> Result<(), CageError> {
    let header = protocol::encode(order).map_err(io_error("the job can't be written down"))?;
    if input.write_all(&header).await.is_err() {
        return Ok(());
    }
    let mut original = original.take(order.source_bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = original.read(&mut chunk).await.map_err(io_error("the original can't be read"))?;
        if read == 0 || input.write_all(&chunk[..read]).await.is_err() {
            return Ok(());
        }
    }
}

/// Read from the original at once: each read crosses to another thread and back.
const CHUNK_BYTES: usize = 1024 * 1024;

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
    mut output: BufReader<ChildStdout>,
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
        let receiving = protocol::receive(&mut output);
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
async fn last_words(mut child: Child, memory_max: u64) -> CageError {
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
