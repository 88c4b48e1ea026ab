//! `GET|HEAD /files/{subDir}/{name}`: the stored files, to anyone.
//!
//! What is served was made from strangers' images, so a browser is told to see a picture in it and nothing else. A file
//! is replaced by renaming another over it: whoever opened the old one goes on reading the old one, whole.

mod answer;
#[cfg(feature = "s3")]
mod bucket;
mod conditional;
mod directory;
mod file_body;
mod media;
pub mod private;
#[cfg(test)]
mod properties;
mod range;
mod recent;
mod redirect;
mod tree;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use headers::{ContentRange, HeaderMapExt};
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use utoipa::{OpenApi, ToSchema};

pub use self::redirect::RedirectOrigin;

use self::answer::{Answer, disarm, public_cache};
use self::media::Media;
use self::redirect::RedirectTarget;
use self::tree::Tree;
use super::Refusal;
use super::problem::refusals;
use crate::bucket::KeyPrefix;
use crate::job::ServedPath;
use crate::manifest::Manifest;
#[cfg(feature = "s3")]
use crate::writer::BucketServe;

/// As it is described: there is no word for a parameter with slashes.
pub(super) const PATH: &str = "/files/{path}";

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
const NO_SUCH_FILE: &str = "there is no such file";

fn no_such_file() -> Refusal {
    Refusal::NotFound(NO_SUCH_FILE.into())
}

/// Where stored files are found.
pub struct FileSource(Kind);

enum Kind {
    Directory(Arc<Tree>),
    #[cfg(feature = "s3")]
    Bucket(BucketServe),
    Redirect(RedirectTarget),
}

/// What a stored file of this name is served as.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    Media::of(name).content_type
}

impl FileSource {
    /// The directory `root`. What is there later is looked at anew for each request.
    ///
    /// # Errors
    /// If it is no directory that can be opened.
    pub fn directory(root: &Path) -> io::Result<Self> {
        Ok(Self(Kind::Directory(Arc::new(Tree::open(root)?))))
    }

    /// The bucket.
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn bucket(bucket: BucketServe) -> Self {
        Self(Kind::Bucket(bucket))
    }

    /// Somewhere else: `origin` sends what is in a bucket whose keys start with `prefix`, at their paths.
    #[must_use]
    pub fn redirect(origin: &RedirectOrigin, prefix: &KeyPrefix) -> Self {
        Self(Kind::Redirect(RedirectTarget::new(origin, prefix)))
    }

    /// What is stored at `path`, or where it is, as a request with this method and these headers asks for it.
    pub(super) async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
        let path = tree::parse(path).filter(|path| !path.area.is_private()).ok_or_else(no_such_file)?;
        let cache = public_cache(&path.name);
        self.send(path, cache, method, headers).await
    }

    /// The file at `path`, which may be kept for as long as `cache` says.
    async fn send(
        &self,
        path: ServedPath,
        cache: HeaderValue,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let answer = &Answer::of(&path.name, cache);
        match &self.0 {
            Kind::Directory(tree) => directory::file(Arc::clone(tree), path, answer, method, headers).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket::file(bucket, &path, answer, method, headers).await,
            Kind::Redirect(target) => Ok(target.to(&path)),
        }
    }
}

/// What those routes are described as.
#[derive(OpenApi)]
#[openapi(paths(serve))]
pub(super) struct Described;

#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "a file is sent as it is; here is what clients read")]
pub(super) struct FileBytes(Vec<u8>);

/// The routes that serve what `source` has.
pub fn router(source: impl Into<Arc<FileSource>>) -> Router {
    Router::new().route("/files/{*path}", any(serve)).with_state(source.into())
}

refusals!(FileRefusals: NotFound, PreconditionFailed, RangeNotSatisfiable, Unavailable);

/// A stored file
///
/// Its `location` in a job's status, as far as it is one that this server serves.
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
            status = 200, description = "The file; the stored manifest of a job with `manifest` as JSON.",
            content((inline(FileBytes) = "image/*"), (Manifest = "application/json")),
            headers(
                ("ETag" = String, description = "Stands for these bytes."),
                ("Last-Modified" = String, description = "When they were written."),
                (
                    "Cache-Control" = String,
                    description = "They may be kept for five minutes: a name may be written again. Those of a `unique` job for a year."
                ),
                ("Accept-Ranges" = String, description = "`bytes`."),
                ("Content-Disposition" = String, description = "`attachment` of an original that browsers don't show.")
            )
        ),
        (
            status = 206, description = "A part of the file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for the bytes of the whole file."),
                ("Last-Modified" = String, description = "When they were written."),
                (
                    "Cache-Control" = String,
                    description = "They may be kept for five minutes: a name may be written again. Those of a `unique` job for a year."
                ),
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
                ("Cache-Control" = String, description = "For how much longer it may be kept."),
                ("Accept-Ranges" = String, description = "`bytes`.")
            )
        ),
        (
            status = 302, description = "Somebody else sends the files of this server.",
            headers(
                ("Location" = String, description = "Who, and under which address."),
                ("Cache-Control" = String, description = "That may be kept for five minutes.")
            )
        ),
        FileRefusals
    )
)]
async fn serve(State(source): State<Arc<FileSource>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let answered = match method {
        Method::GET | Method::HEAD => source.answer(&method, uri.path(), &headers).await,
        Method::OPTIONS => Ok(allowed()),
        _ => Err(Refusal::MethodNotAllowed),
    };
    answered.unwrap_or_else(refuse)
}

/// What may be done with a file.
pub(super) fn allowed() -> Response {
    (StatusCode::NO_CONTENT, [(ALLOW, ALLOWED)]).into_response()
}

/// A refusal, with what goes with it here: nothing in it is active.
pub(super) fn refuse(refusal: Refusal) -> Response {
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
    tree::parse(&format!("/files/{path}")).map(|path| (path.sub_dir, path.name))
}

/// For fuzz targets.
#[cfg(fuzzing)]
pub(super) fn fuzz_range(headers: &HeaderMap, bytes: u64) -> Option<(u64, u64)> {
    match range::parse(headers, bytes) {
        range::RequestedRange::Part { first, last } => Some((first, last)),
        range::RequestedRange::Whole | range::RequestedRange::Unsatisfiable => None,
    }
}
