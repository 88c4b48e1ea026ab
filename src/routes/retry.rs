//! `POST /retry`: runs failed and cancelled jobs again, each as a new job.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{Instrument, info, warn};
use utoipa::ToSchema;

use super::extract::{JobQuery, Manager, Parameters, find, read_json};
use super::problem::refusals;
use super::upload::check_room;
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{CallbackTarget, ClaimErrors, HashKey, JobId, JobRecord, Priority, State as JobState};
use crate::queue::{Enqueued, Filter, Job, Page, PageRequest, QueueError};
use crate::register::{RegisterError, UnsealError};
use crate::spool::SpoolEntry;

/// Jobs that one request runs again.
const RETRIED_MAX: u64 = 1_000;
/// Jobs that are looked at for that: those that were run again before are passed over.
const LOOKED_AT_MOST: usize = 20_000;
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
    TooLarge, InvalidFields, JobTooLarge, TooManyJobs, DiskFull, QueueFull, Draining, Paused, Unavailable
);

/// Runs failed or cancelled jobs again, each as a new job
///
/// One that a parameter names, or those that the body describes: a thousand at most, the oldest first, with priority 1. The same job on the same
/// bytes with the same callback; what has been run again before stands for the job that did it.
#[utoipa::path(
    post, path = "/retry", tag = "Jobs", security(("token" = ["manage"])), params(JobQuery),
    request_body(content = inline(Option<RetryRequest>), content_type = "application/json"),
    responses(
        (status = 200, description = "The job that runs it again.", body = RetriedJob),
        (status = 202, description = "How many are run again.", body = RetriedJobs),
        RetryRefusals
    )
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    manager: Manager,
    Parameters(query): Parameters<JobQuery>,
    request: Request,
) -> Result<Response, Refusal> {
    let is_given = |parameter: &Option<String>| parameter.as_ref().is_some_and(|text| !text.is_empty());
    if is_given(&query.hash) || is_given(&query.job_id) {
        check_room(&state).await?;
        let unknown = || Refusal::NotFound("no job of this hash or id is known, or it is another's".into());
        let job = find(&state, &query).await?.filter(|job| manager.may_manage(&state, &job.record));
        let retried = retry_one(&state, job.ok_or_else(unknown)?).await?;
        return Ok(Json(retried).into_response());
    }
    let retries = Retries::parse(&read_json(request).await?)?;
    check_room(&state).await?;
    let whose = manager.jobs_of(&state, None, None).unwrap_or_default();
    let (count, skipped) = retry_many(&state, retries, whose).await?;
    info!(count, skipped, "jobs are run again");
    Ok((StatusCode::ACCEPTED, Json(json!({ "count": count, "skipped": skipped }))).into_response())
}

/// Runs one again, or the last of those that have run it again before.
async fn retry_one(state: &AppState, named: Job) -> Result<RetriedJob, Refusal> {
    let mut job = named;
    let mut is_named = true;
    for _ in 0..CHAIN_MAX {
        let Some(next) = job.retried_as else { break };
        let Some(next) = state.records.get(&next).await? else { break };
        (job, is_named) = (next, false);
    }
    match job.state {
        JobState::Failed | JobState::Cancelled => {}
        JobState::Completed => return Err(Refusal::JobCompleted { job_id: job.record.id }),
        live if is_named => return Err(Refusal::JobLive(live)),
        _ => return Err(Refusal::DuplicateJob { status_url: state.status_url(job.record.id), job: Box::new(job) }),
    }
    let prepared = prepare(state, &job, None).await?;
    // In a task of its own: a client that hangs up now must not leave a job in the spool that nobody queued.
    let state = state.clone();
    tokio::spawn(async move { commit(&state, job.record.id, prepared).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("running a job again: {error}")))?
}

