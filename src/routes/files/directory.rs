//! Files from the serve directory, or the private one.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use super::answer::{Answer, Wanted, wanted};
use super::conditional::Validators;
use super::tree::{OpenError, OpenedFile, Tree};
use crate::job::ServedPath;
use crate::routes::Refusal;

/// Bytes read from disk at a time. Three such chunks are what an answer holds that is taken slowly: one in the file's own
/// buffer, one that waits to be sent, and over HTTP/2 the next one.
const CHUNK_BYTES: usize = 32 * 1024;

/// The file at `path`, as a request with this method and these headers asks for it.
pub(super) async fn file(
    tree: Arc<Tree>,
    path: ServedPath,
    answer: &Answer,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let found = tokio::task::spawn_blocking(move || tree.find(&path))
        .await
        .map_err(|error| Refusal::File(io::Error::other(error)))??;
    let (validators, bytes) = (Validators::of(&found), found.bytes);
    match wanted(method, headers, &validators, bytes)? {
        Wanted::Nothing => Ok(answer.not_modified(&validators)),
        Wanted::Head => Ok(answer.head(&validators, bytes)),
        Wanted::Whole => Ok(answer.whole(&validators, bytes, send(found, 0, bytes).await?)),
        Wanted::Part { first, last } => {
            let body = send(found, first, last - first + 1).await?;
            Ok(answer.part(&validators, first, last, bytes, body))
        }
    }
}

/// `bytes` bytes of the opened file from `first` on, as they are read.
async fn send(found: OpenedFile, first: u64, bytes: u64) -> Result<Body, Refusal> {
    let mut file = tokio::fs::File::from_std(found.file);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await.map_err(Refusal::File)?;
    }
    // `take`: a file that grows all the same must not overrun the announced length.
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(bytes), CHUNK_BYTES)))
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
