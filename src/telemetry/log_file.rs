//! The log file: a new one each day or hour, and whenever one has as many bytes as it may.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tracing_appender::rolling::{self, RollingFileAppender};

use super::output::{LogRotation, TelemetryError};

/// Writes to the newest file. One that is full is renamed: it has a number behind its name, the largest the newest.
pub(super) struct LogFile {
    appender: RollingFileAppender,
    path: PathBuf,
    rotation: LogRotation,
    files_kept: usize,
    bytes_max: u64,
    /// Bytes of the current file, or more, if a new one was begun for its date.
    bytes: u64,
}

impl LogFile {
    /// The file, or the link to the newest file, at `path`; `files_kept` of 0 keeps them all.
    pub(super) fn open(
        path: &Path,
        rotation: LogRotation,
        files_kept: usize,
        bytes_max: u64,
    ) -> Result<Self, TelemetryError> {
        // The library would replace whatever is there by its link.
        if rotation != LogRotation::Never && path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
            return Err(TelemetryError::InTheWay(path.into()));
        }
        let appender = appender(path, rotation, files_kept)?;
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { appender, path: path.into(), rotation, files_kept, bytes_max, bytes })
    }

    /// Begins a new file, unless that has been done for its date.
    fn rotate(&mut self) -> io::Result<()> {
        self.bytes = self.path.metadata().map_or(0, |metadata| metadata.len());
        if self.bytes < self.bytes_max {
            return Ok(());
        }
        let current =
            if self.rotation == LogRotation::Never { self.path.clone() } else { fs::canonicalize(&self.path)? };
        let numbers = numbers_of(&current);
        let next = numbers.last().map_or(1, |last| last + 1);
        fs::rename(&current, numbered(&current, next))?;
        self.appender = appender(&self.path, self.rotation, self.files_kept).map_err(io::Error::other)?;
        self.bytes = 0;
        // Dated files are pruned by the library, their numbered ones included.
        if self.rotation == LogRotation::Never && self.files_kept > 0 {
            let surplus = (numbers.len() + 2).saturating_sub(self.files_kept);
            for number in numbers.into_iter().chain([next]).take(surplus) {
                fs::remove_file(numbered(&current, number))?;
            }
        }
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes.saturating_add(line.len() as u64) > self.bytes_max
            && let Err(error) = self.rotate()
        {
            // Tried again a tenth later: a log that is too large is better than none.
            self.bytes = self.bytes_max / 10 * 9;
            drop(error);
        }
        let written = self.appender.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.appender.flush()
    }
}

fn appender(path: &Path, rotation: LogRotation, files_kept: usize) -> Result<RollingFileAppender, TelemetryError> {
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
    builder.build(directory).map_err(|source| TelemetryError::File { path: path.into(), source })
}

/// The numbers behind the name of `path` that files beside it have, in order.
fn numbers_of(path: &Path) -> Vec<u64> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names =
        fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers: Vec<u64> =
        names.filter_map(|other| other.strip_prefix(name)?.strip_prefix('.')?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = u64::MAX;

    fn write_lines(
        path: &Path,
        rotation: LogRotation,
        kept: usize,
        max: u64,
        lines: usize,
    ) -> Result<(), TelemetryError> {
        let mut file = LogFile::open(path, rotation, kept, max)?;
        (0..lines).for_each(|_| file.write_all(b"a line\n").expect("the line is taken"));
        Ok(())
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("it lists");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_of_a_daily_log_leads_to_the_newest_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logs").join("pixerve.log");
        write_lines(&path, LogRotation::Daily, 14, ALL, 1).expect("the file opens");
        write_lines(&path, LogRotation::Daily, 14, ALL, 1).expect("a second start opens it again");
        assert_eq!(fs::read_to_string(&path).expect("the link leads to it"), "a line\na line\n");
        assert!(path.symlink_metadata().expect("it exists").is_symlink());
    }

    #[test]
    fn a_log_that_never_rotates_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pixerve.log");
        write_lines(&path, LogRotation::Never, 1, ALL, 1).expect("the file opens");
        write_lines(&path, LogRotation::Never, 1, ALL, 1).expect("a second start opens it again");
        assert_eq!(fs::read_to_string(&path).expect("it is the file"), "a line\na line\n");
    }

    #[test]
    fn a_file_in_the_links_place_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pixerve.log");
        #[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
        fs::write(&path, "precious").expect("it is written");
        let error = write_lines(&path, LogRotation::Daily, 14, ALL, 1).expect_err("it must not be replaced");
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
        write_lines(&dir.path().join("pixerve.log"), LogRotation::Daily, 3, ALL, 1).expect("the file opens");
        let names = names(dir.path());
        assert_eq!(names.iter().filter(|name| name.starts_with("pixerve.log.")).count(), 3, "{names:?}");
        assert!(names.contains(&"pixerve-audit.log".to_owned()), "{names:?}");
    }

    #[test]
    fn files_stay_below_their_size_and_number_whatever_is_logged() {
        for rotation in [LogRotation::Never, LogRotation::Daily] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("pixerve.log");
            // Three lines to a file; half of them after a restart.
            for _ in 0..2 {
                write_lines(&path, rotation, 4, 21, 50).expect("the file opens");
            }
            let names = names(dir.path());
            let files = names.iter().map(|name| dir.path().join(name)).filter(|path| !path.is_symlink());
            let sizes: Vec<u64> = files.map(|path| path.metadata().expect("it is there").len()).collect();
            assert_eq!(sizes.len(), 4, "{names:?}");
            assert!(sizes.iter().all(|size| (1..=21).contains(size)), "{sizes:?}");
            assert_eq!(fs::read_to_string(&path).expect("the newest"), "a line\n", "100 lines, by threes");
        }
    }
}
