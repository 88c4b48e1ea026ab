//! `POST /upload`: takes an image and a signed job, and answers once both are safe.

mod form;
mod form_redirect;
mod grant;
mod parameters;

use std::fs::File;
use std::io::BufReader;
use std::ops::Not;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
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
use super::idempotency::{self, Begun, IDEMPOTENCY_REPLAYED, RequestInFlight, RequestKey};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::disks::RootKind;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{
    HashKey, Inspection, JobId, JobRecord, JobRef, KeptAnswer, OnDuplicate, Original, ParsedJob, RequestFingerprint,
    Stem, TraceContext,
};
use crate::pipeline::{InspectError, SOURCE_SIDE_MAX, check_outputs, inspect};
use crate::queue::{Enqueued, Job, QueueError};
use crate::spool::{Received, SpoolEntry};

const PATH: &str = "/upload";

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
    JobTooLarge, TooManyJobs, UnsupportedImage, DamagedImage, ImageTooLarge, DiskFull, QueueFull, Draining, Paused, Unavailable,
    BadIdempotencyKey, IdempotencyInFlight, IdempotencyKeyReused, Erased
);

/// Takes a picture and a signed job, and answers once both are safe
///
/// The job is the `job` claim of the token, which is in the `Authorization` header or in the form. From the answer on, the job ends in exactly one way, whatever happens to the server.
#[utoipa::path(
    post, path = "/upload", tag = "Upload",
    security((), ("token" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header, nullable = false,
        description = "A string that this owner gives to no other upload: 16 to 255 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `~` and `-`, in \
            quotes or without. An upload that is sent again with it is answered as before for 24 hours, and nothing is done twice."
    )),
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

/// What an upload is answered with.
struct UploadAnswer {
    /// That of the 200.
    body: String,
    job_id: String,
    /// It was given before.
    is_replayed: bool,
}

impl UploadAnswer {
    fn new(accepted: &AcceptedUpload) -> Self {
        let body = serde_json::to_string(accepted).expect("INVARIANT: an answer is plain data");
        Self { body, job_id: accepted.job_id.to_string(), is_replayed: false }
    }

    fn kept(answer: KeptAnswer, is_replayed: bool) -> Self {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let job_id = body["job_id"].as_str().unwrap_or_default().to_owned();
        Self { body: answer.body, job_id, is_replayed }
    }

    /// As it is kept for a request with this fingerprint.
    fn to_keep(&self, fingerprint: RequestFingerprint) -> KeptAnswer {
        KeptAnswer { fingerprint, status: StatusCode::OK.as_u16(), body: self.body.clone() }
    }
}

