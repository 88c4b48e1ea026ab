//! What a callback says.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::job::{
    CallbackEvent, DeliveryId, ErrorCode, HashKey, JobId, JobRef, Placeholder, PublicUrl, ShownFile, State, Stored,
    Warnings, shown_files, warnings_of,
};
use crate::ledger::{ErasedJob, ErasureReason};
use crate::queue::{DeliveryContent, FileStored, Job};

/// The body of a callback that tells how a job ended. The same job gives the same bytes at every try.
#[derive(Serialize, ToSchema)]
#[schema(as = Callback)]
pub(super) struct EndPayload<'a> {
    hash: &'a HashKey,
    job_id: JobId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<&'a JobRef>,
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
    /// What a page shows in the picture's place; there if the job has completed, unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    placeholder: Option<&'a Placeholder>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<&'a str>,
    /// The same in a word that stays the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = ErrorCode, required = false)]
    error_code: Option<&'a str>,
    /// Of its files.
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    #[schema(required = false)]
    warnings: Warnings,
    /// The `job` claim without its secrets.
    #[schema(value_type = Object)]
    job_data: &'a Value,
}

/// The body of one that tells of a file.
#[derive(Serialize, ToSchema)]
#[schema(as = FileCallback)]
pub(super) struct FilePayload<'a> {
    #[serde(rename = "type")]
    event: CallbackEvent,
    hash: &'a HashKey,
    job_id: JobId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<&'a JobRef>,
    /// Where among the job's events this is, for a receiver that wants their order.
    sequence: u64,
    file: ShownFile,
}

/// The body of one that tells that a job is erased: everything that caches may have of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ErasedCallback)]
pub(super) struct ErasedPayload<'a> {
    #[serde(rename = "type")]
    event: CallbackEvent,
    hash: &'a HashKey,
    job_id: JobId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<&'a JobRef>,
    reason: ErasureReason,
    /// When the job had ended, in seconds since the Unix epoch.
    timestamp: u64,
    /// The same as RFC 3339.
    #[schema(format = "date-time")]
    ended_at: String,
    /// What is gone, with every place that held it. What another job names still is not among it.
    files: Vec<ErasedFile>,
}

/// A file that is gone.
#[derive(Serialize, ToSchema)]
struct ErasedFile {
    /// Its name, the same in every store.
    name: String,
    stored: Vec<ErasedPlace>,
}

/// A place that held it.
#[derive(Serialize, ToSchema)]
struct ErasedPlace {
    /// `directHost`, `s3` or `gcs`.
    backend: String,
    /// As `stored` of the job's files named it.
    location: String,
    /// Where browsers and caches got it, as far as this server knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uri")]
    url: Option<String>,
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

/// The JSON that is sent as `id`.
///
/// # Errors
/// If there is nothing to tell under this id.
pub fn body(id: &DeliveryId, content: &DeliveryContent, public_url: &PublicUrl) -> Result<Bytes, PayloadError> {
    let DeliveryContent { job, file } = content;
    let event =
        id.event(job.state).filter(|event| job.record.callback.as_ref().is_some_and(|t| t.events.contain(*event)));
    let written = match (event, file) {
        (Some(event @ CallbackEvent::FileStored), Some(FileStored { file, sequence })) => {
            let mut shown = shown_files(&job.record, vec![file.clone()], public_url);
            let file = shown.pop().expect("INVARIANT: one file is shown as one");
            serde_json::to_vec(&FilePayload {
                event,
                hash: &job.record.hash,
                job_id: job.record.id,
                reference: job.record.reference.as_ref(),
                sequence: *sequence,
                file,
            })
        }
        (Some(event), None) => serde_json::to_vec(&end(job, event, public_url)),
        _ => return Err(PayloadError::State(job.state)),
    };
    Ok(written?.into())
}

/// The JSON that is sent as `id` of a job that is erased.
///
/// # Errors
/// If it can't be written.
pub(super) fn erased_body(id: &DeliveryId, job: &ErasedJob, public_url: &PublicUrl) -> Result<Bytes, PayloadError> {
    let place = |stored: &Stored| ErasedPlace {
        backend: stored.backend.clone(),
        location: public_url.of_location(&stored.location),
        url: public_url.url_of(&stored.location).or_else(|| stored.url.clone()),
    };
    let files = job.files.iter();
    let files =
        files.map(|file| ErasedFile { name: file.name.clone(), stored: file.stored.iter().map(place).collect() });
    let payload = ErasedPayload {
        event: CallbackEvent::Erased,
        hash: &job.hash,
        job_id: id.job,
        reference: job.recipient.reference.as_ref(),
        reason: job.reason,
        timestamp: job.ended_at.as_secs(),
        ended_at: job.ended_at.rfc3339(),
        files: files.collect(),
    };
    Ok(serde_json::to_vec(&payload)?.into())
}

/// A failed job's `error` is what went wrong in words, its `error_code` in one that stays the same; a completed one has
/// neither, even if an earlier attempt failed.
fn end<'a>(job: &'a Job, event: CallbackEvent, public_url: &PublicUrl) -> EndPayload<'a> {
    let ended_at = job.finished_at.unwrap_or(job.record.created_at);
    let error = job.error.as_ref().filter(|_| job.state == State::Failed);
    EndPayload {
        hash: &job.record.hash,
        job_id: job.record.id,
        reference: job.record.reference.as_ref(),
        event,
        status: job.state,
        file_count: job.files.len(),
        timestamp: ended_at.as_secs(),
        ended_at: ended_at.rfc3339(),
        files: shown_files(&job.record, job.files.clone(), public_url),
        placeholder: job.placeholder.as_ref(),
        error: error.map(|error| error.detail.as_str()),
        error_code: error.map(|error| error.code.as_str()),
        warnings: warnings_of(&job.files),
        job_data: &job.record.job_data,
    }
}
