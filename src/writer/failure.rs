//! Why a write failed, and whether another try may help: decided here, where it is still known.

use std::io;

use rustix::io::Errno;

use super::WriteError;

/// Bytes of a store's own words that are kept: enough for a person, too few for a page of HTML.
const WORDS_BYTES_MAX: usize = 500;

/// What came of an attempt, before it is said on what: half a [`WriteError`].
#[derive(Clone, Debug)]
pub(super) struct Failure {
    detail: String,
    pub(super) transient: bool,
    /// The status of an answer that said so, if it was one.
    pub(super) status: Option<u16>,
}

impl Failure {
    /// One that another try may get past.
    pub(super) fn transient(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), transient: true, status: None }
    }

    /// A write that was stopped from our side.
    pub(super) fn cancelled() -> Self {
        Self::transient("cancelled, since its job was stopped")
    }

    /// One that stays until somebody changes something.
    pub(super) fn permanent(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), transient: false, status: None }
    }

    /// An answer with an error status. A 4xx is the store's last word, but for those that ask for another try.
    pub(super) fn of_status(status: u16, words: &str) -> Self {
        let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let words = words.trim();
        let words = &words[..words.floor_char_boundary(WORDS_BYTES_MAX)];
        let detail = if words.is_empty() { format!("HTTP {status}") } else { format!("{words} (HTTP {status})") };
        Self { detail, transient: matches!(status, 408 | 429 | 500..), status: Some(status) }
    }

    /// A file or directory that could not be read or written. A full or busy disk passes; a wrong permission, or
    /// something in the way, stays.
    pub(super) fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind::{
            Interrupted, OutOfMemory, QuotaExceeded, ResourceBusy, StaleNetworkFileHandle, StorageFull, TimedOut,
            WouldBlock,
        };
        match error.kind() {
            Interrupted
            | OutOfMemory
            | QuotaExceeded
            | ResourceBusy
            | StaleNetworkFileHandle
            | StorageFull
            | TimedOut
            | WouldBlock => Self::transient(error.to_string()),
            // The kinds of these have no stable name.
            _ if [Errno::IO, Errno::MFILE, Errno::NFILE]
                .map(|errno| Some(errno.raw_os_error()))
                .contains(&error.raw_os_error()) =>
            {
                Self::transient(error.to_string())
            }
            io::ErrorKind::NotADirectory => {
                Self::permanent(format!("{error}: a symbolic link or a file stands in the way"))
            }
            _ => Self::permanent(error.to_string()),
        }
    }

    /// The same of a directory of our own. That it is gone, forbidden or read-only is the operator's to mend, and no fault of
    /// the job: that passes too.
    pub(super) fn of_own_directory(error: &io::Error) -> Self {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        match error.kind() {
            NotFound | PermissionDenied | ReadOnlyFilesystem => Self::transient(error.to_string()),
            _ => Self::of_io(error),
        }
    }

    /// What came of it, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The whole error: `what` was attempted.
    pub(super) fn on(self, what: impl Into<String>) -> WriteError {
        WriteError { what: what.into(), detail: self.detail, transient: self.transient }
    }
}

/// Characters of an answer that can't be read.
const BEGINNING_CHARACTERS: usize = 120;

/// What is said of an answer that isn't what a store sends, as a proxy's or a portal's page: what it claims to be, and how
/// it begins.
pub(super) fn unreadable(content_type: Option<&str>, body: &[u8]) -> String {
    let kind = content_type.unwrap_or("of no type");
    let start: String = String::from_utf8_lossy(body).chars().take(BEGINNING_CHARACTERS).collect();
    format!("an unreadable answer ({kind}), perhaps from something between here and the store; it begins with: {start}")
}

/// Runs what blocks where blocking is fine.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Failure::transient("the writing thread died")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_busy_disk_passes_and_a_forbidden_one_stays() {
        for (errno, transient) in [
            (Errno::NOSPC, true),
            (Errno::DQUOT, true),
            (Errno::MFILE, true),
            (Errno::IO, true),
            (Errno::ACCESS, false),
            (Errno::LOOP, false),
            (Errno::NOTDIR, false),
            (Errno::ROFS, false),
        ] {
            assert_eq!(Failure::of_io(&errno.into()).transient, transient, "{errno}");
        }
    }

    #[test]
    fn whatever_an_operator_does_to_our_own_directory_passes() {
        for (errno, transient) in [
            (Errno::ACCESS, true),
            (Errno::PERM, true),
            (Errno::ROFS, true),
            (Errno::NOENT, true),
            (Errno::NOSPC, true),
            (Errno::IO, true),
            (Errno::LOOP, false),
            (Errno::NOTDIR, false),
            (Errno::ISDIR, false),
        ] {
            assert_eq!(Failure::of_own_directory(&errno.into()).transient, transient, "{errno}");
        }
    }

    #[test]
    fn only_a_status_that_asks_for_another_try_passes() {
        for (status, transient) in
            [(301, false), (400, false), (403, false), (404, false), (408, true), (429, true), (500, true), (503, true)]
        {
            assert_eq!(Failure::of_status(status, "").transient, transient, "{status}");
        }
    }

    #[test]
    fn words_are_one_short_line() {
        let error = Failure::of_status(403, &format!("\r\nno\nentry {}", "ä".repeat(1000))).on("put");
        assert!(error.detail.starts_with("no entry ä") && error.detail.ends_with("ä (HTTP 403)"), "{error}");
        assert!(error.detail.len() < 520);
        assert_eq!(Failure::of_status(502, " ").on("put").to_string(), "put: HTTP 502");
    }
}