impl IntoResponse for UploadAnswer {
    fn into_response(self) -> Response {
        let mut response = ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.body).into_response();
        if self.is_replayed {
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Everything that can be refused is refused as early as it can be known.
async fn accept(
    state: &AppState,
    headers: &HeaderMap,
    body: &PacedBody,
    trace: Option<TraceContext>,
    redirect: &mut FormRedirect,
) -> Result<UploadAnswer, Refusal> {
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
) -> Result<UploadAnswer, Refusal> {
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
            Begun::Answered(answer) => return replay(answer.clone(), fingerprint),
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
        (Some(Begun::InFlight(request)), Some(fingerprint)) => Some(RepeatableUpload { request, fingerprint }),
        _ => None,
    };
    // In a task of its own: a client that hangs up now must not leave an accepted upload that nobody queued.
    let state = state.clone();
    tokio::spawn(async move { commit_upload(&state, received, record, repeatable).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("accepting an upload: {error}")))?
}

/// What was answered to the same upload before.
fn replay(answer: KeptAnswer, fingerprint: RequestFingerprint) -> Result<UploadAnswer, Refusal> {
    Ok(UploadAnswer::kept(idempotency::replay(answer, fingerprint)?, true))
}

/// Looks whether the same upload has come into the spool before, and whoever sent it was not told: then that is its job.
async fn resume(
    state: &AppState,
    request: &mut RequestInFlight,
    fingerprint: RequestFingerprint,
) -> Result<Option<UploadAnswer>, Refusal> {
    let Some(earlier) = request.earlier else { return Ok(None) };
    let Some(SpoolEntry::Whole(record)) = state.spool.manifest(earlier).await? else { return Ok(None) };
    let Some(answer) = request.answer_in(record.idempotency.as_ref()) else { return Ok(None) };
    let answer = idempotency::replay(answer, fingerprint)?;
    let on_duplicate = record.on_duplicate;
    match state.intake.enqueue(*record).await? {
        Enqueued::Created | Enqueued::Known => {
            request.queued();
            info!(job_id = %earlier, "upload accepted that had come before");
            Ok(Some(UploadAnswer::kept(answer, false)))
        }
        Enqueued::Repeated(answer) => replay(answer, fingerprint).map(Some),
        // It stays in the spool, and is queued when that one has ended.
        Enqueued::Duplicate(live) => duplicate(state, on_duplicate, live).map(Some),
        Enqueued::TokenUsed(job_id) => Err(token_used(state, job_id)),
        Enqueued::RetriedAlready(_) => Err(Refusal::Internal("an upload runs no job again".to_owned())),
    }
}

fn token_used(state: &AppState, job_id: JobId) -> Refusal {
    Refusal::TokenUsed { job_id, status_url: state.status_url(job_id) }
}

/// The answer to an upload that is `live` already.
fn duplicate(state: &AppState, on_duplicate: OnDuplicate, live: Box<Job>) -> Result<UploadAnswer, Refusal> {
    match on_duplicate {
        OnDuplicate::Refuse => Err(Refusal::DuplicateJob { status_url: state.status_url(live.record.id), job: live }),
        OnDuplicate::Queue(_) => {
            let accepted = AcceptedUpload { duplicate: true, ..AcceptedUpload::of(state, &live.record) };
            Ok(UploadAnswer::new(&accepted))
        }
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

/// An upload that may be repeated, of which is known what it is.
struct RepeatableUpload {
    request: RequestInFlight,
    fingerprint: RequestFingerprint,
}

/// Takes an upload in, unless it is live already, and ends its request.
async fn commit_upload(
    state: &AppState,
    received: Received,
    record: JobRecord,
    mut repeatable: Option<RepeatableUpload>,
) -> Result<UploadAnswer, Refusal> {
    let outcome = match state.intake.find_live(&record.hash, &record.owner).await {
        Ok(Some(live)) if !record.waits_for(&live.record) => duplicate(state, record.on_duplicate, Box::new(live)),
        Ok(_) => spool_and_queue(state, received, record, repeatable.as_mut()).await,
        Err(error) => Err(error.into()),
    };
    let Some(RepeatableUpload { mut request, fingerprint }) = repeatable else { return outcome };
    // The answer of one that became a job, its queue has.
    let kept = match &outcome {
        Ok(answer) if !request.has_ended() && !answer.is_replayed => request.keep(answer.to_keep(fingerprint)).await,
        _ => Ok(()),
    };
    request.end().await;
    kept.and(outcome)
}

/// Spool first, then queue: from the moment the spool has it, a restart would find it.
async fn spool_and_queue(
    state: &AppState,
    received: Received,
    mut record: JobRecord,
    mut repeatable: Option<&mut RepeatableUpload>,
) -> Result<UploadAnswer, Refusal> {
    let (answer, on_duplicate) = (UploadAnswer::new(&AcceptedUpload::of(state, &record)), record.on_duplicate);
    let (id, hash, bytes) = (record.id, record.hash.clone(), record.original.bytes);
    // Whose it is without naming a person: the first bytes of what stands for the owner everywhere else.
    let (user, owner) = (record.owner.user.clone(), hex::encode(&record.owner.digest()[..OWNER_DIGEST_BYTES]));
    if let Some(RepeatableUpload { request, fingerprint }) = &mut repeatable {
        request.becomes(id).await?;
        record.idempotency = Some(request.idempotency(answer.to_keep(*fingerprint)));
    }
    received.accept(&record).await?;
    reached(Step::UploadBeforeEnqueue);
    let outcome = match state.intake.enqueue(record).await {
        Ok(Enqueued::Created | Enqueued::Known) => {
            reached(Step::UploadAfterEnqueue);
            if let Some(RepeatableUpload { request, .. }) = repeatable {
                request.queued();
            }
            info!(job_id = %id, %hash, bytes, user, owner, "upload accepted");
            return Ok(answer);
        }
        Ok(Enqueued::Duplicate(live)) => duplicate(state, on_duplicate, live),
        Ok(Enqueued::TokenUsed(job_id)) => Err(token_used(state, job_id)),
        // This one was thought to be gone, and another was quicker.
        Ok(Enqueued::Repeated(answer)) => match &repeatable {
            Some(RepeatableUpload { fingerprint, .. }) => replay(answer, *fingerprint),
            None => Err(Refusal::Internal("an upload without a key was answered before".to_owned())),
        },
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
    match (state.spool.remove(id).await, repeatable) {
        (Err(error), _) => tracing::warn!(
            job_id = %id, error = %ErrorChain(&error),
            "upload that is no job could not be removed from the spool; the next start queues it"
        ),
        (Ok(()), Some(RepeatableUpload { request, .. })) => request.refused(),
        (Ok(()), None) => {}
    }
    outcome
}
