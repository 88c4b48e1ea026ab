//! `DELETE /cancel`: stops a job for good.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use backon::{ConstantBuilder, Retryable};
use serde::Deserialize;
use tracing::{Instrument, info, warn};

use super::extract::{Caller, Parameters, find};
use super::{AppState, Refusal};
use crate::failpoint::{Step, reached};
use crate::job::{JobId, StoredFile};
use crate::queue::{CancelOutcome, QueueError};

/// Between two tries to write a cancellation down, and how many there are after the first.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const TRIES_MORE: usize = 10;

#[derive(Deserialize)]
pub(super) struct Query {
    hash: Option<String>,
    job_id: Option<String>,
}

/// The route. Another's job looks like one that doesn't exist.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Caller(caller): Caller,
    Parameters(query): Parameters<Query>,
) -> Result<StatusCode, Refusal> {
    let job = find(&state, query.hash.as_deref(), query.job_id.as_deref()).await?;
    let allowed = job.filter(|job| caller.admin || job.record.owner == caller.owner);
    let job = allowed.ok_or_else(unknown)?;
    if job.state.is_terminal() {
        return Err(Refusal::JobEnded(job.state));
    }
    // In a task of its own: a client that hangs up must not leave a job stopped but not cancelled.
    let id = job.record.id;
    tokio::spawn(async move { stop_for_good(&state, id, job.files).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("cancelling {id}: {error}")))?
}

/// First the work stops, so that the record can name everything that was stored; then the queue is told; then, should
/// a worker have claimed it in between, that stops too. When this returns nothing more appears.
async fn stop_for_good(state: &AppState, id: JobId, known: Vec<StoredFile>) -> Result<StatusCode, Refusal> {
    let stored = state.active_jobs.stop(id).await.unwrap_or(known);
    reached(Step::CancelBefore);
    match cancel_surely(state, id, stored).await? {
        CancelOutcome::CancelledPending | CancelOutcome::CancelledProcessing => {}
        CancelOutcome::Ended(ended) => return Err(Refusal::JobEnded(ended)),
        CancelOutcome::Unknown => return Err(unknown()),
    }
    reached(Step::CancelAfter);
    state.active_jobs.stop(id).await;
    if let Err(error) = state.spool.remove(id).await {
        warn!(job_id = %id, %error, "a cancelled job is still in the spool; the next start removes it");
    }
    info!(job_id = %id, "cancelled");
    Ok(StatusCode::NO_CONTENT)
}

/// The work has stopped already, so a queue that fails is asked again before the client is told no.
async fn cancel_surely(state: &AppState, id: JobId, stored: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
    let ask = || state.queue.cancel(&id, stored.clone());
    ask.retry(ConstantBuilder::default().with_delay(TRY_AGAIN).with_max_times(TRIES_MORE)).await
}

fn unknown() -> Refusal {
    Refusal::NotFound("no job of this hash is known, or it is another's".into())
}
