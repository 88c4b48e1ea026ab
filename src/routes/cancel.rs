//! `DELETE /cancel`: stops a job for good.

use std::time::Duration;

use axum::extract;
use axum::http::StatusCode;
use backon::{ConstantBuilder, Retryable};
use tokio::time::timeout;
use tracing::{Instrument, info, warn};

use super::extract::{Caller, JobQuery, Parameters, find, is_own};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::auth::Verified;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobId, State, StoredFile};
use crate::queue::{CancelOutcome, Job, QueueError};

/// Between two tries to record a cancellation.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Tries after the first.
const RETRIES_MAX: usize = 10;
/// The same for taking a job's original out of the spool.
const LEAVE_DELAY: Duration = Duration::from_millis(200);
const LEAVE_RETRIES: usize = 3;
/// For another node to stop a job.
const STOP_TIMEOUT: Duration = Duration::from_secs(7);
/// For an answer, whatever the disk does. Stopping a job takes no longer than a write to a store takes to be cancelled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

refusals!(CancelRefusals: BadRequest, Unauthorized, NotFound, JobEnded, DiskFull, Unavailable);

/// Stops a job for good
///
/// After the answer nothing more of it appears; what was stored stays. Another's job looks like one that doesn't exist.
#[utoipa::path(
    delete, path = "/cancel", tag = "Jobs", security(("token" = [])), params(JobQuery),
    responses((status = 204, description = "It is cancelled."), CancelRefusals)
)]
pub(super) async fn cancel(
    extract::State(state): extract::State<AppState>,
    Caller(caller): Caller,
    Parameters(query): Parameters<JobQuery>,
) -> Result<StatusCode, Refusal> {
    match timeout(ANSWER_TIMEOUT, find_and_cancel(state, caller, query)).await {
        Ok(answer) => answer,
        // What has begun goes on, and happens once the disk answers.
        Err(_) => Err(Refusal::DiskNotAnswering),
    }
}

async fn find_and_cancel(state: AppState, caller: Verified, query: JobQuery) -> Result<StatusCode, Refusal> {
    let job = find(&state, &query).await?;
    let allowed = job.filter(|job| caller.is_admin() || is_own(&state, &caller.owner, &job.record));
    let job = allowed.ok_or_else(no_such_job)?;
    if job.state.is_terminal() {
        return Err(Refusal::JobEnded(job.state));
    }
    // In a task of its own: a client that hangs up must not leave a job stopped but not cancelled.
    let id = job.record.id;
    tokio::spawn(async move { stop_and_cancel(&state, job).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("cancelling {id}: {error}")))?
}

/// First the work stops, so that the record can name everything that was stored; then the queue is told; then, should
/// a worker have claimed it in between, that stops too. When this returns nothing more appears.
async fn stop_and_cancel(state: &AppState, job: Job) -> Result<StatusCode, Refusal> {
    let id = job.record.id;
    let stored = match state.active_jobs.stop(id).await {
        Some(stored) => stored,
        // Nobody works on it now; whoever did has left a journal.
        None => match state.spool.stored_files(&job.record).await {
            Ok(journaled) if !journaled.is_empty() => journaled,
            Ok(_) => job.files,
            Err(error) => {
                warn!(job_id = %id, error = %ErrorChain(&error), "journal can't be read");
                job.files
            }
        },
    };
    reached(Step::CancelBefore);
    match record_cancellation(state, id, stored).await? {
        CancelOutcome::CancelledPending | CancelOutcome::CancelledProcessing => {}
        CancelOutcome::Stopping => return wait_for_stop(state, id).await,
        CancelOutcome::Ended(ended) => return Err(Refusal::JobEnded(ended)),
        CancelOutcome::Unknown => return Err(no_such_job()),
    }
    reached(Step::CancelAfter);
    state.active_jobs.stop(id).await;
    leave_spool(state, id).await?;
    info!(job_id = %id, "job cancelled");
    Ok(StatusCode::NO_CONTENT)
}

/// Another node works on the job, and has been asked to stop. Its attempt ends the job.
async fn wait_for_stop(state: &AppState, id: JobId) -> Result<StatusCode, Refusal> {
    let mut watch = state.records.events().watch(id);
    let ended = async {
        loop {
            let job = state.records.get(&id).await?.ok_or_else(no_such_job)?;
            match job.state {
                State::Cancelled => return Ok(StatusCode::NO_CONTENT),
                ended if ended.is_terminal() => return Err(Refusal::JobEnded(ended)),
                _ => {}
            }
            // Whichever comes first: an event may be lost.
            let _ = timeout(RETRY_DELAY, watch.changed()).await;
        }
    };
    let answer = timeout(STOP_TIMEOUT, ended).await.unwrap_or(Err(Refusal::NotStoppedYet))?;
    leave_spool(state, id).await?;
    info!(job_id = %id, "job cancelled");
    Ok(answer)
}

/// From now on nobody takes a cancelled job's original for work. Whoever worked on it does the same; twice is harmless.
async fn leave_spool(state: &AppState, id: JobId) -> Result<(), Refusal> {
    // Whoever worked on it may be at it just now.
    let leave = || state.spool.job_ended(id, State::Cancelled);
    let left = leave.retry(ConstantBuilder::default().with_delay(LEAVE_DELAY).with_max_times(LEAVE_RETRIES)).await;
    let Err(error) = left else { return Ok(()) };
    warn!(
        job_id = %id, error = %ErrorChain(&error),
        "cancelled job could not be removed from the spool; the next comparison removes it"
    );
    // The queue of one machine is on the same disk, and never forgets that it is cancelled. Redis may.
    if state.node.is_some() { Err(Refusal::NotLeftSpool) } else { Ok(()) }
}

/// The work has stopped already, so a queue that fails is retried before the client gets an error.
async fn record_cancellation(
    state: &AppState,
    id: JobId,
    stored: Vec<StoredFile>,
) -> Result<CancelOutcome, QueueError> {
    let ask = || state.intake.cancel(&id, stored.clone());
    ask.retry(ConstantBuilder::default().with_delay(RETRY_DELAY).with_max_times(RETRIES_MAX)).await
}

fn no_such_job() -> Refusal {
    Refusal::NotFound("no job of this hash is known, or it is another's".into())
}
