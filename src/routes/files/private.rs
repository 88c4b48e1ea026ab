//! `GET|HEAD /private/{owner}/{subDir}/{name}`: private files, to whoever has a token that says so.
//!
//! The token may come in the address, since an `<img>` sends no header of its own. So nothing here tells the query to anyone: it is
//! in no log and in no answer, the page that is shown the file sends its address to nobody, and no search engine keeps it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{ALLOW, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use url::form_urlencoded;
use utoipa::OpenApi;

use super::{ALLOWED, FileBytes, FileSource, no_such_file, refuse, tree};
use crate::auth::{AuthError, ReadPaths, Verified};
use crate::job::{FileName, NameHead, Owner, ServedArea, ServedPath};
use crate::manifest::Manifest;
use crate::routes::extract::bearer_of;
use crate::routes::problem::refusals;
use crate::routes::{AppState, Refusal};

/// As it is described: there is no word for a parameter with slashes.
pub(in crate::routes) const PATH: &str = "/private/{owner}/{path}";
/// As requests are counted.
pub(in crate::routes) const ROUTE: &str = "/private/{*path}";

/// The parameter of the query that holds the token.
const TOKEN: &str = "token";
/// The longest that a private file may be kept by whoever was sent it.
const CACHE_MAX: Duration = Duration::from_mins(5);

const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const NOINDEX: HeaderValue = HeaderValue::from_static("noindex");

/// Where private files are, and who knows whose they are.
struct PrivateFiles {
    state: AppState,
    /// None where this server has none.
    source: Option<FileSource>,
}

/// What that route is described as.
#[derive(OpenApi)]
#[openapi(paths(serve))]
pub(in crate::routes) struct Described;

/// The route that serves what `source` has.
pub fn router(state: AppState, source: Option<FileSource>) -> Router {
    Router::new().route(ROUTE, any(serve)).with_state(Arc::new(PrivateFiles { state, source }))
}

refusals!(PrivateFileRefusals: Unauthorized, NotFound, PreconditionFailed, RangeNotSatisfiable, Unavailable);

/// A private file
///
/// Its `location` in the status of a job with `private`. The token says in its `read` claim which files it reads, and is of the same
/// owner as the job's; it comes as `Authorization`, or in the address. What it doesn't reach looks like what isn't there.
#[utoipa::path(
    get, path = "/private/{owner}/{path}", tag = "Files", operation_id = "private_file", security(("token" = []), ("query" = [])),
    params(
        ("owner" = String, Path, description = "The first 32 hex digits of the SHA-256 of `<user> NUL <sub>`."),
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
                ("Cache-Control" = String, description = "`private`, and for five minutes at most, or as long as the token is good."),
                ("Accept-Ranges" = String, description = "`bytes`."),
                ("Content-Disposition" = String, description = "`attachment` of an original that browsers don't show.")
            )
        ),
        (
            status = 206, description = "A part of the file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for the bytes of the whole file."),
                ("Last-Modified" = String, description = "When they were written."),
                ("Cache-Control" = String, description = "`private`, and for five minutes at most, or as long as the token is good."),
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
        PrivateFileRefusals
    )
)]
async fn serve(State(files): State<Arc<PrivateFiles>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let answered = match method {
        Method::GET | Method::HEAD => files.answer(&method, &uri, &headers).await,
        Method::OPTIONS => Ok((StatusCode::NO_CONTENT, [(ALLOW, ALLOWED)]).into_response()),
        _ => Err(Refusal::MethodNotAllowed),
    };
    let mut response = answered.unwrap_or_else(refuse);
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.insert(X_ROBOTS_TAG, NOINDEX);
    response
}

impl PrivateFiles {
    async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Response, Refusal> {
        // A bad token is told first: whoever has none hears nothing of what there is.
        let reader = self.reader(uri, headers)?;
        let path = tree::parse(uri.path()).ok_or_else(no_such_file)?;
        let (token, source) = match (reader, &self.source) {
            (Some((token, paths)), Some(source)) if self.reaches(&token, &paths, &path) => (token, source),
            _ => return Err(no_such_file()),
        };
        if !self.is_of_holder(&token.owner, &path).await? {
            return Err(no_such_file());
        }
        source.send(path, self.cache(&token), method, headers).await
    }

    /// Whose token came along, and what that reads; none of one that is good for something else.
    fn reader(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<(Verified, ReadPaths)>, Refusal> {
        let in_query = || {
            let query = uri.query().unwrap_or_default().as_bytes();
            form_urlencoded::parse(query).find(|(name, _)| name == TOKEN).map(|(_, token)| token.into_owned())
        };
        let token = match bearer_of(headers)? {
            Some(token) => token.to_owned(),
            None => in_query().ok_or(AuthError::Missing)?,
        };
        let state = &self.state;
        Ok(state.auth.verify_reader(&token, &*state.register, state.clock.now())?)
    }

    /// Whether the file is the token's owner's, and among those that the token names: as this server calls them, or as clients see
    /// them behind a proxy.
    fn reaches(&self, token: &Verified, paths: &ReadPaths, path: &ServedPath) -> bool {
        let location = path.to_string();
        let is_own = path.area == ServedArea::Private(token.owner.private_owner());
        is_own && (paths.cover(&location) || paths.cover(&self.state.http.public_url.path(&location)))
    }

    /// Whether the file is of whoever has the token's user name now: who had it before has the same directory. What nobody knows
    /// any more whose it is, is the present holder's, as its `hash` is.
    async fn is_of_holder(&self, owner: &Owner, path: &ServedPath) -> Result<bool, Refusal> {
        if owner.user.is_none() {
            return Ok(true);
        }
        let state = &self.state;
        let (jobs, entries) = match FileName::parse(&path.name).map(|name| name.head) {
            Some(NameHead::Hash(hash)) => (state.records.of_hash(&hash).await?, state.ledger.of_hash(&hash).await?),
            Some(NameHead::Job(id)) => (
                state.records.get(&id).await?.into_iter().collect(),
                state.ledger.entry(&id).await?.into_iter().collect(),
            ),
            None => return Ok(false),
        };
        let location = path.to_string();
        let live = jobs.iter().map(|job| &job.record);
        let live = live.filter(|record| record.served_path(&path.name) == *path).map(|record| &record.owner);
        let stored = entries.iter().filter(|entry| entry.places().any(|place| place.location == location));
        let mut owners = live.chain(stored.map(|entry| &entry.owner)).peekable();
        Ok(owners.peek().is_none() || owners.any(|found| found.access_key == owner.access_key))
    }

    /// For as long as the token is good, and no longer than [`CACHE_MAX`].
    fn cache(&self, token: &Verified) -> HeaderValue {
        let left = token.expires_at.since(self.state.clock.now()).min(CACHE_MAX).as_secs();
        let value = format!("private, max-age={left}");
        HeaderValue::try_from(value).expect("INVARIANT: words and a number are a header")
    }
}
