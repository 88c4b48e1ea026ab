//! `POST /upload`: takes an image and a signed job, and answers once both are safe.

mod form;
mod form_redirect;
mod grant;
mod parameters;

use std::fs::File;
use std::io::BufReader;
use std::ops::Not;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tracing::{Instrument, info};
use utoipa::ToSchema;

#[cfg(fuzzing)]
pub(super) use self::form::{PartName, boundary, header_bytes};
use self::form::{UploadForm, UploadedFile};
use self::form_redirect::FormRedirect;
pub(super) use self::grant::allowed_job;
use self::grant::{FileLimit, UploadGrant};
use super::access::RequestTrace;
use super::body::{BodyLimits, PacedBody};
use super::extract::bearer_of;
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::disks::RootKind;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{HashKey, Inspection, JobId, JobRecord, JobRef, OnDuplicate, Original, ParsedJob, TraceContext};
use crate::pipeline::{InspectError, SOURCE_SIDE_MAX, check_outputs, inspect};
use crate::queue::{Enqueued, Job, QueueError};
use crate::spool::Received;

/// Bytes of the owner's digest in a log line: enough to tell the owners of one server apart.
const OWNER_DIGEST_BYTES: usize = 6;

/// What an accepted upload is answered with.
#[derive(Serialize, ToSchema)]
struct AcceptedUpload {
    hash: HashKey,
    job_id: JobId,
    /// The names of all files that there will be.
    expected_files: Vec<String>,
    /// Where to ask about the job, as a path of this server.
    status_url: String,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<JobRef>,
    /// It was accepted before, and is being worked on.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(required = false)]
    duplicate: bool,
}

impl AcceptedUpload {
    fn of(state: &AppState, record: &JobRecord) -> Self {
        Self {
            hash: record.hash.clone(),
            job_id: record.id,
            expected_files: record.expected_files(),
            status_url: state.status_url(record.id),
            reference: record.reference.clone(),
            duplicate: false,
        }
    }
}

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
    UploadRefusals: BadMultipart, InvalidFields, Unauthorized, OriginNotAllowed, TooSlow, TooLarge, DuplicateJob, TokenUsed,
    JobTooLarge, TooManyJobs, UnsupportedImage, DamagedImage, ImageTooLarge, DiskFull, QueueFull, Draining, Paused, Unavailable
);

