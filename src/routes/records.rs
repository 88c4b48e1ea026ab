//! `GET /success`, `GET /failures` and their lists: what became of jobs.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::callback_fate::CallbackFate;
use super::extract::{Admin, JobQuery, Parameters, StrictParameters, find};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::job::{ErrorCode, HashKey, JobId, JobRef, ShownFile, State as JobState, Warnings, shown_files, warnings_of};
use crate::queue::{Cursor, Filter, Job, Page, PageRequest};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Records at most; what is more than 200 counts as 200.
    #[param(nullable = false, default = 50)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Records in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;

/// What is answered about one job, whichever of the two routes is asked.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "`record` writes it; here is what clients read")]
enum RecordAnswer {
    Success(SuccessRecord),
    Failed(FailedRecord),
    Other(OtherRecord),
    NotFound(NoRecord),
}

/// A job that completed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct SuccessRecord {
    hash: HashKey,
    job_id: JobId,
    status: SuccessWord,
    /// When it ended.
    #[schema(format = "date-time")]
    timestamp: String,
    file_count: usize,
    /// The `job` claim without its secrets, as JSON in a string.
    job_data: String,
    files: Vec<ShownFile>,
    callback: CallbackFate,
    /// When it is erased, with all that is stored of it.
    #[schema(required = false, format = "date-time")]
    expires_at: String,
    #[schema(required = false)]
    warnings: Warnings,
    #[schema(rename = "ref", required = false)]
    reference: JobRef,
    /// The failed or cancelled job that it runs again.
    #[schema(required = false)]
    retry_of: JobId,
    /// The job that runs it again.
    #[schema(required = false)]
    retried_as: JobId,
    /// The job whose bytes it was given, if it was not uploaded.
    #[schema(required = false)]
    reprocess_of: JobId,
}

/// A job that failed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct FailedRecord {
    hash: HashKey,
    job_id: JobId,
    status: FailedWord,
    /// When it ended.
    #[schema(format = "date-time")]
    timestamp: String,
    error: String,
    /// The same in a word that stays the same.
    #[schema(required)]
    error_code: Option<ErrorCode>,
    /// The `job` claim without its secrets, as JSON in a string.
    job_data: String,
    /// What was stored all the same.
    files: Vec<ShownFile>,
    callback: CallbackFate,
    /// When it is erased, with all that is stored of it.
    #[schema(required = false, format = "date-time")]
    expires_at: String,
    #[schema(required = false)]
    warnings: Warnings,
    #[schema(rename = "ref", required = false)]
    reference: JobRef,
    /// The failed or cancelled job that it runs again.
    #[schema(required = false)]
    retry_of: JobId,
    /// The job that runs it again.
    #[schema(required = false)]
    retried_as: JobId,
    /// The job whose bytes it was given, if it was not uploaded.
    #[schema(required = false)]
    reprocess_of: JobId,
}

/// A job that has not ended, or was cancelled.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct OtherRecord {
    hash: HashKey,
    job_id: JobId,
    status: OtherWord,
    /// When it was accepted, or cancelled.
    #[schema(format = "date-time")]
    timestamp: String,
    /// The `job` claim without its secrets, as JSON in a string.
    job_data: String,
    callback: CallbackFate,
    /// When it is erased, with all that is stored of it.
    #[schema(required = false, format = "date-time")]
    expires_at: String,
    #[schema(required = false)]
    warnings: Warnings,
    #[schema(rename = "ref", required = false)]
    reference: JobRef,
    /// The failed or cancelled job that it runs again.
    #[schema(required = false)]
    retry_of: JobId,
    /// The job that runs it again.
    #[schema(required = false)]
    retried_as: JobId,
    /// The job whose bytes it was given, if it was not uploaded.
    #[schema(required = false)]
    reprocess_of: JobId,
}

/// No job of this hash or id is known.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct NoRecord {
    /// As it was asked for.
    hash: String,
    status: NotFoundWord,
    message: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "see above")]
enum SuccessWord {
    Success,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "see above")]
enum FailedWord {
    Failed,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "see above")]
enum OtherWord {
    Pending,
    Processing,
    Cancelled,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "see above")]
enum NotFoundWord {
    NotFound,
}

/// A page of jobs that completed, the newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct SuccessPage {
    success_records: Vec<SuccessRecord>,
    count: usize,
    /// The `cursor` of the next page; none after the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A page of jobs that failed, the newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct FailurePage {
    failures: Vec<FailedRecord>,
    count: usize,
    /// The `cursor` of the next page; none after the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

refusals!(RecordRefusals: BadRequest, DiskFull, Unavailable);
refusals!(ListRefusals: BadRequest, BadParameter, Unauthorized, Forbidden, DiskFull, Unavailable);

