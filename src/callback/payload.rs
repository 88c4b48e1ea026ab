//! What a callback says.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::job::{HashKey, JobId, PublicUrl, State, StoredFile};
use crate::queue::Job;

/// The body of a callback. The same job gives the same bytes at every try.
#[derive(Serialize)]
struct Payload<'a> {
    hash: &'a HashKey,
    job_id: JobId,
    status: State,
    file_count: usize,
    /// When the job ended, in seconds since the Unix epoch.
    timestamp: u64,
    files: Vec<StoredFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    job_data: &'a Value,
}

/// Why a job has no callback to make.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Only completed and failed jobs owe one.
    #[error("a {0} job owes no callback")]
    State(State),
    /// The job can't be written as JSON.
    #[error("writing the job as JSON")]
    Json(#[from] serde_json::Error),
}

/// The JSON that tells how `job` ended. A failed job's `error` is what went wrong in words; a completed one has none,
/// even if an earlier attempt failed.
pub fn body(job: &Job, public_url: &PublicUrl) -> Result<Bytes, PayloadError> {
    if !matches!(job.state, State::Completed | State::Failed) {
        return Err(PayloadError::State(job.state));
    }
    let error = job.error.as_ref().filter(|_| job.state == State::Failed);
    let payload = Payload {
        hash: &job.record.hash,
        job_id: job.record.id,
        status: job.state,
        file_count: job.files.len(),
        timestamp: job.finished_at.unwrap_or(job.record.created_at).as_secs(),
        files: public_url.of_files(job.files.clone()),
        error: error.map(|error| error.detail.as_str()),
        job_data: &job.record.job_data,
    };
    Ok(serde_json::to_vec(&payload)?.into())
}
