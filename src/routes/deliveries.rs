//! `/deliveries`: what became of callbacks, and making them again.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;

use super::extract::{Manager, StrictParameters, read_json};
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::job::{ClaimErrors, DeliveryId, JobId, JobRecord};
use crate::queue::{Cursor, DeliveryPage, DeliveryRecord, DeliveryState, PageRequest};

/// Callbacks in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;
/// Callbacks that one request may make again.
const REDELIVERED_MAX: usize = 1_000;
/// Callbacks looked at in one go.
const AT_ONCE: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    job_id: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A callback as its owner sees it. Of its URL the host alone; nothing of its headers and its body.
#[derive(Serialize)]
struct ShownDelivery {
    id: String,
    job_id: JobId,
    #[serde(rename = "type")]
    event: Option<&'static str>,
    host: String,
    state: &'static str,
    attempts: u32,
    next_attempt_at: Option<String>,
    last: Option<ShownTry>,
}

#[derive(Serialize)]
struct ShownTry {
    at: String,
    status: Option<u16>,
    duration_ms: u64,
    error: Option<String>,
}

/// `GET /deliveries`: those of a job, or of all jobs that the token reaches, in a state.
pub(super) async fn list(
    State(state): State<AppState>,
    manager: Manager,
    StrictParameters(query): StrictParameters<DeliveriesQuery>,
) -> Result<Json<Value>, Refusal> {
    let given = |parameter: Option<String>| parameter.filter(|text| !text.is_empty());
    let of = given(query.state).map(|word| parse_state(&word)).transpose()?;
    let DeliveryPage { deliveries, next } = match (given(query.job_id), of) {
        (Some(job), of) => {
            let job =
                job.parse().map_err(|_| Refusal::BadParameter("`job_id` must be a UUID, as /upload gave it".into()))?;
            known_job(&state, &manager, &job).await?;
            let mut deliveries = state.deliveries.deliveries_of(&job).await?;
            deliveries.retain(|delivery| of.is_none_or(|of| of == delivery.state));
            DeliveryPage { deliveries, next: None }
        }
        (None, Some(of)) => {
            let cursor = given(query.cursor).map(Cursor);
            let page = PageRequest { limit: query.limit.unwrap_or(LIMIT_DEFAULT), cursor };
            state.deliveries.list_deliveries(manager.deliveries(), of, page).await?
        }
        (None, None) => {
            return Err(Refusal::BadParameter("name a `job_id`, or a `state`: pending, delivered or given_up".into()));
        }
    };
    let mut shown = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        shown.push(show(&state, delivery).await?);
    }
    Ok(Json(json!({
        "deliveries": shown,
        "count": shown.len(),
        "next_cursor": next.map(|Cursor(cursor)| cursor),
    })))
}

/// `POST /deliveries/redeliver`: makes callbacks again, under the same ids and with the same bodies. Those in the body that are
/// unknown, or another's, are passed over.
pub(super) async fn redeliver(
    State(state): State<AppState>,
    manager: Manager,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let count = match Redelivery::parse(&read_json(request).await?)? {
        Redelivery::These(ids) => {
            let mut own = Vec::new();
            for id in ids {
                if state.records.get(&id.job).await?.is_some_and(|job| manager.may_manage(&state, &job.record)) {
                    own.push(id);
                }
            }
            state.deliveries.redeliver(own).await?
        }
        Redelivery::All { of, since } => {
            let (mut count, mut cursor) = (0, None);
            loop {
                let page = PageRequest { limit: AT_ONCE, cursor };
                let DeliveryPage { deliveries, next } =
                    state.deliveries.list_deliveries(manager.deliveries(), of, page).await?;
                let these = deliveries.into_iter().filter(|delivery| since.is_none_or(|since| delivery.since >= since));
                let ids = these.map(|delivery| delivery.id).take(REDELIVERED_MAX - count).collect();
                count += state.deliveries.redeliver(ids).await?;
                cursor = next;
                if cursor.is_none() || count >= REDELIVERED_MAX {
                    break count;
                }
            }
        }
    };
    info!(count, "callbacks are made again");
    Ok((StatusCode::ACCEPTED, Json(json!({ "count": count }))))
}

/// Which callbacks to make again.
enum Redelivery {
    These(Vec<DeliveryId>),
    All {
        of: DeliveryState,
        /// Only what happened then, or later.
        since: Option<Timestamp>,
    },
}

impl Redelivery {
    fn parse(body: &Value) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let fields = body.as_object().into_iter().flatten();
        for (field, _) in fields.filter(|(field, _)| !["ids", "state", "since"].contains(&field.as_str())) {
            errors.push(format!("/{field}"), "unknown field; there are `ids`, or `state` and `since`");
        }
        let redelivery = match (body.get("ids"), body.get("state")) {
            (Some(ids), None) => {
                if body.get("since").is_some() {
                    errors.push("/since", "goes with `state`, not with `ids`");
                }
                let ids = ids.as_array().filter(|ids| ids.len() <= REDELIVERED_MAX && ids.iter().all(Value::is_string));
                if ids.is_none() {
                    errors.push(
                        "/ids",
                        format!("must be a list of at most {REDELIVERED_MAX} ids, as /deliveries shows them"),
                    );
                }
                let mut known: Vec<_> =
                    ids.into_iter().flatten().filter_map(Value::as_str).filter_map(DeliveryId::parse).collect();
                known.sort();
                known.dedup();
                Some(Self::These(known))
            }
            (None, Some(state)) => {
                let of = state.as_str().and_then(|word| parse_state(word).ok());
                if of.is_none() {
                    errors.push("/state", "must be pending, delivered or given_up");
                }
                let since = body.get("since").map(|since| since.as_str().and_then(Timestamp::parse_rfc3339));
                if since == Some(None) {
                    errors.push("/since", "must be a time as RFC 3339 writes it: 2026-01-31T12:00:00Z");
                }
                of.map(|of| Self::All { of, since: since.flatten() })
            }
            _ => {
                errors.push("", "must have either `ids` or `state`");
                None
            }
        };
        errors.or(())?;
        Ok(redelivery.expect("INVARIANT: what is none has left an error"))
    }
}

/// The job, if the token reaches it.
async fn known_job(state: &AppState, manager: &Manager, id: &JobId) -> Result<JobRecord, Refusal> {
    let job = state.records.get(id).await?.map(|job| job.record);
    job.filter(|record| manager.may_manage(state, record))
        .ok_or_else(|| Refusal::NotFound("no job of this id is known, or it is another's".into()))
}

async fn show(state: &AppState, delivery: DeliveryRecord) -> Result<ShownDelivery, Refusal> {
    let DeliveryRecord { id, state: of, host, attempts, next_attempt_at, last, .. } = delivery;
    let job = state.records.get(&id.job).await?;
    Ok(ShownDelivery {
        id: id.to_string(),
        job_id: id.job,
        event: job.and_then(|job| id.event(job.state)).map(crate::job::CallbackEvent::word),
        host,
        state: of.as_str(),
        attempts,
        next_attempt_at: next_attempt_at.map(Timestamp::rfc3339),
        last: last.map(|last| ShownTry {
            at: last.at.rfc3339(),
            status: last.status,
            duration_ms: last.duration_ms,
            error: last.error,
        }),
    })
}

fn parse_state(word: &str) -> Result<DeliveryState, Refusal> {
    let state = DeliveryState::ALL.into_iter().find(|state| state.as_str() == word);
    state.ok_or_else(|| Refusal::BadParameter("`state` must be pending, delivered or given_up".into()))
}
