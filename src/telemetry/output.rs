//! Where log lines go: the terminal, and a file if one is asked for.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_appender::rolling::{self, RollingFileAppender};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::filter::{FilterError, parse_filter};
use crate::setting;

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

/// Keeps the log file's writer alive; what it still holds is written when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the log file"]
pub struct Guard(#[expect(dead_code, reason = "kept for its drop")] Option<WorkerGuard>);

/// Sends the events of this process where `settings` say, panics included. Once per process.
///
/// # Errors
/// If the filter is wrong, the file can't be opened, or it has been done before.
pub fn init(settings: &LogSettings) -> Result<Guard, TelemetryError> {
    let filter = parse_filter(&settings.log)?;
    let (file, guard) = match &settings.log_file {
        Some(path) => {
            let (writer, guard) = open(path, settings.log_rotation, settings.log_files_kept)?;
            (Some(lines(settings.log_format, writer, false)), Some(guard))
        }
        None => (None, None),
    };
    let terminal = lines(settings.log_format, io::stderr, io::stderr().is_terminal());
    // The filter is a layer of its own, so that a span is known to both outputs or to none.
    Registry::default().with(vec![terminal].into_iter().chain(file).collect::<Vec<_>>()).with(filter).try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(Guard(guard))
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

fn open(path: &Path, rotation: LogRotation, files_kept: usize) -> Result<(NonBlocking, WorkerGuard), TelemetryError> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| TelemetryError::NoName(path.into()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The whole name is the prefix: a shorter one would let the pruning of old files reach files of others.
    let builder = RollingFileAppender::builder().filename_prefix(name);
    let builder = match rotation {
        // Without dated files there is nothing to prune, and pruning would take the file itself for an old one.
        LogRotation::Never => builder.rotation(rolling::Rotation::NEVER),
        LogRotation::Daily => builder.rotation(rolling::Rotation::DAILY).latest_symlink(name).max_log_files(files_kept),
        LogRotation::Hourly => {
            builder.rotation(rolling::Rotation::HOURLY).latest_symlink(name).max_log_files(files_kept)
        }
    };
    // The library would replace whatever is there by its link.
    if rotation != LogRotation::Never && path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
        return Err(TelemetryError::InTheWay(path.into()));
    }
    let appender = builder.build(directory).map_err(|source| TelemetryError::File { path: path.into(), source })?;
    Ok(tracing_appender::non_blocking(appender))
}

/// A panic is an event like any other: it has a time, its span's ids, and reaches the file.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(error = message, location, backtrace, "thread panicked");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn write_line(path: &Path, rotation: LogRotation, files_kept: usize) -> Result<(), TelemetryError> {
        let (mut writer, guard) = open(path, rotation, files_kept)?;
        writer.write_all(b"a line\n").expect("the line is taken");
        drop((writer, guard));
        Ok(())
    }

    #[test]
    fn the_name_of_a_daily_log_leads_to_the_newest_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logs").join("pixerve.log");
        write_line(&path, LogRotation::Daily, 14).expect("the file opens");
        write_line(&path, LogRotation::Daily, 14).expect("a second start opens it again");
        assert_eq!(fs::read_to_string(&path).expect("the link leads to it"), "a line\na line\n");
        assert!(path.symlink_metadata().expect("it exists").is_symlink());
    }

    #[test]
    fn a_log_that_never_rotates_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pixerve.log");
        write_line(&path, LogRotation::Never, 1).expect("the file opens");
        write_line(&path, LogRotation::Never, 1).expect("a second start opens it again");
        assert_eq!(fs::read_to_string(&path).expect("it is the file"), "a line\na line\n");
    }

    #[test]
    fn a_file_in_the_links_place_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pixerve.log");
        #[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
        fs::write(&path, "precious").expect("it is written");
        let error = write_line(&path, LogRotation::Daily, 14).expect_err("it must not be replaced");
        assert!(error.to_string().contains("log_rotation"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), "precious");
    }

    #[test]
    fn old_log_files_beyond_those_kept_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        for day in 1..=5 {
            fs::File::create(dir.path().join(format!("pixerve.log.2026-01-0{day}"))).expect("an old file");
        }
        fs::File::create(dir.path().join("pixerve-audit.log")).expect("a file of someone else's");
        write_line(&dir.path().join("pixerve.log"), LogRotation::Daily, 3).expect("the file opens");
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("it lists")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        assert_eq!(names.iter().filter(|name| name.starts_with("pixerve.log.")).count(), 3, "{names:?}");
        assert!(names.contains(&"pixerve-audit.log".to_owned()), "{names:?}");
    }
}
