//! `POST /retry`: runs failed and cancelled jobs again, each as a new job.

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::info;
use utoipa::ToSchema;

use super::acceptance::{self, BegunWhole, JobBytes, RepeatableRequest, RequestAnswer};
use super::extract::{JobQuery, Manager, Parameters, find_managed, read_json};
use super::idempotency::{IdempotencyHeader, RequestKey, canonical};
use super::problem::refusals;
use super::upload::check_room;
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::job::{
    CallbackTarget, ClaimErrors, HashKey, JobId, JobRecord, Priority, RequestFingerprint, State as JobState,
};
use crate::queue::{Filter, Job, Page, PageRequest, QueueError};
use crate::register::{RegisterError, UnsealError};
use crate::spool::SpoolEntry;

const PATH: &str = "/retry";

/// Jobs that one request runs again.
const RETRIED_MAX: u64 = 1_000;
const AT_ONCE: usize = 200;
/// How often a job may have been run again, each time in vain.
const CHAIN_MAX: usize = 1_000;

/// A job that runs another again.
#[derive(Serialize, ToSchema)]
struct RetriedJob {
    hash: HashKey,
    job_id: JobId,
    /// The names of all files that there will be.
    expected_files: Vec<String>,
    /// Where to ask about the job, as a path of this server.
    status_url: String,
    /// The job that it runs again.
    retry_of: JobId,
}

/// Which jobs to run again, where no parameter names one.
#[derive(ToSchema)]
#[schema(as = RetryRequest)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`Retries::parse` reads it; here is what clients send")]
struct RetryRequest {
    state: RetriableWord,
    /// Only with one of these errors.
    #[schema(required = false)]
    error: Vec<String>,
    /// Only what was accepted then, or later.
    #[schema(required = false, format = "date-time")]
    since: String,
    /// Only what was accepted before.
    #[schema(required = false, format = "date-time")]
    until: String,
    /// Jobs at most.
    #[schema(required = false, minimum = 1, maximum = 1000, default = 1000)]
    limit: u64,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "each is written as a word; here is which there are")]
enum RetriableWord {
    Failed,
    Cancelled,
}

/// What became of those.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`retry_many` writes it; here is what clients read")]
struct RetriedJobs {
    /// How many are run again.
    count: usize,
    /// How many are not: they have been before, their originals are gone, their stores are registered no more, or the same bytes are
    /// live.
    skipped: usize,
}

refusals!(
    RetryRefusals: BadRequest, BadJson, Unauthorized, Forbidden, NotFound, JobLive, JobCompleted, DuplicateJob, OriginalGone,
    TooLarge, InvalidFields, JobTooLarge, TooManyJobs, DiskFull, QueueFull, Draining, Paused, Unavailable, BadIdempotencyKey,
    IdempotencyInFlight, IdempotencyKeyReused
);

/// Runs failed or cancelled jobs again, each as a new job
///
/// One that a parameter names, or those that the body describes: a thousand at most, the oldest first, with priority 1. The same job on the same
/// bytes with the same callback; what has been run again before stands for the job that did it.
#[utoipa::path(
    post, path = "/retry", tag = "Jobs", security(("token" = ["manage"])), params(JobQuery, IdempotencyHeader),
    request_body(content = inline(Option<RetryRequest>), content_type = "application/json"),
    responses(
        (
            status = 200, description = "The job that runs it again.", body = RetriedJob,
            headers((
                "Idempotency-Replayed" = bool,
                description = "`true` where this was answered to an earlier request with the same `Idempotency-Key`."
            ))
        ),
        (
            status = 202, description = "How many are run again.", body = RetriedJobs,
            headers((
                "Idempotency-Replayed" = bool,
                description = "`true` where this was answered to an earlier request with the same `Idempotency-Key`."
            ))
        ),
        RetryRefusals
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    manager: Manager,
    Parameters(query): Parameters<JobQuery>,
    request: Request,
) -> Result<RequestAnswer, Refusal> {
    let key = RequestKey::of(request.headers())?;
    if query.is_given() {
        return retry_one(&state, &manager, &query, key).await;
    }
    let body = read_json(request).await?;
    let retries = Retries::parse(&body)?;
    check_room(&state).await?;
    let fingerprint = fingerprint(&state, &canonical(&body).to_string());
    let repeatable = match RepeatableRequest::begin(&state, manager.owner(), PATH, key, fingerprint).await? {
        BegunWhole::Answered(answer) => return Ok(answer),
        BegunWhole::ToDo(repeatable) => repeatable,
    };
    let whose = manager.jobs_of(&state, None, None).unwrap_or_default();
    let counted = retry_many(&state, retries, whose).await;
    let outcome = counted.map(|(count, skipped)| {
        info!(count, skipped, "jobs are run again");
        RequestAnswer::new(StatusCode::ACCEPTED, &json!({ "count": count, "skipped": skipped }))
    });
    match repeatable {
        Some(repeatable) => repeatable.end(&outcome).await.and(outcome),
        None => outcome,
    }
}

