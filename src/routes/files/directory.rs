//! Files from the serve directory, or the private one.
//!
//! What the kernel has in memory is sent by the task that answers. Whatever needs the disk is left to a thread that may wait for it,
//! which opens the file and reads its beginning at once: a switch of threads costs more than reading a small file does.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method};

use super::answer::{Answer, Wanted, wanted};
use super::conditional::Validators;
use super::file_body::FileBody;
use super::recent::RecentFile;
use super::tree::{OpenError, OpenedFile, Tree};
use crate::job::ServedPath;
use crate::routes::Refusal;

/// The file at `path`, as a request with this method and these headers asks for it.
pub(super) async fn file(
    tree: Arc<Tree>,
    path: ServedPath,
    answer: &Answer,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let found = if let Some(opened) = tree.find_in_memory(&path) {
        Found::of(&tree, opened, method, headers)?.with_beginning().await?
    } else {
        let (method, headers) = (method.clone(), headers.clone());
        waiting(move || Found::of(&tree, tree.find(&path)?, &method, &headers)?.read_ahead()).await?
    };
    let Found { validators, bytes, wanted, body } = found;
    Ok(match wanted {
        Wanted::Nothing => answer.not_modified(&validators),
        Wanted::Head => answer.head(&validators, bytes),
        Wanted::Whole => answer.whole(&validators, bytes, Body::new(body)),
        Wanted::Part { first, last } => answer.part(&validators, first, last, bytes, Body::new(body)),
    })
}

/// Does what may wait for the disk.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::File(io::Error::other(error)))?
}

/// A file, and how much of it is to be sent.
struct Found {
    validators: Validators,
    bytes: u64,
    wanted: Wanted,
    /// That part of it.
    body: FileBody,
}

impl Found {
    fn of(tree: &Tree, opened: OpenedFile, method: &Method, headers: &HeaderMap) -> Result<Self, Refusal> {
        let (validators, recent, bytes) = (Validators::of(&opened), RecentFile::of(&tree.reads, &opened), opened.bytes);
        let wanted = wanted(method, headers, &validators, bytes)?;
        let (first, length) = match wanted {
            Wanted::Nothing | Wanted::Head => (0, 0),
            Wanted::Whole => (0, bytes),
            Wanted::Part { first, last } => (first, last - first + 1),
        };
        Ok(Self { validators, bytes, wanted, body: FileBody::new(opened.file, recent, first, length) })
    }

    /// With what is sent first of it, unless that is in memory.
    async fn with_beginning(self) -> Result<Self, Refusal> {
        if self.body.is_at_hand() { Ok(self) } else { waiting(|| self.read_ahead()).await }
    }

    /// With what is sent first of it. Blocks on the disk.
    fn read_ahead(mut self) -> Result<Self, Refusal> {
        self.body.read_ahead().map_err(Refusal::File)?;
        Ok(self)
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotFound => Self::NotFound(super::NO_SUCH_FILE.into()),
            OpenError::Busy => Self::FilesBusy,
            OpenError::Io(error) => Self::File(error),
        }
    }
}
