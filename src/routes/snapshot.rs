//! A job as its client sees it, at one moment.

use headers::ETag;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;
use utoipa::ToSchema;

use super::callback_fate::CallbackFate;
use super::{AppState, Refusal};
use crate::active_jobs::{Progress, StoreOutage};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::job::{
    ErrorCode, HashKey, JobId, JobRef, Placeholder, ShownFile, State, StoredFile, Warnings, shown_files, warnings_of,
};
use crate::queue::Job;

/// What `/status` and `/events` say of a job.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// How often the job has changed.
    pub(super) changes: u64,
    /// Whether it will change no more.
    pub(super) is_ended: bool,
    /// The JSON of its [`Status`].
    pub(super) status: String,
    /// Those of its files that are in all of its stores.
    pub(super) stored: Vec<ShownFile>,
}

/// While a job runs, `files` are those stored so far, each with the stores that have it.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    hash: HashKey,
    job_id: JobId,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<JobRef>,
    #[schema(value_type = State)]
    state: &'static str,
    /// 0 realtime, 1 queued.
    #[schema(minimum = 0, maximum = 1)]
    priority: u8,
    /// How often its variants were begun.
    attempt: u32,
    progress: FileCounts,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(required, format = "date-time")]
    started_at: Option<String>,
    #[schema(required, format = "date-time")]
    finished_at: Option<String>,
    /// When it is erased, with all that is stored of it; none until it has ended, and if it never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "date-time")]
    expires_at: Option<String>,
    files: Vec<ShownFile>,
    /// What a page shows in the picture's place; there once the job has completed, unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    placeholder: Option<Placeholder>,
    /// Why it failed, or why its last attempt did.
    #[schema(required)]
    error: Option<String>,
    /// The same in a word that stays the same.
    #[schema(required, value_type = Option<ErrorCode>)]
    error_code: Option<String>,
    /// Of its files.
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    #[schema(required = false)]
    warnings: Warnings,
    callback: CallbackFate,
    /// The failed or cancelled job that it runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_of: Option<JobId>,
    /// The job that runs it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retried_as: Option<JobId>,
    /// The job whose bytes it was given, if it was not uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reprocess_of: Option<JobId>,
    /// The stores that the job waits for, none of them most of the time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<StoreOutage>,
}

/// How many of a job's files are in every store that they are for, and how many there will be.
#[derive(Serialize, ToSchema)]
struct FileCounts {
    done: usize,
    total: usize,
}

impl Snapshot {
    /// What is to be said of `job` now.
    pub(super) async fn of(state: &AppState, job: Job) -> Result<Self, Refusal> {
        let (job, progress) = with_progress(state, job).await?;
        let id = job.record.id;
        // After the record was read: what that counts by now must not be counted twice.
        let changes = job.changes + state.records.events().unrecorded(id);
        let callback = CallbackFate::of(state, &job).await?;
        let expires_at = job.expires_at().map(Timestamp::rfc3339);
        let spec = &job.record.spec;
        let (total, places) = (spec.file_count(), spec.places());
        let is_done = |file: &StoredFile| file.stored.len() >= places;
        let progress = progress.unwrap_or_else(|| {
            let done = job.files.iter().filter(|file| is_done(file)).count();
            Progress { files: job.files, done }
        });
        let warnings = warnings_of(&progress.files);
        let files = shown_files(&job.record, progress.files, &state.http.public_url);
        let (error, error_code) = job.error.map(|error| (error.detail, error.code)).unzip();
        let status = Status {
            hash: job.record.hash,
            job_id: id,
            reference: job.record.reference,
            state: job.state.as_str(),
            priority: job.record.spec.priority.as_number(),
            attempt: job.attempts,
            progress: FileCounts { done: progress.done, total },
            created_at: job.record.created_at.rfc3339(),
            started_at: job.started_at.map(Timestamp::rfc3339),
            finished_at: job.finished_at.map(Timestamp::rfc3339),
            expires_at,
            files,
            placeholder: job.placeholder,
            error,
            error_code,
            warnings,
            callback,
            retry_of: job.record.retry_of,
            retried_as: job.retried_as,
            reprocess_of: job.record.reprocess_of,
            waiting_for: state.active_jobs.outages(id),
        };
        let written =
            serde_json::to_string(&status).map_err(|error| Refusal::Internal(format!("writing a status: {error}")))?;
        let stored = status.files.into_iter().filter(|shown| is_done(&shown.file)).collect();
        Ok(Self { changes, is_ended: job.state.is_terminal(), status: written, stored })
    }

    /// A weak entity tag of the status.
    pub(super) fn etag(&self) -> ETag {
        let tag = format!("W/\"{}\"", hex::encode(&Sha256::digest(self.status.as_bytes())[..12]));
        tag.parse().expect("INVARIANT: hex digits in quotes are an entity tag")
    }
}

/// A job and, while an attempt at it runs in this process, what that has stored. Of one that waits for its next attempt
/// the files are those that the ones before have left.
pub(super) async fn with_progress(state: &AppState, job: Job) -> Result<(Job, Option<Progress>), Refusal> {
    let id = job.record.id;
    let job = match job.state {
        State::Processing => match state.active_jobs.progress(id) {
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