fn fingerprint(state: &AppState, asked_for: &str) -> RequestFingerprint {
    RequestFingerprint(state.sealer.fingerprint(asked_for))
}

async fn retry_one(
    state: &AppState,
    manager: &Manager,
    query: &JobQuery,
    key: Option<RequestKey>,
) -> Result<RequestAnswer, Refusal> {
    check_room(state).await?;
    let fingerprint = fingerprint(state, &query.compared());
    let repeatable = match RepeatableRequest::begin(state, manager.owner(), PATH, key, fingerprint).await? {
        BegunWhole::Answered(answer) => return Ok(answer),
        BegunWhole::ToDo(repeatable) => repeatable,
    };
    let prepared = async {
        let job = last_of_chain(state, find_managed(state, manager, query).await?).await?;
        prepare(state, &job, None).await
    };
    match prepared.await {
        Ok(record) => accept(state, record, repeatable).await,
        Err(refusal) => {
            if let Some(repeatable) = repeatable {
                repeatable.request.end().await;
            }
            Err(refusal)
        }
    }
}

/// The job that is to be run again: the one that was named, or the last of those that have run it again before.
async fn last_of_chain(state: &AppState, named: Job) -> Result<Job, Refusal> {
    let (mut job, mut is_named) = (named, true);
    for _ in 0..CHAIN_MAX {
        let Some(next) = job.retried_as else { break };
        // Whatever it came to, nobody knows any more.
        let Some(next) = state.records.get(&next).await? else { return Err(Refusal::OriginalGone) };
        (job, is_named) = (next, false);
    }
    match job.state {
        JobState::Failed | JobState::Cancelled => Ok(job),
        JobState::Completed => Err(Refusal::JobCompleted { job_id: job.record.id }),
        live if is_named => Err(Refusal::JobLive(live)),
        _ => Err(Refusal::DuplicateJob { status_url: state.status_url(job.record.id), job: Box::new(job) }),
    }
}

/// The record of a job that runs this one again, which is as it was accepted.
async fn prepare(state: &AppState, job: &Job, priority: Option<Priority>) -> Result<JobRecord, Refusal> {
    let old = match state.spool.original_of(job.record.id).await? {
        // Not the queue's: that forgets a callback which nothing is told by.
        Some(SpoolEntry::Whole(record)) => *record,
        Some(SpoolEntry::Damaged { .. }) | None => return Err(Refusal::OriginalGone),
    };
    check_stores(state, &old)?;
    let now = state.clock.now();
    let id = JobId::new(now);
    let mut spec = old.spec;
    spec.priority = priority.unwrap_or(spec.priority);
    let callback = old.callback.map(|target| seal_again(state, &old.id, &id, target)).transpose()?;
    // Its token was used for the upload, and is asked for no more; nor is this the request that was answered for it.
    Ok(JobRecord {
        // Not that of the old one: in the first, nothing is said of a URL that is sealed.
        version: state.record_version(callback.as_ref(), &spec),
        id,
        spec,
        callback,
        once: None,
        idempotency: None,
        retry_of: Some(old.id),
        created_at: now,
        trace: None,
        ..old
    })
}

/// A store that is registered no more takes no file, nor does a directory that this server hasn't.
fn check_stores(state: &AppState, record: &JobRecord) -> Result<(), ClaimErrors> {
    let mut errors = ClaimErrors::default();
    if record.spec.private && state.spec_limits.no_private_files {
        errors.push("/job/private", "this server has no directory for private files any more");
    }
    for key in &record.spec.storage {
        if !state.register.may_use(&key.access_key, key.backend, record.owner.user.as_deref()) {
            let backend = key.backend.as_str();
            errors.push(
                format!("/job/storageKeys/{backend}"),
                format!("the job's {backend} store is registered no more"),
            );
        }
    }
    errors.or(())
}

/// What of a callback is secret is bound to its job's id.
fn seal_again(state: &AppState, old: &JobId, new: &JobId, target: CallbackTarget) -> Result<CallbackTarget, Refusal> {
    let unreadable = |error: UnsealError| Refusal::Internal(format!("unsealing the callback of a job: {error}"));
    let (url, headers) = state.sealer.unseal_callback(old, &target).map_err(unreadable)?;
    let sealed = state.sealer.seal_callback(new, &url, &headers).map_err(RegisterError::from)?;
    Ok(CallbackTarget { events: target.events, ..sealed })
}

