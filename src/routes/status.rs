//! `GET /status`: where a job is, now or once that has changed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{HeaderMapExt, IfNoneMatch};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::extract::{ClientAddress, JobQuery, Parameters, bearer_of, find_known, verify};
use super::problem::refusals;
use super::snapshot::{Snapshot, Status};
use super::{AppState, Refusal};
use crate::auth::AuthError;
use crate::job::{JobId, JobRef};
use crate::queue::Job;
use crate::telemetry::cut;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Jobs that one request may ask about.
const JOBS_MAX: usize = 100;
/// Bytes of a bad id that are quoted.
const ID_BYTES_MAX: usize = 64;
/// Seconds for which an answer may be waited for.
const WAIT_SECS_MAX: u64 = 60;

/// Which job, and for how long to wait.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// The newest job of these bytes of this owner. Needed if there is no `job_id`.
    #[param(nullable = false)]
    hash: Option<String>,
    /// That job; it counts before `hash`. Up to 100 of them, comma between comma, are answered with `jobs`.
    #[param(nullable = false)]
    job_id: Option<String>,
    /// What the caller calls it: the newest such job of the token's owner. It takes a token.
    #[serde(rename = "ref")]
    #[param(nullable = false)]
    reference: Option<String>,
    /// Seconds to wait for the job's end; with `If-None-Match`, for any change.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 60)]
    wait: Option<String>,
}

/// One job, or those of several that are known.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "each is written as it is; here is what clients read")]
pub(super) enum StatusAnswer {
    One(Status),
    Several { jobs: Vec<Status> },
}

refusals!(StatusRefusals: BadRequest, Unauthorized, Forbidden, NotFound, DiskFull, Unavailable);

impl StatusQuery {
    fn wait(&self) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.wait.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let secs = text.parse().ok().filter(|secs| (1..=WAIT_SECS_MAX).contains(secs));
        let secs = secs.ok_or_else(|| {
            Refusal::BadRequest(format!("`wait` must be a whole number of seconds from 1 to {WAIT_SECS_MAX}"))
        })?;
        Ok(Some(Duration::from_secs(secs)))
    }
}

/// Where a job is
///
/// At once, or after up to `wait` seconds, once it has ended. With the `ETag` of an earlier answer in `If-None-Match` it is
/// answered once the job has changed, or with 304.
#[utoipa::path(
    get, path = "/status", tag = "Jobs", security((), ("token" = [])),
    params(
        StatusQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that is known.", nullable = false)
    ),
    responses(
        (
            status = 200, description = "The job, or `jobs`.", body = StatusAnswer,
            headers(("ETag" = String, description = "Stands for this answer. Not of `jobs`."))
        ),
        (
            status = 304, description = "It is as known.",
            headers(("ETag" = String, description = "That."), ("Cache-Control" = String, description = "`no-store`."))
        ),
        StatusRefusals
    )
)]
pub(super) async fn status(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    Parameters(query): Parameters<StatusQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let wait = query.wait()?;
    if let Some(ids) = query.job_id.as_deref().filter(|ids| ids.contains(',')) {
        return several(&state, ids, wait.is_some()).await;
    }
    let StatusQuery { hash, job_id, reference, .. } = query;
    let is_given = |parameter: &Option<String>| parameter.as_ref().is_some_and(|text| !text.is_empty());
    let job = match reference.filter(|text| !text.is_empty() && !is_given(&hash) && !is_given(&job_id)) {
        Some(reference) => find_by_reference(&state, &headers, &reference).await?,
        None => find_known(&state, &JobQuery { hash, job_id }).await?,
    };
    let id = job.record.id;
    let mut snapshot = Arc::new(Snapshot::of(&state, job).await?);
    let known: Option<IfNoneMatch> = headers.typed_get();
    let is_known =
        |snapshot: &Snapshot| known.as_ref().is_some_and(|known| !known.precondition_passes(&snapshot.etag()));
    // Who knows a state waits for another one; who knows none, for the end.
    let is_awaited = |snapshot: &Snapshot| snapshot.is_ended || (known.is_some() && !is_known(snapshot));
    if let Some(wait) = wait
        && !is_awaited(&snapshot)
        && let Some(_waiter) = state.waiters.admit(address)
    {
        snapshot = wait_for(&state, id, wait, is_awaited).await.unwrap_or(snapshot);
    }
    Ok(answer(&snapshot, is_known(&snapshot)))
}

/// The newest job with this `ref` of whoever's token came along. Another's looks like one that doesn't exist.
async fn find_by_reference(state: &AppState, headers: &HeaderMap, reference: &str) -> Result<Job, Refusal> {
    let token = bearer_of(headers)?.ok_or(AuthError::Missing)?;
    let owner = verify(state, token)?.owner;
    let job = match JobRef::parse(reference) {
        Some(reference) => state.records.newest_of_reference(&owner, &reference).await?,
        None => None,
    };
    job.ok_or_else(|| Refusal::NotFound("no job of this token's owner with this `ref` is known".into()))
}

/// Those of these jobs, comma between comma, that are known: in this order, each once.
async fn several(state: &AppState, ids: &str, waits: bool) -> Result<Response, Refusal> {
    if waits {
        return Err(Refusal::BadRequest("`wait` is for one job".into()));
    }
    let mut jobs: Vec<JobId> = Vec::new();
    for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
        let id =
            id.parse().map_err(|_| Refusal::BadRequest(format!("`job_id`: `{}` is no UUID", cut(id, ID_BYTES_MAX))))?;
        if !jobs.contains(&id) {
            jobs.push(id);
        }
    }
    if jobs.len() > JOBS_MAX {
        return Err(Refusal::BadRequest(format!("`job_id` may name {JOBS_MAX} jobs, and names {}", jobs.len())));
    }
    let mut statuses = Vec::new();
    for id in jobs {
        if let Some(job) = state.records.get(&id).await? {
            statuses.push(Snapshot::of(state, job).await?.status);
        }
    }
    Ok(([(CONTENT_TYPE, JSON)], format!("{{\"jobs\":[{}]}}", statuses.join(","))).into_response())
}

/// The job as it is when it is `awaited`, the time is over or the server stops; none if it was never looked at.
async fn wait_for(
    state: &AppState,
    id: JobId,
    at_most: Duration,
    is_awaited: impl Fn(&Snapshot) -> bool,
) -> Option<Arc<Snapshot>> {
    let mut snapshots = state.watched_jobs.watch(state, id);
    {
        let awaited = snapshots.wait_for(|snapshot| snapshot.as_deref().is_some_and(&is_awaited));
        tokio::select! {
            // Whichever it is, what was seen last is the answer.
            _ = timeout(at_most, awaited) => {}
            () = state.readiness.drained() => {}
        }
    }
    snapshots.borrow().clone()
}

fn answer(snapshot: &Snapshot, is_known: bool) -> Response {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, JSON)], snapshot.status.clone()).into_response()
    };
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response.headers_mut().typed_insert(snapshot.etag());
    response
}
