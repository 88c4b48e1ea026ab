//! `GET /manifest`: what a page needs to show a picture.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::extract::{JobQuery, Parameters, find_known};
use super::problem::refusals;
use super::snapshot::with_progress;
use super::{AppState, Refusal};
use crate::job::shown_files;
use crate::manifest::{Attributes, Manifest, html};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// This origin shows no markup that strangers have a part in.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Of a job that has ended.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// Of which job, and as what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ManifestQuery {
    /// The newest job of these bytes of this owner. Needed if there is no `job_id`.
    #[param(nullable = false)]
    hash: Option<String>,
    /// That job; it counts before `hash`.
    #[param(nullable = false)]
    job_id: Option<String>,
    /// `html`: the element `<picture>` alone.
    #[serde(rename = "as")]
    #[param(nullable = false)]
    kind: Option<String>,
    /// Of that element: how wide it is shown, as the attribute says it, such as `(min-width: 60em) 30vw, 100vw`.
    #[param(nullable = false)]
    sizes: Option<String>,
    /// Of that element: what is said in the picture's place.
    #[param(nullable = false)]
    alt: Option<String>,
    /// Of that element: the names of its classes.
    #[param(nullable = false)]
    class: Option<String>,
}

refusals!(ManifestRefusals: BadRequest, BadParameter, NotFound, NoPicture, DiskFull, Unavailable);

/// What a page needs to show a picture
///
/// Its files and where a browser gets them, and the `<picture>` of them: as data, or with `as=html` as the element itself. Who may
/// see the job's status may see it.
#[utoipa::path(
    get, path = "/manifest", tag = "Jobs",
    params(
        ManifestQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that is known.", nullable = false)
    ),
    responses(
        (
            status = 200, description = "The manifest; with `as=html` the element, as text.",
            content((Manifest = "application/json"), (String = "text/plain")),
            headers(
                ("ETag" = String, description = "Stands for this answer."),
                ("Cache-Control" = String, description = "`no-store` until the job has ended.")
            )
        ),
        (
            status = 304, description = "It is as known.",
            headers(("ETag" = String, description = "That."), ("Cache-Control" = String, description = "As with 200."))
        ),
        ManifestRefusals
    )
)]
pub(super) async fn manifest(
    State(state): State<AppState>,
    Parameters(query): Parameters<ManifestQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let ManifestQuery { hash, job_id, kind, sizes, alt, class } = query;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let is_html = match given(kind).as_deref() {
        None | Some("json") => false,
        Some("html") => true,
        Some(_) => return Err(Refusal::BadParameter("`as` must be html or json".into())),
    };
    let (job, progress) = with_progress(&state, find_known(&state, &JobQuery { hash, job_id }).await?).await?;
    let stored = progress.map_or(job.files, |progress| progress.files);
    let files = shown_files(&job.record, stored, &state.http.public_url);
    let manifest = Manifest::of(&job.record, job.state, job.placeholder, files);
    let (body, media_type) = if is_html {
        let attributes = Attributes { sizes: given(sizes), alt: alt.unwrap_or_default(), class: given(class) };
        let picture = manifest.picture().ok_or(Refusal::NoPicture)?;
        (html(picture, &attributes), TEXT)
    } else {
        (manifest.json(), JSON)
    };
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(body.as_bytes())[..12]));
    let etag: ETag = tag.parse().expect("INVARIANT: hex digits in quotes are an entity tag");
    let known: Option<IfNoneMatch> = headers.typed_get();
    let is_known = known.is_some_and(|known| !known.precondition_passes(&etag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, media_type)], body).into_response()
    };
    response.headers_mut().insert(CACHE_CONTROL, if job.state.is_terminal() { CACHE } else { NO_STORE });
    response.headers_mut().typed_insert(etag);
    if is_html {
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    Ok(response)
}