/// The queue notes in the step in which it takes the job that the old one is run again by it.
async fn accept(
    state: &AppState,
    record: JobRecord,
    repeatable: Option<RepeatableRequest>,
) -> Result<RequestAnswer, Refusal> {
    let Some(old) = record.retry_of else { return Err(Refusal::Internal("a job runs none again".to_owned())) };
    let retried = RetriedJob {
        hash: record.hash.clone(),
        job_id: record.id,
        expected_files: record.expected_files(),
        status_url: state.status_url(record.id),
        retry_of: old,
    };
    let answer = RequestAnswer::new(StatusCode::OK, &retried);
    acceptance::accept(state, JobBytes::Spooled(old), record, answer, repeatable).await
}

/// How many are run again, and how many could not be.
async fn retry_many(state: &AppState, retries: Retries, whose: Filter) -> Result<(usize, usize), Refusal> {
    let Retries { of, error_codes, since, until, limit } = retries;
    // What fails again meanwhile is not run again by the same request.
    let now = state.clock.now();
    let until = Some(until.map_or(now, |until| until.min(now)));
    let filter = Filter { state: Some(of), since, until, ..whose };
    let (mut count, mut skipped, mut cursor) = (0, 0, None);
    let (mut full, mut last_full) = (HashSet::new(), None);
    loop {
        let Page { jobs, next } =
            state.records.list_oldest_first(&filter, PageRequest { limit: AT_ONCE, cursor }).await?;
        let is_meant = |job: &Job| {
            error_codes.is_empty() || job.error.as_ref().is_some_and(|error| error_codes.contains(&error.code))
        };
        for job in jobs.into_iter().filter(is_meant) {
            if count == limit {
                return Ok((count, skipped));
            }
            let tenant = job.record.owner.tenant_key();
            if job.retried_as.is_some() || full.contains(&tenant) {
                skipped += 1;
                continue;
            }
            match retry_queued(state, &job).await {
                Ok(()) => count += 1,
                // Nothing more of this one's has room, and of others' there may be.
                Err(error @ Refusal::Queue(QueueError::OwnerFull { .. })) => {
                    full.insert(tenant);
                    last_full = Some(error);
                    skipped += 1;
                }
                Err(Refusal::Queue(QueueError::TooLarge { .. })) => skipped += 1,
                Err(Refusal::Spool(error)) if error.is_damaged() => skipped += 1,
                // Whatever fails for the others, too.
                Err(error @ (Refusal::Queue(_) | Refusal::Spool(_))) if count == 0 => return Err(error),
                Err(Refusal::Queue(_) | Refusal::Spool(_)) => return Ok((count, skipped + 1)),
                Err(_) => skipped += 1,
            }
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    // None are run again, and not since there were none: whoever repeats this until that is so must not stop yet.
    match last_full {
        Some(refusal) if count == 0 => Err(refusal),
        _ => Ok((count, skipped)),
    }
}

async fn retry_queued(state: &AppState, job: &Job) -> Result<(), Refusal> {
    let record = prepare(state, job, Some(Priority::Queued)).await?;
    accept(state, record, None).await.map(drop)
}

/// Which jobs to run again.
struct Retries {
    of: JobState,
    error_codes: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: usize,
}

impl Retries {
    fn parse(body: &Value) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let known = ["state", "error", "since", "until", "limit"];
        for field in body
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys())
            .filter(|field| !known.contains(&field.as_str()))
        {
            errors.push(format!("/{field}"), "unknown field; there are `state`, `error`, `since`, `until` and `limit`");
        }
        let of = match body.get("state").and_then(Value::as_str) {
            Some("failed") => JobState::Failed,
            Some("cancelled") => JobState::Cancelled,
            _ => {
                errors.push("/state", "must be failed or cancelled");
                JobState::Failed
            }
        };
        let error_codes = match body.get("error") {
            None => Vec::new(),
            Some(Value::Array(codes)) if codes.iter().all(Value::is_string) => {
                codes.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => {
                errors.push("/error", "must be a list of error codes, as /status shows them");
                Vec::new()
            }
        };
        let mut time = |name: &str| {
            let time = body.get(name).map(|time| time.as_str().and_then(Timestamp::parse_rfc3339));
            if time == Some(None) {
                errors.push(format!("/{name}"), "must be a time as RFC 3339 writes it: 2026-01-31T12:00:00Z");
            }
            time.flatten()
        };
        let (since, until) = (time("since"), time("until"));
        let limit = body.get("limit").map_or(Some(RETRIED_MAX), Value::as_u64);
        let limit = limit.filter(|limit| (1..=RETRIED_MAX).contains(limit));
        if limit.is_none() {
            errors.push("/limit", format!("must be a whole number from 1 to {RETRIED_MAX}"));
        }
        let limit = usize::try_from(limit.unwrap_or(RETRIED_MAX)).unwrap_or(usize::MAX);
        errors.or(Self { of, error_codes, since, until, limit })
    }
}
