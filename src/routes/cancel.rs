//! `DELETE /cancel`: stops a job for good.

use std::time::Duration;

use axum::extract;
use axum::http::StatusCode;
use tokio::time::timeout;
use tracing::Instrument;

use super::extract::{Caller, JobQuery, Parameters, find, is_own};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::auth::Verified;
use crate::canceller::Cancellation;

/// For an answer, whatever the disk does. Stopping a job takes no longer than a write to a store takes to be cancelled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

refusals!(CancelRefusals: BadRequest, Unauthorized, Forbidden, NotFound, JobEnded, DiskFull, Unavailable);

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
    let canceller = state.canceller.clone();
    let outcome = tokio::spawn(async move { canceller.cancel(job).await }.in_current_span()).await;
    match outcome.map_err(|error| Refusal::Internal(format!("cancelling {id}: {error}")))?? {
        Cancellation::Cancelled => Ok(StatusCode::NO_CONTENT),
        Cancellation::Ended(ended) => Err(Refusal::JobEnded(ended)),
        Cancellation::Unknown => Err(no_such_job()),
    }
}

fn no_such_job() -> Refusal {
    Refusal::NotFound("no job of this hash is known, or it is another's".into())
}
