//! Where log lines go: the terminal, and a file if one is asked for.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tokio::time::sleep;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::filter::{FilterError, parse_filter};
use super::log_file::LogFile;
use crate::setting;

/// Lines that wait for each output, most of them of some hundred bytes.
const LINES_QUEUED_MAX: usize = 8192;
/// Between two looks at how many were dropped.
const DROPPED_EVERY: Duration = Duration::from_secs(5);
/// Bytes of lines that are written at once, at most; a longer line is written by itself.
const BATCH_BYTES: usize = 8 * 1024;
/// Between two writes to an output: lines that come meanwhile are written together.
const BATCH_REST: Duration = Duration::from_millis(1);
/// For what waits when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is logged, how and where to.
#[derive(Clone, Debug, Deserialize)]
pub struct LogSettings {
    /// A filter that [`parse_filter`] understands.
    #[serde(deserialize_with = "filter")]
    pub log: String,
    /// How lines look.
    pub log_format: LogFormat,
    /// A file beside the terminal.
    #[serde(deserialize_with = "setting::optional_path")]
    pub log_file: Option<PathBuf>,
    /// When a new file is begun.
    pub log_rotation: LogRotation,
    /// Files kept, the newest included; 0 keeps them all.
    #[serde(deserialize_with = "setting::count_or_zero")]
    pub log_files_kept: usize,
    /// Bytes of a file; with more a new one is begun.
    #[serde(deserialize_with = "setting::bytes")]
    pub log_bytes_max: u64,
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    setting::parsed(deserializer, r#"a log filter such as "info" or "info,pixerve::worker=debug""#, |text| {
        parse_filter(text).is_ok().then(|| text.to_owned())
    })
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: a line an event, coloured on a terminal.
    Pretty,
    /// For machines: a JSON object a line.
    Json,
}

/// When a new log file is begun; days and hours are UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogRotation {
    /// Every day: `name.2026-01-31`, and `name` is a link to the newest.
    Daily,
    /// Every hour: `name.2026-01-31-23`, and `name` is a link to the newest.
    Hourly,
    /// Never: `name` is the file.
    Never,
}

/// Why logs can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The log file has no name.
    #[error("the log file {} has no name", .0.display())]
    NoName(PathBuf),
    /// A file stands where a link to the newest log file belongs.
    #[error("the log file {} exists and is no link to the newest one: move it away, or set log_rotation to \"never\"", .0.display())]
    InTheWay(PathBuf),
    /// The log file can't be opened.
    #[error("the log file {} can't be opened: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rolling::InitError,
    },
    /// Logs are set up already.
    #[error("logs are set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the writers of the outputs alive; what they still hold is written when it is dropped, within two seconds.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct Guard {
    writers: Vec<WorkerGuard>,
    dropped: DroppedLines,
}

impl Guard {
    /// What there is to tell of lines that were not written.
    #[must_use]
    pub fn dropped_lines(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let writers = std::mem::take(&mut self.writers);
        let (done, is_done) = mpsc::channel();
        // Not here: one that nobody reads is told about on a terminal that nobody reads.
        let flush = move || {
            drop(writers);
            let _ = done.send(());
        };
        if thread::Builder::new().name("log-flush".into()).spawn(flush).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Sends the events of this process where `settings` say, panics included. Once per process.
///
/// Nobody who logs ever waits: lines go through a queue of [`LINES_QUEUED_MAX`] to a thread for each output, and are
/// dropped, and counted, when an output takes them too slowly.
///
/// # Errors
/// If the filter is wrong, the file can't be opened, or it has been done before.
pub fn init(settings: &LogSettings) -> Result<Guard, TelemetryError> {
    let filter = parse_filter(&settings.log)?;
    // That spans can't be exported is said once, by us; the exporter says it again and again.
    #[cfg(feature = "otel")]
    let filter = filter.add_directive("opentelemetry-otlp=off".parse().map_err(FilterError::from)?);
    let (terminal, guard) = non_blocking("log-terminal", io::stderr());
    let (mut counters, mut writers) = (vec![("terminal", terminal.error_counter())], vec![guard]);
    let mut outputs = vec![lines(settings.log_format, terminal, io::stderr().is_terminal())];
    if let Some(path) = &settings.log_file {
        let file = LogFile::open(path, settings.log_rotation, settings.log_files_kept, settings.log_bytes_max)?;
        let (file, guard) = non_blocking("log-file", file);
        counters.push(("file", file.error_counter()));
        writers.push(guard);
        outputs.push(lines(settings.log_format, file, false));
    }
    // The filter is a layer of its own, so that a span is known to both outputs or to none.
    Registry::default().with(outputs).with(filter).try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(Guard { writers, dropped: DroppedLines { counters } })
}

fn non_blocking<W: Write + Send + 'static>(thread: &str, writer: W) -> (NonBlocking, WorkerGuard) {
    let batches = Batches(BufWriter::with_capacity(BATCH_BYTES, writer));
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_QUEUED_MAX).thread_name(thread).finish(batches)
}

/// Writes what has come since the last write at once, and each line whole. A line that comes alone is written as it comes.
///
/// The thread of an output flushes once it has taken all lines there are. To sleep for them each time would cost more than the
/// lines do: whoever logs had to wake it, and it would write each by itself. So it rests a moment instead, in which nobody has to.
struct Batches<W: Write>(BufWriter<W>);

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        thread::sleep(BATCH_REST);
        Ok(())
    }
}

/// The lines that each output did not take.
#[derive(Clone, Debug)]
pub struct DroppedLines {
    counters: Vec<(&'static str, ErrorCounter)>,
}

impl DroppedLines {
    /// Logs how many lines were dropped since the start, whenever that has grown, for as long as it is polled. Always the
    /// sum: this line may be dropped itself, and the next one then tells what it told.
    pub async fn log(self) {
        let mut logged = vec![0; self.counters.len()];
        loop {
            sleep(DROPPED_EVERY).await;
            for ((output, counter), logged) in self.counters.iter().zip(&mut logged) {
                let dropped = counter.dropped_lines();
                if dropped > *logged {
                    tracing::warn!(
                        output,
                        lines = dropped,
                        "log lines dropped since the start: they were read too slowly"
                    );
                    *logged = dropped;
                }
            }
        }
    }
}

/// Events as lines. Colour only where it may be: `NO_COLOR` is honoured.
pub(super) fn lines<S, W>(format: LogFormat, writer: W, is_terminal: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let layer = if is_terminal { layer } else { layer.with_ansi(false) };
    match format {
        LogFormat::Pretty => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed(),
    }
}

/// A panic is an event like any other: it has a time, its span's ids, and reaches the file.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(error = message, location, backtrace, "thread panicked");
}
