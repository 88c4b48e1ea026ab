//! `GET /success`, `GET /failures` and their lists: what became of jobs.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::callback_fate::CallbackFate;
use super::extract::{Admin, JobQuery, Parameters, find};
use super::{AppState, Refusal};
use crate::job::{State as JobState, shown_files, warnings_of};
use crate::queue::{Cursor, Filter, Job, Page, PageRequest};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Records in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;

/// `GET /success`.
pub(super) async fn success(
    State(state): State<AppState>,
    Parameters(query): Parameters<JobQuery>,
) -> Result<Json<Value>, Refusal> {
    record_of(&state, &query).await
}

/// `GET /failures`. The answer tells the state that the job is really in, so the two routes differ only in name.
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

/// `GET /success/list`.
pub(super) async fn success_list(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&state, JobState::Completed, query, "success_records").await
}

/// `GET /failures/list`.
pub(super) async fn failures_list(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    list(&state, JobState::Failed, query, "failures").await
}

async fn list(state: &AppState, of: JobState, query: ListQuery, name: &str) -> Result<Json<Value>, Refusal> {
    let filter = Filter { state: Some(of), owner: None };
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
    if !warnings.is_empty() {
        record["warnings"] = json!(warnings);
    }
    if let Some(reference) = &job.record.reference {
        record["ref"] = json!(reference);
    }
    Ok(record)
}