/// Takes a picture and a signed job, and answers once both are safe
///
/// The job is the `job` claim of the token, which is in the `Authorization` header or in the form. From the answer on, the job ends in exactly one way, whatever happens to the server.
#[utoipa::path(
    post, path = "/upload", tag = "Upload",
    security((), ("token" = [])),
    request_body(content(
        (UploadParts = "multipart/form-data", encoding(
            ("token" = (content_type = "text/plain")), ("file" = (content_type = "image/*, application/octet-stream"))
        ))
    )),
    responses(
        (
            status = 200, description = "The picture is safe.", body = AcceptedUpload,
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
) -> Result<AcceptedUpload, Refusal> {
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
    if let Some(token) = &grant.once
        && let Some(job_id) = state.intake.user_of_token(&token.digest).await?
    {
        return Err(token_used(state, job_id));
    }
    let limit = grant.file_limit(state);
    check_length(state, headers, limit)?;
    let UploadedFile { id, stem, received } = form.file(limit).await?;
    let inspected = inspect_upload(state, &received, &grant.job).await?;
    let record = JobRecord { trace, ..grant.into_record(state, id, stem, inspected)? };
    if let Some(live) = state.intake.find_live(&record.hash, &record.owner).await?
        && !record.waits_for(&live.record)
    {
        return duplicate(state, record.on_duplicate, Box::new(live));
    }
    // In a task of its own: a client that hangs up now must not leave an accepted upload that nobody queued.
    let state = state.clone();
    tokio::spawn(async move { commit_upload(&state, received, record).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("accepting an upload: {error}")))?
}

fn token_used(state: &AppState, job_id: JobId) -> Refusal {
    Refusal::TokenUsed { job_id, status_url: state.status_url(job_id) }
}

/// The answer to an upload that is `live` already.
fn duplicate(state: &AppState, on_duplicate: OnDuplicate, live: Box<Job>) -> Result<AcceptedUpload, Refusal> {
    match on_duplicate {
        OnDuplicate::Refuse => Err(Refusal::DuplicateJob { status_url: state.status_url(live.record.id), job: live }),
        OnDuplicate::Queue(_) => Ok(AcceptedUpload { duplicate: true, ..AcceptedUpload::of(state, &live.record) }),
    }
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
struct InspectedUpload {
    original: Original,
    inspection: Inspection,
    /// Bytes that making the variants takes; none if there are none to make.
    memory: Option<u64>,
}

/// Refuses what is no image, and an image of which the job's variants can't be made.
async fn inspect_upload(state: &AppState, received: &Received, job: &ParsedJob) -> Result<InspectedUpload, Refusal> {
    let (path, limits) = (received.path(), state.pixel_limits);
    let info = spawn_blocking(move || {
        let file = File::open(&path).map_err(InspectError::Io)?;
        inspect(BufReader::new(file), &limits)
    })
    .await
    .map_err(|error| Refusal::Internal(format!("inspecting an upload: {error}")))??;
    check_outputs(&job.spec, &info, &state.pixel_limits)?;
    let memory = match job.spec.variants.as_slice() {
        [] => None,
        variants => Some(state.memory_limit.admit(&info, received.bytes, variants)?.bytes),
    };
    let original = Original {
        format: info.format,
        sha256: received.sha256,
        bytes: received.bytes,
        width: info.width,
        height: info.height,
    };
    let inspection =
        Inspection { source: info, source_pixels_max: limits.source_max, source_side_max: SOURCE_SIDE_MAX };
    Ok(InspectedUpload { original, inspection, memory })
}

/// Spool first, then queue: from the moment the spool has it, a restart would find it.
async fn commit_upload(state: &AppState, received: Received, record: JobRecord) -> Result<AcceptedUpload, Refusal> {
    let (accepted, on_duplicate) = (AcceptedUpload::of(state, &record), record.on_duplicate);
    let (id, bytes) = (record.id, record.original.bytes);
    // Whose it is without naming a person: the first bytes of what stands for the owner everywhere else.
    let (user, owner) = (record.owner.user.clone(), hex::encode(&record.owner.digest()[..OWNER_DIGEST_BYTES]));
    received.accept(&record).await?;
    reached(Step::UploadBeforeEnqueue);
    let answer = match state.intake.enqueue(record).await {
        Ok(Enqueued::Created | Enqueued::Known) => {
            reached(Step::UploadAfterEnqueue);
            info!(job_id = %id, hash = %accepted.hash, bytes, user, owner, "upload accepted");
            return Ok(accepted);
        }
        Ok(Enqueued::Duplicate(live)) => duplicate(state, on_duplicate, live),
        Ok(Enqueued::TokenUsed(job_id)) => Err(token_used(state, job_id)),
        Ok(Enqueued::RetriedAlready(_)) => Err(Refusal::Internal("an upload runs no job again".to_owned())),
        Err(error @ (QueueError::Full { .. } | QueueError::OwnerFull { .. } | QueueError::TooLarge { .. })) => {
            Err(Refusal::Queue(error))
        }
        // Redis says for sure that it didn't take it.
        Err(error @ QueueError::StorageFull) if state.node.is_some() => Err(Refusal::Queue(error)),
        // Nobody knows whether the queue kept it before it failed. The spool keeps it too, so that what may be a job
        // has its image; if it is none, the spool makes it one. A client that retries gets that job.
        Err(error) => return Err(Refusal::Queue(error)),
    };
    if let Err(error) = state.spool.remove(id).await {
        tracing::warn!(
            job_id = %id, error = %ErrorChain(&error),
            "upload that is no job could not be removed from the spool; the next start queues it"
        );
    }
    answer
}
