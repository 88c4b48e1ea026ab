//! `GET /limits`: what an upload may be, so that a client can refuse what the server would before it sends it.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{bearer_of, verify};
use super::problem::refusals;
use super::upload::merged_job;
use super::{AppState, Refusal};
use crate::auth::Verified;
use crate::job::{BOX_SIDE_MAX, Format, PresetName, SourceFormat};

/// What changes with a restart, and, of presets, seldom.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

#[derive(Serialize, ToSchema)]
struct Limits {
    upload: UploadLimits,
    job: JobLimits,
    /// Resumable uploads: there are none.
    #[schema(value_type = Option<Object>, required)]
    tus: Option<()>,
}

#[derive(Serialize, ToSchema)]
struct UploadLimits {
    bytes_max: u64,
    source_pixels_max: u64,
    /// Formats that are read.
    inputs: Vec<String>,
    parts_max: usize,
}

#[derive(Serialize, ToSchema)]
struct JobLimits {
    variants_max: usize,
    output_pixels_max: u64,
    side_max: u32,
    /// Formats that are written.
    formats: Vec<&'static str>,
    /// Presets that a job may name: of a token whose user is bound to some, those of them that there are.
    presets: Vec<PresetName>,
}

refusals!(LimitsRefusals: Unauthorized, Forbidden);

/// What an upload and a job may be
///
/// So that a client can refuse a file before it sends it. A token is not asked for; a bad one is told.
#[utoipa::path(
    get, path = "/limits", tag = "Server", security((), ("token" = [])),
    responses(
        (
            status = 200, description = "The limits.", body = Limits,
            headers(("Cache-Control" = String, description = "Without a token, they may be kept for five minutes."))
        ),
        LimitsRefusals
    )
)]
pub(super) async fn limits(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, Refusal> {
    let token = bearer_of(&headers)?;
    let (mut token_max, mut presets) = (None, state.presets.names());
    if let Some(token) = token {
        let Verified { claims, presets: bound, .. } = verify(&state, token)?;
        let job = merged_job(&state, claims.get("job"), bound.as_deref()).read(state.spec_limits, |_, _| {});
        token_max = job.ok().and_then(|(job, _)| job.bytes_max);
        presets.retain(|name| bound.as_deref().is_none_or(|bound| bound.contains(name)));
    }
    let limits = Limits {
        upload: UploadLimits {
            bytes_max: state.http.body_bytes_max.min(token_max.unwrap_or(u64::MAX)),
            source_pixels_max: state.pixel_limits.source_max,
            inputs: read_formats(),
            parts_max: state.http.parts_max,
        },
        job: JobLimits {
            variants_max: state.spec_limits.variants_max,
            output_pixels_max: state.pixel_limits.output_max,
            side_max: BOX_SIDE_MAX,
            formats: Format::ALL.map(Format::extension).to_vec(),
            presets: presets.into_iter().collect(),
        },
        tus: None,
    };
    let mut response = Json(limits).into_response();
    if token.is_none() {
        response.headers_mut().insert(CACHE_CONTROL, CACHE);
    }
    Ok(response)
}

fn read_formats() -> Vec<String> {
    let built_in = SourceFormat::ALL.into_iter().map(SourceFormat::info).filter(|info| info.built_in);
    built_in.map(|info| info.name.to_ascii_lowercase()).collect()
}
