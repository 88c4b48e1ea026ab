//! `GET /` and `GET /page/{file}`: the page on which a person tries the server and watches its jobs. It holds no secret, and can do only what the
//! token can that it is given.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use sha2::{Digest, Sha256};

use super::extract::asks_for_html;
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::page::{self, PageFile};

/// Nothing from elsewhere, nothing inline; `blob:` is the picture that was chosen.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
/// Asked for again each time, and sent only when another version runs.
const CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

refusals!(PageRefusals: NotFound);

/// The page to try the server on and to watch it, for browsers
///
/// There for whoever names `text/html` in `Accept`, with `server.page` or `pixerve serve --demo`.
#[utoipa::path(
    get, path = "/", tag = "Server", operation_id = "page",
    params(("Accept" = Option<String>, Header, description = "Names `text/html`.", nullable = false)),
    responses(
        (
            status = 200, description = "The page.", body = String, content_type = "text/html",
            headers(
                ("Cache-Control" = String, description = "`no-cache`."),
                ("Content-Security-Policy" = String, description = "All that it loads is from this server."),
                ("Cross-Origin-Opener-Policy" = String, description = "`same-origin`."),
                ("ETag" = String, description = "Stands for this version of it."),
                ("Referrer-Policy" = String, description = "`no-referrer`.")
            )
        ),
        (status = 304, description = "It is as known."),
        PageRefusals
    )
)]
pub(super) async fn index(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let mut response = if is_shown(&state) && asks_for_html(&headers) {
        answer(page::INDEX, &headers)
    } else {
        Refusal::nothing_here().into_response()
    };
    response.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT));
    response
}

/// What the page loads
#[utoipa::path(
    get, path = "/page/{file}", tag = "Server", operation_id = "page_file",
    params(("file" = String, Path, description = "Its name.")),
    responses(
        (
            status = 200, description = "The file.",
            content((String = "text/css"), (String = "text/javascript")),
            headers(
                ("Cache-Control" = String, description = "`no-cache`."),
                ("Content-Security-Policy" = String, description = "All that the page loads is from this server."),
                ("Cross-Origin-Opener-Policy" = String, description = "`same-origin`."),
                ("ETag" = String, description = "Stands for this version of it."),
                ("Referrer-Policy" = String, description = "`no-referrer`.")
            )
        ),
        (status = 304, description = "It is as known."),
        PageRefusals
    )
)]
pub(super) async fn file(
    State(state): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let file = name.ok().filter(|_| is_shown(&state)).and_then(|Path(name)| page::loaded(&name));
    file.map(|file| answer(file, &headers)).ok_or_else(Refusal::nothing_here)
}

fn is_shown(state: &AppState) -> bool {
    state.http.page || state.is_demo
}

fn answer(file: PageFile, headers: &HeaderMap) -> Response {
    let etag = etag(file);
    let known: Option<IfNoneMatch> = headers.typed_get();
    let mut response = if known.is_some_and(|known| !known.precondition_passes(&etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, file.media_type)], file.content).into_response()
    };
    let headers = response.headers_mut();
    headers.typed_insert(etag);
    for (name, value) in [
        (CACHE_CONTROL, CACHE),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (REFERRER_POLICY, NO_REFERRER),
        (CROSS_ORIGIN_OPENER_POLICY, SAME_ORIGIN),
    ] {
        headers.insert(name, value);
    }
    response
}

fn etag(file: PageFile) -> ETag {
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(file.content.as_bytes())[..12]));
    tag.parse().expect("INVARIANT: hex digits in quotes are an entity tag")
}
