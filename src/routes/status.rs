//! `GET /status`: where a job is.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::extract::{Parameters, find};
use super::{AppState, Refusal};
use crate::job::{HashKey, JobId, StoredFile};
use crate::queue::Job;

#[derive(Deserialize)]
pub(super) struct Query {
    hash: Option<String>,
    job_id: Option<String>,
}

/// A job as its client sees it.
#[derive(Serialize)]
pub(super) struct Status {
    hash: HashKey,
    job_id: JobId,
    state: &'static str,
    priority: u8,
    attempt: u32,
    progress: Progress,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    files: Vec<StoredFile>,
    error: Option<String>,
}

/// How many of its files are stored everywhere.
#[derive(Serialize)]
struct Progress {
    done: usize,
    total: usize,
}

/// The route.
pub(super) async fn status(
    State(state): State<AppState>,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Status>, Refusal> {
    let job = find(&state, query.hash.as_deref(), query.job_id.as_deref()).await?;
    let job = job.ok_or_else(|| Refusal::NotFound("no job of this hash or id is known".into()))?;
    Ok(Json(show(&state, job)))
}

fn show(state: &AppState, job: Job) -> Status {
    let everywhere = usize::from(job.record.spec.direct_host) + job.record.spec.storage.len();
    let settled = job.files.iter().filter(|file| file.stored.len() >= everywhere).count();
    let done = state.active_jobs.files_done(job.record.id).filter(|_| !job.state.is_terminal()).unwrap_or(settled);
    Status {
        hash: job.record.hash,
        job_id: job.record.id,
        state: job.state.as_str(),
        priority: job.record.spec.priority.as_number(),
        attempt: job.attempts,
        progress: Progress { done, total: job.record.spec.file_count() },
        created_at: job.record.created_at.rfc3339(),
        started_at: job.started_at.map(crate::clock::Timestamp::rfc3339),
        finished_at: job.finished_at.map(crate::clock::Timestamp::rfc3339),
        files: job.files,
        error: job.error.map(|error| error.detail),
    }
}
