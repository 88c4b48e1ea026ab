//! `POST /upload`: takes an image and a signed job, and answers once both are safe.

mod form;
mod form_redirect;
mod grant;
mod parameters;

use std::fs::File;
use std::io::{self, BufReader};

use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

#[cfg(fuzzing)]
pub(super) use self::form::{PartName, boundary, header_bytes};
use self::form::{UploadForm, UploadedFile};
use self::form_redirect::FormRedirect;
use self::grant::FileLimit;
pub(super) use self::grant::UploadGrant;
pub(super) use self::grant::{allowed_job, merged_job};
use super::acceptance::{self, AcceptedUpload, JobBytes, RepeatableRequest, RequestAnswer, resume, token_used};
use super::access::RequestTrace;
use super::body::{BodyLimits, PacedBody};
use super::extract::bearer_of;
use super::idempotency::{self, Begun, IdempotencyHeader, RequestKey};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::disks::RootKind;
use crate::job::{Inspection, JobRecord, Original, ParsedJob, SourceInfo, Stem, TraceContext};
use crate::pipeline::{InspectError, SOURCE_SIDE_MAX, check_outputs, inspect};
use crate::queue::QueueError;
use crate::spool::Received;

const PATH: &str = "/upload";

/// The parts of an upload. Others are passed over, and count among those that may be.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`UploadForm` reads them one by one; here is what clients send")]
struct UploadParts {
    /// The token, if there is no `Authorization` header. Comes before `file`.
    #[schema(nullable = false)]
    token: Option<String>,
    /// The picture. Its format is found in its bytes; of the part's file name the stem goes into the names of the files.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

refusals!(
    UploadRefusals: BadMultipart, InvalidFields, Unauthorized, Forbidden, OriginNotAllowed, TooSlow, TooLarge, DuplicateJob, TokenUsed,
    JobTooLarge, TooManyJobs, UnsupportedImage, DamagedImage, ImageTooLarge, DiskFull, QueueFull, Draining, Paused, Unavailable,
    BadIdempotencyKey, IdempotencyInFlight, IdempotencyKeyReused, Erased
);

/// Takes a picture and a signed job, and answers once both are safe
///
/// The job is the `job` claim of the token, which is in the `Authorization` header or in the form. From the answer on, the job ends in exactly one way, whatever happens to the server.
#[utoipa::path(
    post, path = "/upload", tag = "Upload",
    security((), ("token" = [])),
    params(IdempotencyHeader),
    request_body(content(
        (UploadParts = "multipart/form-data", encoding(
            ("token" = (content_type = "text/plain")), ("file" = (content_type = "image/*, application/octet-stream"))
        ))
    )),
    responses(
        (
            status = 200, description = "The picture is safe.", body = AcceptedUpload,
            headers((
                "Idempotency-Replayed" = bool,
                description = "`true` where this was answered to an earlier request with the same `Idempotency-Key`."
            )),
            links(
                ("status" = (operation_id = "status", parameters(("job_id" = "$response.body#/job_id")))),
                ("events" = (operation_id = "events", parameters(("job_id" = "$response.body#/job_id")))),
                ("cancel" = (operation_id = "cancel", parameters(("job_id" = "$response.body#/job_id")))),
                ("success" = (operation_id = "success", parameters(("job_id" = "$response.body#/job_id"))))
            )
        ),
        UploadRefusals
    )
)]
pub(super) async fn upload(State(state): State<AppState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = PacedBody::new(body, body_limits(&state));
    let trace = parts.extensions.get().and_then(|RequestTrace(trace)| trace.clone());
    let mut redirect = FormRedirect::of(&parts.headers);
    let outcome = accept(&state, &parts.headers, &body, trace, &mut redirect).await;
    redirect.answer(outcome)
}

fn body_limits(state: &AppState) -> BodyLimits {
    let http = &state.http;
    let overhead_max = overhead_max(state);
    BodyLimits {
        bytes_max: http.body_bytes_max.saturating_add(overhead_max),
        grace: http.body_grace,
        bytes_per_sec_min: http.body_rate_min,
        overhead_max,
    }
}

/// Bytes that a form may have besides its file.
fn overhead_max(state: &AppState) -> u64 {
    state.http.part_header_bytes_max * state.http.parts_max as u64
}

/// Everything that can be refused is refused as early as it can be known.
async fn accept(
    state: &AppState,
    headers: &HeaderMap,
    body: &PacedBody,
    trace: Option<TraceContext>,
    redirect: &mut FormRedirect,
) -> Result<RequestAnswer, Refusal> {
    let key = RequestKey::of(headers)?;
    let grant = match bearer_of(headers)? {
        Some(token) => Some(UploadGrant::check(state, token, redirect)?),
        None => None,
    };
    check_room(state).await?;
    check_length(state, headers, FileLimit::of(state, None))?;
    let mut form = UploadForm::open(state, headers, body)?;
    let grant = match grant {
        Some(grant) => grant,
        None => UploadGrant::check(state, &form.token().await?, redirect)?,
    };
    let mut begun = idempotency::begin(state, &grant.owner, PATH, key).await?;
    let outcome = accept_file(state, headers, form, grant, trace, &mut begun).await;
    if let Some(Begun::InFlight(request)) = begun {
        request.end().await;
    }
    outcome
}

