//! `GET|HEAD /files/{subDir}/{name}`: the stored files, to anyone.
//!
//! What is served was made from strangers' images, so a browser is told to see a picture in it and nothing else. A file
//! is replaced by renaming another over it: whoever opened the old one goes on reading the old one, whole.

mod conditional;
mod media;
#[cfg(test)]
mod properties;
mod range;
mod tree;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use headers::{AcceptRanges, ContentLength, ContentRange, HeaderMapExt};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;
use utoipa::{OpenApi, ToSchema};

use self::conditional::{Precondition, Validators};
use self::media::Media;
use self::range::RequestedRange;
use self::tree::{OpenError, OpenedFile, Tree};
use super::Refusal;
use super::problem::refusals;

const PREFIX: &str = "/files/";
/// As it is described: there is no word for a parameter with slashes.
pub(super) const PATH: &str = "/files/{path}";
/// Bytes read from disk at a time. Three such chunks are what an answer holds that is taken slowly: one in the file's own
/// buffer, one that waits to be sent, and over HTTP/2 the next one.
const CHUNK_BYTES: usize = 32 * 1024;

/// A re-upload may rewrite a name, so nothing is immutable.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Nothing that might be active in a file runs, loads or shares our origin.
const DISARMED: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
/// Pictures are there to be embedded elsewhere.
const CROSS_ORIGIN: HeaderValue = HeaderValue::from_static("cross-origin");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What those routes are described as.
#[derive(OpenApi)]
#[openapi(paths(serve))]
pub(super) struct Described;

#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "a file is sent as it is; here is what clients read")]
struct FileBytes(Vec<u8>);

/// The routes that serve what is stored beneath `serve_dir`. Fails if that is no directory that can be opened. What is
/// there later is looked at anew for each request.
pub fn router(serve_dir: &Path) -> io::Result<Router> {
    let tree = Arc::new(Tree::open(serve_dir)?);
    Ok(Router::new().route("/files/{*path}", any(serve)).with_state(tree))
}

refusals!(FileRefusals: NotFound, PreconditionFailed, RangeNotSatisfiable);

/// A stored file
///
/// Its `location` in a job's status, as far as it is in the directory that this server serves.
#[utoipa::path(
    get, path = "/files/{path}", tag = "Files", operation_id = "file",
    params(
        ("path" = String, Path, description = "The job's `subDir` and the file's name. The slashes between are not encoded."),
        ("Range" = Option<String>, Header, nullable = false, description = "Which bytes are wanted."),
        ("If-Range" = Option<String>, Header, nullable = false, description = "Of which `ETag` they are wanted."),
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "An `ETag` that is known."),
        ("If-Modified-Since" = Option<String>, Header, nullable = false, description = "A `Last-Modified` that is known."),
        ("If-Match" = Option<String>, Header, nullable = false, description = "The `ETag` that it must have."),
        ("If-Unmodified-Since" = Option<String>, Header, nullable = false, description = "The `Last-Modified` that it must have.")
    ),
    responses(
        (
            status = 200, description = "The file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for these bytes."),
                ("Last-Modified" = String, description = "When they were written."),
                ("Cache-Control" = String, description = "They may be kept for five minutes: a name may be written again."),
                ("Accept-Ranges" = String, description = "`bytes`."),
                ("Content-Disposition" = String, description = "`attachment` of an original that browsers don't show.")
            )
        ),
        (
            status = 206, description = "A part of the file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for the bytes of the whole file."),
                ("Last-Modified" = String, description = "When they were written."),
                ("Cache-Control" = String, description = "They may be kept for five minutes: a name may be written again."),
                ("Accept-Ranges" = String, description = "`bytes`."),
                ("Content-Range" = String, description = "Which part."),
                ("Content-Disposition" = String, description = "`attachment` of an original that browsers don't show.")
            )
        ),
        (
            status = 304, description = "It is as known.",
            headers(
                ("ETag" = String, description = "That."),
                ("Last-Modified" = String, description = "When it was written."),
                ("Cache-Control" = String, description = "It may be kept for five minutes more."),
                ("Accept-Ranges" = String, description = "`bytes`.")
            )
        ),
        FileRefusals
    )
)]
async fn serve(State(tree): State<Arc<Tree>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let answered = match method {
        Method::GET | Method::HEAD => answer(tree, &method, uri.path(), &headers).await,
        Method::OPTIONS => Ok((StatusCode::NO_CONTENT, [(ALLOW, ALLOWED)]).into_response()),
        _ => Err(Refusal::MethodNotAllowed),
    };
    answered.unwrap_or_else(refuse)
}