/// The record of a job that runs this one again, which is as it was accepted.
async fn prepare(state: &AppState, job: &Job, priority: Option<Priority>) -> Result<JobRecord, Refusal> {
    let old = match state.spool.original_of(job.record.id).await? {
        // Not the queue's: that forgets a callback which nothing is told by.
        Some(SpoolEntry::Whole(record)) => *record,
        Some(SpoolEntry::Damaged { .. }) | None => return Err(Refusal::OriginalGone),
    };
    check_stores(state, &old)?;
    if let Some(live) = state.intake.find_live(&old.hash, &old.owner).await?
        && !old.waits_for(&live.record)
    {
        return Err(Refusal::DuplicateJob { status_url: state.status_url(live.record.id), job: Box::new(live) });
    }
    let now = state.clock.now();
    let id = JobId::new(now);
    let mut spec = old.spec;
    spec.priority = priority.unwrap_or(spec.priority);
    let callback = old.callback.map(|target| seal_again(state, &old.id, &id, target)).transpose()?;
    // Its token was used for the upload, and is asked for no more; nor is this the request that was answered for it.
    Ok(JobRecord {
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

/// A store that is registered no more takes no file.
fn check_stores(state: &AppState, record: &JobRecord) -> Result<(), ClaimErrors> {
    let mut errors = ClaimErrors::default();
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

/// Spool first, then queue, as for an upload. The queue notes in one step that the old job is run again by this one.
async fn commit(state: &AppState, old: JobId, record: JobRecord) -> Result<RetriedJob, Refusal> {
    let id = record.id;
    let retried = RetriedJob {
        hash: record.hash.clone(),
        job_id: id,
        expected_files: record.expected_files(),
        status_url: state.status_url(id),
        retry_of: old,
    };
    if !state.spool.accept_again(old, &record).await? {
        return Err(Refusal::OriginalGone);
    }
    reached(Step::RetrySpooled);
    let refusal = match state.intake.enqueue(record).await {
        Ok(Enqueued::Created | Enqueued::Known) => {
            reached(Step::RetryEnqueued);
            info!(job_id = %id, retry_of = %old, "job is run again");
            return Ok(retried);
        }
        Ok(Enqueued::Duplicate(live)) => {
            Refusal::DuplicateJob { status_url: state.status_url(live.record.id), job: live }
        }
        Ok(Enqueued::RetriedAlready(other)) => match state.records.get(&other).await? {
            Some(job) => Refusal::DuplicateJob { status_url: state.status_url(other), job: Box::new(job) },
            None => Refusal::OriginalGone,
        },
        Ok(Enqueued::TokenUsed(_) | Enqueued::Repeated(_)) => {
            Refusal::Internal("a job that is run again was taken for an upload".to_owned())
        }
        Err(error @ (QueueError::Full { .. } | QueueError::OwnerFull { .. } | QueueError::TooLarge { .. })) => {
            Refusal::Queue(error)
        }
        Err(error @ QueueError::StorageFull) if state.node.is_some() => Refusal::Queue(error),
        // Nobody knows whether the queue has it: the comparison queues it then.
        Err(error) => return Err(Refusal::Queue(error)),
    };
    if let Err(error) = state.spool.remove(id).await {
        warn!(job_id = %id, error = %ErrorChain(&error), "original of what is no job could not be removed from the spool");
    }
    Err(refusal)
}

/// How many are run again, and how many could not be.
async fn retry_many(state: &AppState, retries: Retries, whose: Filter) -> Result<(usize, usize), Refusal> {
    let Retries { of, error_codes, since, until, limit } = retries;
    let filter = Filter { state: Some(of), since, until, ..whose };
    let (mut count, mut skipped, mut looked_at, mut cursor) = (0, 0, 0, None);
    loop {
        let Page { jobs, next } =
            state.records.list_oldest_first(&filter, PageRequest { limit: AT_ONCE, cursor }).await?;
        looked_at += jobs.len().max(1);
        let is_meant = |job: &Job| {
            error_codes.is_empty() || job.error.as_ref().is_some_and(|error| error_codes.contains(&error.code))
        };
        for job in jobs.into_iter().filter(is_meant) {
            if count == limit {
                return Ok((count, skipped));
            }
            match retry_queued(state, job).await {
                Ok(()) => count += 1,
                // Whatever fails for the others, too.
                Err(error @ (Refusal::Queue(_) | Refusal::Spool(_))) if count == 0 => return Err(error),
                Err(Refusal::Queue(QueueError::OwnerFull { .. } | QueueError::TooLarge { .. })) => skipped += 1,
                Err(Refusal::Queue(_) | Refusal::Spool(_)) => return Ok((count, skipped + 1)),
                Err(_) => skipped += 1,
            }
        }
        cursor = next;
        if cursor.is_none() || looked_at >= LOOKED_AT_MOST {
            return Ok((count, skipped));
        }
    }
}

async fn retry_queued(state: &AppState, job: Job) -> Result<(), Refusal> {
    if job.retried_as.is_some() {
        return Err(Refusal::JobLive(job.state));
    }
    let prepared = prepare(state, &job, Some(Priority::Queued)).await?;
    let (state, old) = (state.clone(), job.record.id);
    let committed = tokio::spawn(async move { commit(&state, old, prepared).await }.in_current_span()).await;
    committed.map_err(|error| Refusal::Internal(format!("running a job again: {error}")))?.map(drop)
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
