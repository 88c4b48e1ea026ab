//! `GET|HEAD /files/{subDir}/{name}`: the stored files, to anyone.
//!
//! What is served was made from strangers' images, so a browser is told to see a picture in it and nothing else. A file
//! is replaced by renaming another over it: whoever opened the old one goes on reading the old one, whole.

mod conditional;
mod media;
mod range;
mod tree;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, LAST_MODIFIED, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;
use tracing::error;

use self::conditional::{Precondition, Validators};
use self::media::Media;
use self::range::Wanted;
use self::tree::{Found, OpenError, Tree};

const PREFIX: &str = "/files/";
/// Bytes read from disk at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A re-upload may rewrite a name, so nothing is immutable.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// What isn't there yet may be a moment later.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Nothing that might be active in a file runs, loads or shares our origin.
const DISARMED: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
/// Pictures are there to be embedded elsewhere.
const CROSS_ORIGIN: HeaderValue = HeaderValue::from_static("cross-origin");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The routes that serve what is stored beneath `serve_dir`. Fails if that is no directory that can be opened. It is
/// opened once: renaming it later doesn't change what is served.
pub fn router(serve_dir: &Path) -> io::Result<Router> {
    let tree = Arc::new(Tree::open(serve_dir)?);
    Ok(Router::new().route("/files/{*path}", any(serve)).with_state(tree))
}

async fn serve(State(tree): State<Arc<Tree>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let answered = match method {
        Method::GET | Method::HEAD => answer(tree, &method, uri.path(), &headers).await,
        _ => Err(Refusal::Method),
    };
    answered.unwrap_or_else(|refusal| refusal.response(uri.path()))
}

async fn answer(tree: Arc<Tree>, method: &Method, path: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let path = path.strip_prefix(PREFIX).and_then(tree::parse).ok_or(Refusal::NotFound)?;
    let media = Media::of(&path.name);
    let found = tokio::task::spawn_blocking(move || tree.find(&path))
        .await
        .map_err(|error| Refusal::Io(io::Error::other(error)))??;

    let validators = Validators::of(&found);
    match validators.check(headers) {
        Precondition::Holds => {}
        Precondition::NotModified => return Ok(not_modified(&validators)),
        Precondition::Failed => return Err(Refusal::Precondition),
    }
    // A range is defined for GET alone.
    let wanted = match *method {
        Method::GET if validators.range_applies(headers) => range::parse(headers, found.bytes),
        _ => Wanted::All,
    };
    match wanted {
        Wanted::All if method == Method::HEAD => {
            Ok(with_length(bodiless(StatusCode::OK, &validators, Some(media)), found.bytes))
        }
        Wanted::All => {
            let bytes = found.bytes;
            send(found, 0, bytes, bodiless(StatusCode::OK, &validators, Some(media))).await
        }
        Wanted::Part { first, last } => {
            let mut response = bodiless(StatusCode::PARTIAL_CONTENT, &validators, Some(media));
            let content_range = format!("bytes {first}-{last}/{}", found.bytes);
            response.headers_mut().insert(CONTENT_RANGE, ascii(&content_range));
            send(found, first, last - first + 1, response).await
        }
        Wanted::Nothing => Err(Refusal::Range { bytes: found.bytes }),
    }
}

/// Everything of an answer but its body. A 304 has no media type.
fn bodiless(status: StatusCode, validators: &Validators, media: Option<Media>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ETAG, ascii(&validators.etag));
    headers.insert(LAST_MODIFIED, ascii(&validators.last_modified()));
    headers.insert(CACHE_CONTROL, CACHE);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
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
    response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
    response
}

/// `bytes` bytes of the opened file from `first` on, as they are read.
async fn send(found: Found, first: u64, bytes: u64, response: Response) -> Result<Response, Refusal> {
    let mut file = tokio::fs::File::from_std(found.file);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await.map_err(Refusal::Io)?;
    }
    // `take`: a file that grows all the same must not overrun the announced length.
    let stream = ReaderStream::with_capacity(file.take(bytes), CHUNK_BYTES);
    Ok(with_length(response.map(|_| Body::from_stream(stream)), bytes))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("INVARIANT: built from digits, hex and fixed ASCII")
}

/// Why a file isn't sent.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is no such file")]
    NotFound,
    #[error("files can only be read: GET or HEAD")]
    Method,
    #[error("the file is not the one that the request's If-Match or If-Unmodified-Since names")]
    Precondition,
    #[error("the file has {bytes} bytes; none of them is in the range asked for")]
    Range { bytes: u64 },
    #[error("too many files are open; try again shortly")]
    Busy,
    #[error("the file can't be read")]
    Io(#[source] io::Error),
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotFound => Self::NotFound,
            OpenError::Busy => Self::Busy,
            OpenError::Io(error) => Self::Io(error),
        }
    }
}

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn response(&self, instance: &str) -> Response {
        if let Self::Io(error) = self {
            error!(path = instance, %error, "can't read a stored file");
        }
        let (status, code) = self.status_and_code();
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.to_string(),
            "instance": instance,
            "code": code,
        });
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, NO_STORE);
        disarm(headers);
        match self {
            Self::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"))),
            Self::Range { bytes } => drop(headers.insert(CONTENT_RANGE, ascii(&format!("bytes */{bytes}")))),
            Self::Busy => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::NotFound | Self::Precondition | Self::Io(_) => {}
        }
        response
    }
}