async fn answer(tree: Arc<Tree>, method: &Method, path: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let path = path.strip_prefix(PREFIX).and_then(tree::parse).ok_or(OpenError::NotFound)?;
    let media = Media::of(&path.name);
    let found = tokio::task::spawn_blocking(move || tree.find(&path))
        .await
        .map_err(|error| Refusal::File(io::Error::other(error)))??;

    let validators = Validators::of(&found);
    match validators.check(headers) {
        Precondition::Holds => {}
        Precondition::NotModified => return Ok(not_modified(&validators)),
        Precondition::Failed => return Err(Refusal::PreconditionFailed),
    }
    // A range is defined for GET alone.
    let range = match *method {
        Method::GET if validators.range_applies(headers) => range::parse(headers, found.bytes),
        _ => RequestedRange::Whole,
    };
    match range {
        RequestedRange::Whole if method == Method::HEAD => {
            Ok(with_length(bodiless(StatusCode::OK, &validators, Some(media)), found.bytes))
        }
        RequestedRange::Whole => {
            let bytes = found.bytes;
            send(found, 0, bytes, bodiless(StatusCode::OK, &validators, Some(media))).await
        }
        RequestedRange::Part { first, last } => {
            let mut response = bodiless(StatusCode::PARTIAL_CONTENT, &validators, Some(media));
            let content_range = ContentRange::bytes(first..=last, found.bytes);
            response.headers_mut().typed_insert(content_range.expect("INVARIANT: the range has both its ends"));
            send(found, first, last - first + 1, response).await
        }
        RequestedRange::Unsatisfiable => Err(Refusal::RangeNotSatisfiable { bytes: found.bytes }),
    }
}

/// Everything of an answer but its body. A 304 has no media type.
fn bodiless(status: StatusCode, validators: &Validators, media: Option<Media>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.typed_insert(validators.etag.clone());
    headers.typed_insert(validators.last_modified());
    headers.insert(CACHE_CONTROL, CACHE);
    headers.typed_insert(AcceptRanges::bytes());
    if let Some(media) = media {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type));
        if !media.inline {
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        }
    }
    disarm(headers);
    response
}

fn not_modified(validators: &Validators) -> Response {
    // An empty body of unknown length: of a known one, axum would announce 0 as the length of the file.
    let nothing = futures_util::stream::empty::<io::Result<Bytes>>();
    bodiless(StatusCode::NOT_MODIFIED, validators, None).map(|_| Body::from_stream(nothing))
}

/// What every answer carries, errors included.
fn disarm(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CONTENT_SECURITY_POLICY, DISARMED);
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, CROSS_ORIGIN);
}

fn with_length(mut response: Response, bytes: u64) -> Response {
    response.headers_mut().typed_insert(ContentLength(bytes));
    response
}

/// `bytes` bytes of the opened file from `first` on, as they are read.
async fn send(found: OpenedFile, first: u64, bytes: u64, response: Response) -> Result<Response, Refusal> {
    let mut file = tokio::fs::File::from_std(found.file);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await.map_err(Refusal::File)?;
    }
    // `take`: a file that grows all the same must not overrun the announced length.
    let stream = ReaderStream::with_capacity(file.take(bytes), CHUNK_BYTES);
    Ok(with_length(response.map(|_| Body::from_stream(stream)), bytes))
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotFound => Self::NotFound("there is no such file".into()),
            OpenError::Busy => Self::FilesBusy,
            OpenError::Io(error) => Self::File(error),
        }
    }
}

/// A refusal, with what goes with it here: nothing in it is active.
fn refuse(refusal: Refusal) -> Response {
    let mut own = HeaderMap::new();
    match &refusal {
        Refusal::MethodNotAllowed => drop(own.insert(ALLOW, ALLOWED)),
        Refusal::RangeNotSatisfiable { bytes } => own.typed_insert(ContentRange::unsatisfied_bytes(*bytes)),
        _ => {}
    }
    let mut response = refusal.into_response();
    let headers = response.headers_mut();
    disarm(headers);
    headers.extend(own);
    response
}

/// For fuzz targets.
#[cfg(fuzzing)]
pub(super) fn fuzz_path(path: &str) -> Option<(crate::job::SubDir, String)> {
    tree::parse(path).map(|path| (path.sub_dir, path.name))
}

/// For fuzz targets.
#[cfg(fuzzing)]
pub(super) fn fuzz_range(headers: &HeaderMap, bytes: u64) -> Option<(u64, u64)> {
    match range::parse(headers, bytes) {
        RequestedRange::Part { first, last } => Some((first, last)),
        RequestedRange::Whole | RequestedRange::Unsatisfiable => None,
    }
}