/// The same from the file on. If the upload has a key, `begun` says what is known of it.
async fn accept_file(
    state: &AppState,
    headers: &HeaderMap,
    mut form: UploadForm<'_>,
    grant: UploadGrant,
    trace: Option<TraceContext>,
    begun: &mut Option<Begun>,
) -> Result<RequestAnswer, Refusal> {
    let is_answered = matches!(begun, Some(Begun::Answered(_)));
    // What was answered has used its token then.
    if let Some(token) = grant.once.as_ref().filter(|_| !is_answered)
        && let Some(job_id) = state.intake.user_of_token(&token.digest).await?
    {
        return Err(token_used(state, job_id));
    }
    let limit = grant.file_limit(state);
    check_length(state, headers, limit)?;
    let UploadedFile { id, name, received } = form.file(limit).await?;
    let mut repeatable = None;
    if let Some(begun) = begun {
        let fingerprint = grant.fingerprint(state, &name, &received.sha256);
        match begun {
            Begun::Answered(answer) => return RequestAnswer::replayed(answer.clone(), fingerprint),
            Begun::InFlight(request) => {
                if let Some(answer) = resume(state, request, fingerprint).await? {
                    return Ok(answer);
                }
            }
        }
        repeatable = Some(fingerprint);
    }
    let inspected = inspect_upload(state, &received, &grant.job).await?;
    let record = JobRecord { trace, ..grant.into_record(state, id, Stem::of(&name), inspected)? };
    let repeatable = match (begun.take(), repeatable) {
        (Some(Begun::InFlight(request)), Some(fingerprint)) => Some(RepeatableRequest { request, fingerprint }),
        _ => None,
    };
    let answer = RequestAnswer::new(StatusCode::OK, &AcceptedUpload::of(state, &record));
    acceptance::accept(state, JobBytes::Received(received), record, answer, repeatable).await
}

/// Whether there is a point in reading the body at all.
pub(super) async fn check_room(state: &AppState) -> Result<(), Refusal> {
    if state.readiness.refuses_uploads() {
        return Err(Refusal::Draining);
    }
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    if state.disks.below_floor() {
        return Err(Refusal::DiskFull);
    }
    if state.disks.root(RootKind::Data).trouble.is_some() {
        return Err(Refusal::DiskUnusable);
    }
    let counts = state.records.counts().await?;
    let depth = usize::try_from(counts.pending + counts.processing).unwrap_or(usize::MAX);
    if depth >= state.http.depth_max {
        return Err(Refusal::Queue(QueueError::Full { depth }));
    }
    Ok(())
}

fn check_length(state: &AppState, headers: &HeaderMap, limit: FileLimit) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let bytes_max = limit.bytes_max.saturating_add(overhead_max(state));
    if length.is_some_and(|length| length > bytes_max) { Err(limit.refusal()) } else { Ok(()) }
}

/// What the bytes of an upload are, judged by themselves.
pub(super) struct InspectedUpload {
    original: Original,
    inspection: Inspection,
    /// Bytes that making the variants takes; none if there are none to make.
    memory: Option<u64>,
}

/// Refuses what is no image, and an image of which the job's variants can't be made.
pub(super) async fn inspect_upload(
    state: &AppState,
    received: &Received,
    job: &ParsedJob,
) -> Result<InspectedUpload, Refusal> {
    let path = received.path();
    let info = read_header(state, move || File::open(path)).await?;
    let original = Original {
        format: info.format,
        sha256: received.sha256,
        bytes: received.bytes,
        width: info.width,
        height: info.height,
    };
    hold_to_limits(state, original, info, job)
}

/// What the header of a picture says, if it is one that is taken.
pub(super) async fn read_header(
    state: &AppState,
    open: impl FnOnce() -> io::Result<File> + Send + 'static,
) -> Result<SourceInfo, Refusal> {
    let limits = state.pixel_limits;
    let read = spawn_blocking(move || inspect(BufReader::new(open().map_err(InspectError::Io)?), &limits)).await;
    Ok(read.map_err(|error| Refusal::Internal(format!("inspecting an upload: {error}")))??)
}

/// The same of bytes of which is known what their header says.
pub(super) fn hold_to_limits(
    state: &AppState,
    original: Original,
    source: SourceInfo,
    job: &ParsedJob,
) -> Result<InspectedUpload, Refusal> {
    let checked = check_outputs(&job.spec, &source, &state.pixel_limits);
    checked.map_err(|errors| errors.with_preset(job.preset.as_ref()))?;
    let memory = match job.spec.variants.as_slice() {
        [] => None,
        variants => Some(state.memory_limit.admit(&source, original.bytes, variants)?.bytes),
    };
    let inspection =
        Inspection { source, source_pixels_max: state.pixel_limits.source_max, source_side_max: SOURCE_SIDE_MAX };
    Ok(InspectedUpload { original, inspection, memory })
}
