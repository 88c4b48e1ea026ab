//! Why a write failed, and whether another try may help: decided here, where it is still known.

use std::io;

use rustix::io::Errno;

use super::{WriteError, WriteErrorKind};
use crate::bucket::answer;
use crate::durable::is_shortage;

/// What came of an attempt, before it is said on what: half a [`WriteError`].
#[derive(Clone, Debug)]
pub(super) struct Failure {
    detail: String,
    pub(super) kind: WriteErrorKind,
    /// The status of an answer that said so, if it was one.
    pub(super) status: Option<u16>,
}

impl Failure {
    /// One of this kind, without an answer that said so.
    pub(super) fn new(kind: WriteErrorKind, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), kind, status: None }
    }

    /// One that another try may get past.
    pub(super) fn transient(detail: impl Into<String>) -> Self {
        Self::new(WriteErrorKind::Unavailable, detail)
    }

    /// A write that was stopped from our side.
    pub(super) fn cancelled() -> Self {
        Self::new(WriteErrorKind::Cancelled, "cancelled, since its job was stopped")
    }

    /// One that stays, whoever changes what.
    pub(super) fn permanent(detail: impl Into<String>) -> Self {
        Self::new(WriteErrorKind::Invalid, detail)
    }

    /// There is no such object.
    pub(super) fn missing() -> Self {
        Self::new(WriteErrorKind::Missing, "there is no such object")
    }

    /// What is at `location` is in another store, or the location is none.
    pub(super) fn elsewhere(location: &str) -> Self {
        Self::permanent(format!("`{location}` is nowhere in this store"))
    }

    /// An answer with an error status. A 4xx is a refusal, but for those that ask for another try.
    pub(super) fn of_status(status: u16, words: &str) -> Self {
        let kind =
            if answer::asks_for_another_try(status) { WriteErrorKind::Unavailable } else { WriteErrorKind::Refused };
        Self { detail: answer::in_one_line(status, words), kind, status: Some(status) }
    }

    /// A file of a job's own, in the spool, that could not be read: what is wrong with it is no fault of the store.
    pub(super) fn of_source(error: &io::Error) -> Self {
        let may_pass = is_shortage(error) || error.kind() == io::ErrorKind::Interrupted;
        let kind = if may_pass { WriteErrorKind::Shortage } else { WriteErrorKind::SourceDamaged };
        Self::new(kind, error.to_string())
    }

    /// The serve directory could not be written to. That is the operator's to mend: whether it is full, read-only, not
    /// mounted or another user's, it may pass. Only what stands in the way of one name may be the doing of one client.
    pub(super) fn of_own_directory(error: &io::Error) -> Self {
        const IN_THE_WAY: [Errno; 4] = [Errno::NOTDIR, Errno::LOOP, Errno::ISDIR, Errno::NAMETOOLONG];
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(errno) if IN_THE_WAY.contains(&errno) => {
                let detail = format!("{error}: a symbolic link, a file or a directory stands in the way");
                Self::new(WriteErrorKind::Refused, detail)
            }
            // The bytes that were to be written are not the ones that were promised.
            _ if error.kind() == io::ErrorKind::InvalidData => Self::of_source(error),
            _ => Self::transient(error.to_string()),
        }
    }

    /// What came of it, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The whole error: `what` was attempted.
    pub(super) fn on(self, what: impl Into<String>) -> WriteError {
        WriteError { what: what.into(), detail: self.detail, kind: self.kind }
    }
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
    fn whatever_an_operator_does_to_our_own_directory_passes_and_what_stands_in_the_way_is_told_apart() {
        let passing = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::IO, Errno::ACCESS, Errno::ROFS, Errno::NOENT];
        for errno in passing {
            assert_eq!(Failure::of_own_directory(&errno.into()).kind, WriteErrorKind::Unavailable, "{errno}");
        }
        for errno in [Errno::LOOP, Errno::NOTDIR, Errno::ISDIR] {
            assert_eq!(Failure::of_own_directory(&errno.into()).kind, WriteErrorKind::Refused, "{errno}");
        }
    }

    #[test]
    fn a_source_that_is_gone_or_changed_is_not_the_stores_fault_and_a_shortage_is_nobodys() {
        let other_bytes = io::Error::from(io::ErrorKind::InvalidData);
        assert_eq!(Failure::of_source(&other_bytes).kind, WriteErrorKind::SourceDamaged);
        assert_eq!(Failure::of_own_directory(&other_bytes).kind, WriteErrorKind::SourceDamaged);
        for (errno, kind) in [
            (Errno::NOENT, WriteErrorKind::SourceDamaged),
            (Errno::IO, WriteErrorKind::SourceDamaged),
            (Errno::MFILE, WriteErrorKind::Shortage),
            (Errno::NOMEM, WriteErrorKind::Shortage),
        ] {
            assert_eq!(Failure::of_source(&errno.into()).kind, kind, "{errno}");
        }
    }

    #[test]
    fn only_a_status_that_asks_for_another_try_passes() {
        for (status, transient) in
            [(301, false), (400, false), (403, false), (404, false), (408, true), (429, true), (500, true), (503, true)]
        {
            let kind = Failure::of_status(status, "").kind;
            assert_eq!(kind == WriteErrorKind::Unavailable, transient, "{status}");
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
