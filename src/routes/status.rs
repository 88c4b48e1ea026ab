//! `GET /status`: where a job is.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tracing::warn;

use super::extract::{JobQuery, Parameters, find};
use super::{AppState, Refusal};
use crate::active_jobs::{Progress, StoreOutage};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::job::{HashKey, JobId, PublicUrl, State as JobState, StoredFile};
use crate::queue::Job;

/// A job as its client sees it. While it runs, `files` are those stored so far, each with the stores that have it.
#[derive(Serialize)]
pub(super) struct Status {
    hash: HashKey,
    job_id: JobId,
    state: &'static str,
    priority: u8,
    attempt: u32,
    progress: FileCounts,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    files: Vec<StoredFile>,
    error: Option<String>,
    /// The stores that the job waits for, none of them most of the time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<StoreOutage>,
}

/// How many of a job's files are in every store that they are for, and how many there will be.
#[derive(Serialize)]
struct FileCounts {
    done: usize,
    total: usize,
}

/// The route.
pub(super) async fn status(
    State(state): State<AppState>,
    Parameters(query): Parameters<JobQuery>,
) -> Result<Json<Status>, Refusal> {
    let job = find(&state, &query).await?;
    let job = job.ok_or_else(|| Refusal::NotFound("no job of this hash or id is known".into()))?;
    let (job, progress) = with_progress(&state, job).await?;
    let waiting_for = state.active_jobs.outages(job.record.id);
    Ok(Json(show(job, progress, waiting_for, &state.http.public_url)))
}

/// A job and, while an attempt at it runs in this process, what that has stored. Of one that waits for its next attempt
/// the files are those that the ones before have left.
async fn with_progress(state: &AppState, job: Job) -> Result<(Job, Option<Progress>), Refusal> {
    let id = job.record.id;
    let job = match job.state {
        JobState::Processing => match state.active_jobs.progress(id) {
            Some(progress) => return Ok((job, Some(progress))),
            // An attempt settles its job before it leaves `active_jobs`: one that ended since the queue was asked is on record
            // by now, and without asking again the files that it stored would be missing for a moment.
            None => state.records.get(&id).await?.unwrap_or(job),
        },
        _ => job,
    };
    if job.state.is_terminal() || !state.disks.is_usable() {
        return Ok((job, None));
    }
    match state.spool.stored_files(&job.record).await {
        Ok(files) if !files.is_empty() => Ok((Job { files, ..job }, None)),
        Ok(_) => Ok((job, None)),
        Err(error) => {
            warn!(job_id = %id, error = %ErrorChain(&error), "journal can't be read");
            Ok((job, None))
        }
    }
}

fn show(job: Job, progress: Option<Progress>, waiting_for: Vec<StoreOutage>, public_url: &PublicUrl) -> Status {
    let total = job.record.spec.file_count();
    let progress = progress.unwrap_or_else(|| {
        let stores = usize::from(job.record.spec.direct_host) + job.record.spec.storage.len();
        let done = job.files.iter().filter(|file| file.stored.len() >= stores).count();
        Progress { files: job.files, done }
    });
    Status {
        hash: job.record.hash,
        job_id: job.record.id,
        state: job.state.as_str(),
        priority: job.record.spec.priority.as_number(),
        attempt: job.attempts,
        progress: FileCounts { done: progress.done, total },
        created_at: job.record.created_at.rfc3339(),
        started_at: job.started_at.map(Timestamp::rfc3339),
        finished_at: job.finished_at.map(Timestamp::rfc3339),
        files: public_url.of_files(progress.files),
        error: job.error.map(|error| error.detail),
        waiting_for,
    }
}
