//! What a callback says.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::job::{CallbackEvent, ErrorCode, HashKey, JobId, PublicUrl, ShownFile, State, shown_files};
use crate::queue::Job;

/// The body of a callback. The same job gives the same bytes at every try.
#[derive(Serialize, ToSchema)]
#[schema(as = Callback)]
pub(super) struct Payload<'a> {
    hash: &'a HashKey,
    job_id: JobId,
    #[serde(rename = "type")]
    event: CallbackEvent,
    status: State,
    file_count: usize,
    /// When the job ended, in seconds since the Unix epoch.
    timestamp: u64,
    /// The same as RFC 3339.
    #[schema(format = "date-time")]
    ended_at: String,
    files: Vec<ShownFile>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'a str>,
    /// The same in a word that stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = ErrorCode, required = false)]
    error_code: Option<&'a str>,
    /// The `job` claim without its secrets.
    #[schema(value_type = Object)]
    job_data: &'a Value,
}

/// Why a job has no callback to make.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It has not ended, or not in a way that it asks to be told of.
    #[error("a {0} job owes no callback")]
    State(State),
    /// The job can't be written as JSON.
    #[error("writing the job as JSON")]
    Json(#[from] serde_json::Error),
}

/// The JSON that tells how `job` ended. A failed job's `error` is what went wrong in words, its `error_code` in one that stays
/// the same; a completed one has neither, even if an earlier attempt failed.
pub fn body(job: &Job, public_url: &PublicUrl) -> Result<Bytes, PayloadError> {
    let event = job.record.callback.as_ref().and_then(|target| target.event(job.state));
    let event = event.ok_or(PayloadError::State(job.state))?;
    let ended_at = job.finished_at.unwrap_or(job.record.created_at);
    let error = job.error.as_ref().filter(|_| job.state == State::Failed);
    let payload = Payload {
        hash: &job.record.hash,
        job_id: job.record.id,
        event,
        status: job.state,
        file_count: job.files.len(),
        timestamp: ended_at.as_secs(),
        ended_at: ended_at.rfc3339(),
        files: shown_files(&job.record, job.files.clone(), public_url),
        error: error.map(|error| error.detail.as_str()),
        error_code: error.map(|error| error.code.as_str()),
        job_data: &job.record.job_data,
    };
    Ok(serde_json::to_vec(&payload)?.into())
}
