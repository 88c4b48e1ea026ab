//! `GET /docs`: the description as a page to read. All that it loads comes from this server.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::description::link;
use super::problem::refusals;
use super::{AppState, Refusal};

const PAGE: &str = include_str!("docs/page.html");
const STYLE: &str = include_str!("docs/style.css");
const SCRIPT: &str = include_str!("docs/script.js");

/// The page runs its own script and reads the description, and does nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// What the page loads, besides the description.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the handler reads a word; here is which there are")]
enum Asset {
    #[schema(rename = "style.css")]
    Style,
    #[schema(rename = "script.js")]
    Script,
}

refusals!(DocsRefusals: NotFound);

/// This description as a page
///
/// Not there if `server.docs` is false.
#[utoipa::path(
    get, path = "/docs", tag = "Server", operation_id = "docs",
    responses(
        (
            status = 200, description = "The page.", body = String, content_type = "text/html",
            headers(
                ("Cache-Control" = String, description = "It may be kept for five minutes."),
                ("Content-Security-Policy" = String, description = "All that it loads is from this server."),
                ("Link" = String, description = "Where the description is (`service-desc`)."),
                ("Referrer-Policy" = String, description = "`no-referrer`.")
            )
        ),
        DocsRefusals
    )
)]
pub(super) async fn page(State(state): State<AppState>) -> Result<Response, Refusal> {
    let mut response = text(&state, "text/html; charset=utf-8", PAGE)?;
    let link = HeaderValue::try_from(link(&state.http.public_url)).expect("INVARIANT: the path of a URL is ASCII");
    let headers = response.headers_mut();
    headers.insert(LINK, link);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// What the page of the description is made of
#[utoipa::path(
    get, path = "/docs/{file}", tag = "Server", operation_id = "docs_file",
    params(("file" = inline(Asset), Path, description = "Which.")),
    responses(
        (
            status = 200, description = "The file.",
            content((String = "text/css"), (String = "text/javascript")),
            headers(("Cache-Control" = String, description = "It may be kept for five minutes."))
        ),
        DocsRefusals
    )
)]
pub(super) async fn asset(
    State(state): State<AppState>,
    file: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    match file.as_ref().map(|Path(file)| file.as_str()) {
        Ok("style.css") => text(&state, "text/css; charset=utf-8", STYLE),
        Ok("script.js") => text(&state, "text/javascript; charset=utf-8", SCRIPT),
        _ => Err(Refusal::nothing_here()),
    }
}

fn text(state: &AppState, media_type: &'static str, text: &'static str) -> Result<Response, Refusal> {
    if !state.http.docs {
        return Err(Refusal::nothing_here());
    }
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, CACHE),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, text).into_response())
}
