//! `POST /gc`: what stores have is compared with what the ledger knows. A comparison is noted here as begun; it is carried out by
//! `src/worker/maintenance/garbage`, whether the request waits for that or not.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Admin, StrictParameters};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::ledger::{GcId, GcReport, GcRequest, GcRun, GcState};
use crate::setting::parse_duration;

/// How long a request waits for the end of what it asks for.
const WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GcQuery {
    /// Writes down what nobody knows, as far as records and names tell whose it is.
    #[serde(default)]
    #[param(default = false)]
    adopt: bool,
    /// Deletes what nobody knows: with `adopt` what could not be written down.
    #[serde(default)]
    #[param(default = false)]
    delete: bool,
    /// What is younger is left alone: `"1d"` or more.
    #[param(nullable = false, default = "1d", pattern = "^[1-9][0-9]{0,3}(d|days|w|weeks)$")]
    older_than: Option<String>,
}

/// A comparison of stores with the ledger.
#[derive(Serialize, ToSchema)]
#[schema(as = GarbageComparison)]
pub(super) struct ShownRun {
    /// A UUID.
    gc_id: String,
    state: GcState,
    adopt: bool,
    delete: bool,
    /// In seconds.
    older_than: u64,
    #[schema(format = "date-time")]
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "date-time")]
    ended_at: Option<String>,
    /// What was found so far.
    report: GcReport,
}

impl ShownRun {
    fn of(run: GcRun) -> Self {
        let GcRun { id, request, state, started_at, ended_at, report } = run;
        Self {
            gc_id: id.to_string(),
            state,
            adopt: request.adopt,
            delete: request.delete,
            older_than: request.older_than.as_secs(),
            started_at: started_at.rfc3339(),
            ended_at: ended_at.map(Timestamp::rfc3339),
            report,
        }
    }
}

refusals!(GcRefusals: BadParameter, Unauthorized, Forbidden, GcRunning, DiskFull, Draining, Paused, Unavailable);

/// Compares what stores have with what the ledger knows
///
/// The serve directory and every registered store. It only reports, unless it is told to `adopt` or to `delete`; what is younger than a
/// day, what has a name that isn't ours, and what a job names is never touched. A 202 says that it goes on; one is done at a time.
/// `pixerve gc` shows it.
#[utoipa::path(
    post, path = "/gc", tag = "Server", operation_id = "gc", security(("token" = ["admin"])), params(GcQuery),
    responses(
        (status = 200, description = "It has ended.", body = ShownRun),
        (
            status = 202, description = "It goes on.", body = ShownRun,
            headers(("Location" = String, description = "Where to ask how far it is."))
        ),
        GcRefusals
    )
)]
pub(super) async fn gc(
    State(state): State<AppState>,
    _: Admin,
    StrictParameters(query): StrictParameters<GcQuery>,
) -> Result<Response, Refusal> {
    let request = request_of(&query)?;
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    if state.readiness.is_draining() {
        return Err(Refusal::Draining);
    }
    // So that its end is not missed.
    let mut ends = state.gc.ends();
    let run = GcRun::begin(request, state.clock.now());
    if let Some(other) = state.ledger.begin_gc(&run).await? {
        return Err(Refusal::GcRunning(other));
    }
    let id = run.id;
    info!(gc_id = %id, "stores are to be compared with the ledger");
    state.gc.begun(run);
    let answer_by = Instant::now() + WITHIN;
    loop {
        let run = known(&state, &id).await?;
        if run.state != GcState::Running {
            return Ok(Json(ShownRun::of(run)).into_response());
        }
        if timeout_at(answer_by, ends.changed()).await.is_err() {
            let location = state.http.public_url.path(&format!("/gc/{id}"));
            return Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(ShownRun::of(run))).into_response());
        }
    }
}

refusals!(GcRunRefusals: Unauthorized, Forbidden, NotFound, Unavailable);

/// How far a comparison is
///
/// For thirty days after its end; on one machine until the server stops.
#[utoipa::path(
    get, path = "/gc/{gc_id}", tag = "Server", operation_id = "gc_run", security(("token" = ["admin"])),
    params(("gc_id" = String, Path, description = "As `/gc` gave it.")),
    responses((status = 200, description = "How far it is.", body = ShownRun), GcRunRefusals)
)]
pub(super) async fn gc_run(
    State(state): State<AppState>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<ShownRun>, Refusal> {
    let unknown = || Refusal::NotFound("no such comparison is known".into());
    let id: GcId = id.parse().map_err(|_| unknown())?;
    let run = state.ledger.gc_run(&id).await?.ok_or_else(unknown)?;
    Ok(Json(ShownRun::of(run)))
}

async fn known(state: &AppState, id: &GcId) -> Result<GcRun, Refusal> {
    let run = state.ledger.gc_run(id).await?;
    run.ok_or_else(|| Refusal::Internal(format!("comparison {id} was begun, and is not known")))
}

fn request_of(query: &GcQuery) -> Result<GcRequest, Refusal> {
    let older_than = match query.older_than.as_deref() {
        None => Some(GcRequest::OLDER_THAN_MIN),
        Some(text) => parse_duration(text).filter(|older_than| *older_than >= GcRequest::OLDER_THAN_MIN),
    };
    let bad = || Refusal::BadParameter("`older_than` must be a duration such as `7d`, of a day at least".to_owned());
    Ok(GcRequest { adopt: query.adopt, delete: query.delete, older_than: older_than.ok_or_else(bad)? })
}
