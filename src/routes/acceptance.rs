//! From a job that may be accepted to one that is, for every route that makes jobs: spool first, then queue. From the moment the spool
//! has it, a restart would find it.

use std::ops::Not;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tracing::{Instrument, info, warn};
use utoipa::ToSchema;

use super::idempotency::{self, Begun, IDEMPOTENCY_REPLAYED, RequestInFlight, RequestKey};
use super::{AppState, Refusal};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{HashKey, JobId, JobRecord, JobRef, KeptAnswer, OnDuplicate, Owner, RequestFingerprint};
use crate::queue::{Enqueued, Job, QueueError};
use crate::spool::{Received, SpoolEntry};

/// Bytes of the owner's digest in a log line: enough to tell the owners of one server apart.
const OWNER_DIGEST_BYTES: usize = 6;

/// What an accepted upload is answered with.
#[derive(Serialize, ToSchema)]
pub(super) struct AcceptedUpload {
    hash: HashKey,
    job_id: JobId,
    /// The names of all files that there will be.
    expected_files: Vec<String>,
    /// Where to ask about the job, as a path of this server.
    status_url: String,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<JobRef>,
    /// The job whose bytes it has, if it was not uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reprocess_of: Option<JobId>,
    /// It was accepted before, and is being worked on.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(required = false)]
    duplicate: bool,
}

impl AcceptedUpload {
    pub(super) fn of(state: &AppState, record: &JobRecord) -> Self {
        Self {
            hash: record.hash.clone(),
            job_id: record.id,
            expected_files: record.expected_files(),
            status_url: state.status_url(record.id),
            reference: record.reference.clone(),
            reprocess_of: record.reprocess_of,
            duplicate: false,
        }
    }
}

/// What a request is answered with that may be repeated.
pub(super) struct RequestAnswer {
    status: StatusCode,
    body: String,
    /// It was given before.
    pub(super) is_replayed: bool,
}

impl RequestAnswer {
    pub(super) fn new(status: StatusCode, answer: &impl Serialize) -> Self {
        let body = serde_json::to_string(answer).expect("INVARIANT: an answer is plain data");
        Self { status, body, is_replayed: false }
    }

    fn kept(answer: KeptAnswer, is_replayed: bool) -> Self {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        Self { status, body: answer.body, is_replayed }
    }

    /// What was answered to the same request before.
    pub(super) fn replayed(answer: KeptAnswer, fingerprint: RequestFingerprint) -> Result<Self, Refusal> {
        Ok(Self::kept(idempotency::replay(answer, fingerprint)?, true))
    }

    /// As it is kept for a request with this fingerprint.
    fn to_keep(&self, fingerprint: RequestFingerprint) -> KeptAnswer {
        KeptAnswer { fingerprint, status: self.status.as_u16(), body: self.body.clone() }
    }

    /// The id of the job that it tells of; empty if that is none.
    pub(super) fn job_id(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["job_id"].as_str().unwrap_or_default().to_owned()
    }
}