/// What became of a job, in the classic shape
///
/// The state that the job is really in: `success` only if it completed.
#[utoipa::path(
    get, path = "/success", tag = "Jobs", params(JobQuery),
    responses(
        (status = 200, description = "Its record, or that there is none.", body = RecordAnswer),
        RecordRefusals
    )
)]
pub(super) async fn success(
    State(state): State<AppState>,
    Parameters(query): Parameters<JobQuery>,
) -> Result<Json<Value>, Refusal> {
    record_of(&state, &query).await
}

/// What became of a job: the same as `/success`
///
/// The answer tells the state that the job is really in, so the two routes differ only in name.
#[utoipa::path(
    get, path = "/failures", tag = "Jobs", params(JobQuery),
    responses(
        (status = 200, description = "Its record, or that there is none.", body = RecordAnswer),
        RecordRefusals
    )
)]
pub(super) async fn failures(
    State(state): State<AppState>,
    Parameters(query): Parameters<JobQuery>,
) -> Result<Json<Value>, Refusal> {
    record_of(&state, &query).await
}

async fn record_of(state: &AppState, query: &JobQuery) -> Result<Json<Value>, Refusal> {
    let job = find(state, query).await?;
    Ok(Json(match job {
        Some(job) => record(state, job).await?,
        None => json!({
            "hash": query.hash.as_deref().unwrap_or_default(),
            "status": "not_found",
            "message": "no job of this hash is known",
        }),
    }))
}

/// All jobs that completed, the newest first
#[utoipa::path(
    get, path = "/success/list", tag = "Jobs", security(("token" = ["admin"])), params(ListQuery),
    responses(
        (status = 200, description = "A page.", body = SuccessPage),
        ListRefusals
    )
)]
pub(super) async fn success_list(
    State(state): State<AppState>,
    _: Admin,
    StrictParameters(query): StrictParameters<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&state, JobState::Completed, query, "success_records").await
}

/// All jobs that failed, the newest first
#[utoipa::path(
    get, path = "/failures/list", tag = "Jobs", security(("token" = ["admin"])), params(ListQuery),
    responses(
        (status = 200, description = "A page.", body = FailurePage),
        ListRefusals
    )
)]
pub(super) async fn failures_list(
    State(state): State<AppState>,
    _: Admin,
    StrictParameters(query): StrictParameters<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&state, JobState::Failed, query, "failures").await
}

async fn list(state: &AppState, of: JobState, query: ListQuery, name: &str) -> Result<Json<Value>, Refusal> {
    let filter = Filter::in_state(of);
    let cursor = query.cursor.filter(|cursor| !cursor.is_empty()).map(Cursor);
    let page = PageRequest { limit: query.limit.unwrap_or(LIMIT_DEFAULT), cursor };
    let Page { jobs, next } = state.records.list(&filter, page).await?;
    let mut records = Vec::with_capacity(jobs.len());
    for job in jobs {
        records.push(record(state, job).await?);
    }
    Ok(Json(json!({
        "count": records.len(),
        "next_cursor": next.map(|Cursor(cursor)| cursor),
        name: records,
    })))
}

/// A record in the classic shape. `job_data` is JSON in a string here, and an object in callbacks.
async fn record(state: &AppState, job: Job) -> Result<Value, Refusal> {
    let callback = CallbackFate::of(state, &job).await?;
    let warnings = warnings_of(&job.files);
    let expires_at = job.expires_at();
    let files = shown_files(&job.record, job.files, &state.http.public_url);
    let job_data = job.record.job_data.to_string();
    let timestamp = job.finished_at.unwrap_or(job.record.created_at).rfc3339();
    let (hash, job_id) = (&job.record.hash, job.record.id);
    let mut record = match job.state {
        JobState::Completed => json!({
            "hash": hash,
            "job_id": job_id,
            "status": "success",
            "timestamp": timestamp,
            "file_count": files.len(),
            "job_data": job_data,
            "files": files,
            "callback": callback,
        }),
        JobState::Failed => json!({
            "hash": hash,
            "job_id": job_id,
            "status": "failed",
            "timestamp": timestamp,
            "error": job.error.as_ref().map_or("unknown", |error| error.detail.as_str()),
            "error_code": job.error.as_ref().map(|error| error.code.as_str()),
            "job_data": job_data,
            "files": files,
            "callback": callback,
        }),
        JobState::Pending | JobState::Processing | JobState::Cancelled => json!({
            "hash": hash,
            "job_id": job_id,
            "status": job.state,
            "timestamp": timestamp,
            "job_data": job_data,
            "callback": callback,
        }),
    };
    if let Some(expires_at) = expires_at {
        record["expires_at"] = json!(expires_at.rfc3339());
    }
    if !warnings.is_empty() {
        record["warnings"] = json!(warnings);
    }
    if let Some(reference) = &job.record.reference {
        record["ref"] = json!(reference);
    }
    let others =
        [("retry_of", job.record.retry_of), ("retried_as", job.retried_as), ("reprocess_of", job.record.reprocess_of)];
    for (name, id) in others {
        if let Some(id) = id {
            record[name] = json!(id);
        }
    }
    Ok(record)
}