impl IntoResponse for RequestAnswer {
    fn into_response(self) -> Response {
        let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.status, json, self.body).into_response();
        if self.is_replayed {
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// A request that may be repeated, of which is known what it asks for.
pub(super) struct RepeatableRequest {
    pub(super) request: RequestInFlight,
    pub(super) fingerprint: RequestFingerprint,
}

/// A request that says at once what it asks for, as it begins.
pub(super) enum BegunWhole {
    /// It has been answered.
    Answered(RequestAnswer),
    /// It is to be done; without a key it can't be repeated.
    ToDo(Option<RepeatableRequest>),
}

impl RepeatableRequest {
    /// Begins `owner`'s request of `route`. One that an earlier request with this key left in the spool, of which nobody was told, is
    /// finished.
    pub(super) async fn begin(
        state: &AppState,
        owner: &Owner,
        route: &str,
        key: Option<RequestKey>,
        fingerprint: RequestFingerprint,
    ) -> Result<BegunWhole, Refusal> {
        let mut request = match idempotency::begin(state, owner, route, key).await? {
            None => return Ok(BegunWhole::ToDo(None)),
            Some(Begun::Answered(answer)) => {
                return RequestAnswer::replayed(answer, fingerprint).map(BegunWhole::Answered);
            }
            Some(Begun::InFlight(request)) => request,
        };
        match resume(state, &mut request, fingerprint).await {
            Ok(None) => Ok(BegunWhole::ToDo(Some(Self { request, fingerprint }))),
            Ok(Some(answer)) => {
                request.end().await;
                Ok(BegunWhole::Answered(answer))
            }
            Err(refusal) => {
                request.end().await;
                Err(refusal)
            }
        }
    }

    /// Ends it, so that whoever is answered now finds its key free or its answer kept: that of a request which became no job of its own
    /// is kept here.
    pub(super) async fn end(mut self, outcome: &Result<RequestAnswer, Refusal>) -> Result<(), Refusal> {
        let kept = match outcome {
            Ok(answer) if !self.request.has_ended() && !answer.is_replayed => {
                self.request.keep(answer.to_keep(self.fingerprint)).await
            }
            _ => Ok(()),
        };
        self.request.end().await;
        kept
    }
}

/// Looks whether the same request has brought its job into the spool before, and whoever sent it was not told: then that is its job.
pub(super) async fn resume(
    state: &AppState,
    request: &mut RequestInFlight,
    fingerprint: RequestFingerprint,
) -> Result<Option<RequestAnswer>, Refusal> {
    let Some(earlier) = request.earlier else { return Ok(None) };
    let Some(SpoolEntry::Whole(record)) = state.spool.manifest(earlier).await? else { return Ok(None) };
    let Some(answer) = request.answer_in(record.idempotency.as_ref()) else { return Ok(None) };
    let answer = RequestAnswer::kept(idempotency::replay(answer, fingerprint)?, false);
    let on_duplicate = on_duplicate(&record);
    // One that is none of these stays in the spool, and is queued or removed by the comparison.
    let enqueued = state.intake.enqueue(*record).await?;
    if let Enqueued::Created | Enqueued::Known = enqueued {
        request.queued();
        info!(job_id = %earlier, "job accepted that had come before");
    }
    answered(state, enqueued, answer, on_duplicate, Some(fingerprint)).await.map(Some)
}

/// Where the bytes of a job are that is to be accepted.
pub(super) enum JobBytes {
    /// On this machine: they have just come.
    Received(Received),
    /// In the spool, as those of this job.
    Spooled(JobId),
}

impl JobBytes {
    /// Brings them into the spool with the job's manifest. False if they are gone.
    async fn accept(self, state: &AppState, record: &JobRecord) -> Result<bool, Refusal> {
        Ok(match self {
            Self::Received(received) => received.accept(record).await.map(|()| true)?,
            Self::Spooled(from) => state.spool.accept_again(from, record).await?,
        })
    }
}

/// Whence a job comes.
#[derive(Clone, Copy)]
enum Origin {
    Upload,
    Retry(JobId),
    Reprocess(JobId),
}

impl Origin {
    fn of(record: &JobRecord) -> Self {
        match (record.retry_of, record.reprocess_of) {
            (Some(old), _) => Self::Retry(old),
            (None, Some(old)) => Self::Reprocess(old),
            (None, None) => Self::Upload,
        }
    }

    fn spooled(self) -> Step {
        match self {
            Self::Upload => Step::UploadBeforeEnqueue,
            Self::Retry(_) => Step::RetrySpooled,
            Self::Reprocess(_) => Step::ReprocessSpooled,
        }
    }

    fn enqueued(self) -> Step {
        match self {
            Self::Upload => Step::UploadAfterEnqueue,
            Self::Retry(_) => Step::RetryEnqueued,
            Self::Reprocess(_) => Step::ReprocessEnqueued,
        }
    }
}

/// What its request is answered if the same bytes are live: whoever asks to run a job again means that very job.
fn on_duplicate(record: &JobRecord) -> OnDuplicate {
    match Origin::of(record) {
        Origin::Retry(_) => OnDuplicate::Refuse,
        Origin::Upload | Origin::Reprocess(_) => record.on_duplicate,
    }
}

/// Takes a job in, unless its bytes are live already, and ends its request; `answer` is what that is answered then. In a task of its
/// own: a client that hangs up now must not leave an accepted job that nobody queued.
pub(super) async fn accept(
    state: &AppState,
    bytes: JobBytes,
    record: JobRecord,
    answer: RequestAnswer,
    mut repeatable: Option<RepeatableRequest>,
) -> Result<RequestAnswer, Refusal> {
    let state = state.clone();
    let accepting = async move {
        let on_duplicate = on_duplicate(&record);
        let outcome = match state.intake.find_live(&record.hash, &record.owner).await {
            Ok(Some(live)) if !record.waits_for(&live.record) => duplicate(&state, on_duplicate, Box::new(live)),
            Ok(_) => spool_and_queue(&state, bytes, record, answer, repeatable.as_mut()).await,
            Err(error) => Err(error.into()),
        };
        let Some(repeatable) = repeatable else { return outcome };
        // The answer of one that became a job, its queue has.
        repeatable.end(&outcome).await.and(outcome)
    };
    tokio::spawn(accepting.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("accepting a job: {error}")))?
}

async fn spool_and_queue(
    state: &AppState,
    bytes: JobBytes,
    mut record: JobRecord,
    answer: RequestAnswer,
    mut repeatable: Option<&mut RepeatableRequest>,
) -> Result<RequestAnswer, Refusal> {
    let (id, origin, on_duplicate) = (record.id, Origin::of(&record), on_duplicate(&record));
    let fingerprint = repeatable.as_ref().map(|repeatable| repeatable.fingerprint);
    let told = Told::of(&record);
    if let Some(RepeatableRequest { request, fingerprint }) = &mut repeatable {
        request.becomes(id).await?;
        record.idempotency = Some(request.idempotency(answer.to_keep(*fingerprint)));
    }
    if !bytes.accept(state, &record).await? {
        if let Some(RepeatableRequest { request, .. }) = repeatable {
            request.refused();
        }
        return Err(Refusal::OriginalGone);
    }
    reached(origin.spooled());
    let outcome = match state.intake.enqueue(record).await {
        Ok(enqueued @ (Enqueued::Created | Enqueued::Known)) => {
            reached(origin.enqueued());
            if let Some(RepeatableRequest { request, .. }) = repeatable {
                request.queued();
            }
            told.accepted();
            return answered(state, enqueued, answer, on_duplicate, fingerprint).await;
        }
        Ok(enqueued) => answered(state, enqueued, answer, on_duplicate, fingerprint).await,
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
        (Err(error), _) => warn!(
            job_id = %id, error = %ErrorChain(&error),
            "original of what is no job could not be removed from the spool; the next start queues it"
        ),
        (Ok(()), Some(RepeatableRequest { request, .. })) => request.refused(),
        (Ok(()), None) => {}
    }
    outcome
}

/// What a request is answered whose job was given to the queue: `answer`, if it is one now.
async fn answered(
    state: &AppState,
    enqueued: Enqueued,
    answer: RequestAnswer,
    on_duplicate: OnDuplicate,
    fingerprint: Option<RequestFingerprint>,
) -> Result<RequestAnswer, Refusal> {
    match enqueued {
        Enqueued::Created | Enqueued::Known => Ok(answer),
        Enqueued::Duplicate(live) => duplicate(state, on_duplicate, live),
        Enqueued::TokenUsed(job_id) => Err(token_used(state, job_id)),
        // This one was thought to be gone, and another was quicker.
        Enqueued::Repeated(answer) => match fingerprint {
            Some(fingerprint) => RequestAnswer::replayed(answer, fingerprint),
            None => Err(Refusal::Internal("a request without a key was answered before".to_owned())),
        },
        Enqueued::RetriedAlready(other) => match state.records.get(&other).await? {
            Some(job) => Err(Refusal::DuplicateJob { status_url: state.status_url(other), job: Box::new(job) }),
            None => Err(Refusal::OriginalGone),
        },
    }
}

/// The answer to a request whose bytes are `live` already.
fn duplicate(state: &AppState, on_duplicate: OnDuplicate, live: Box<Job>) -> Result<RequestAnswer, Refusal> {
    match on_duplicate {
        OnDuplicate::Refuse => Err(Refusal::DuplicateJob { status_url: state.status_url(live.record.id), job: live }),
        OnDuplicate::Queue(_) => {
            let accepted = AcceptedUpload { duplicate: true, ..AcceptedUpload::of(state, &live.record) };
            Ok(RequestAnswer::new(StatusCode::OK, &accepted))
        }
    }
}

pub(super) fn token_used(state: &AppState, job_id: JobId) -> Refusal {
    Refusal::TokenUsed { job_id, status_url: state.status_url(job_id) }
}

/// What the log is told of an accepted job.
struct Told {
    id: JobId,
    hash: HashKey,
    bytes: u64,
    user: Option<String>,
    /// Whose it is without naming a person: the first bytes of what stands for the owner everywhere else.
    owner: String,
    origin: Origin,
}

impl Told {
    fn of(record: &JobRecord) -> Self {
        Self {
            id: record.id,
            hash: record.hash.clone(),
            bytes: record.original.bytes,
            user: record.owner.user.clone(),
            owner: hex::encode(&record.owner.digest()[..OWNER_DIGEST_BYTES]),
            origin: Origin::of(record),
        }
    }

    fn accepted(self) {
        let Self { id, hash, bytes, user, owner, origin } = self;
        match origin {
            Origin::Upload => info!(job_id = %id, %hash, bytes, user, owner, "upload accepted"),
            Origin::Retry(old) => info!(job_id = %id, retry_of = %old, "job is run again"),
            Origin::Reprocess(old) => {
                info!(job_id = %id, %hash, bytes, user, owner, reprocess_of = %old, "job accepted on the bytes of another");
            }
        }
    }
}
