//! `/deliveries`: what became of callbacks, and making them again.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Manager, StrictParameters, read_json};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::job::{CallbackEvent, ClaimErrors, DeliveryId, JobId, JobRecord};
use crate::queue::{Cursor, DeliveryPage, DeliveryRecord, DeliveryState, PAGE_MAX, PageRequest};

/// Callbacks in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;
/// Callbacks that one request may name.
const REDELIVERED_MAX: usize = 1_000;
/// Callbacks made again in one go.
const MADE_AGAIN_AT_ONCE: usize = 64;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Of this job. Needed if there is no `state`.
    #[param(nullable = false)]
    job_id: Option<String>,
    /// In this state.
    #[param(value_type = DeliveryWord, required = false)]
    state: Option<String>,
    /// Callbacks at most; what is more than 200 counts as 200.
    #[param(nullable = false, default = 50)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Where a callback is: owed, with its receiver, or not tried again by itself.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "each is written as a word; here is which there are")]
enum DeliveryWord {
    Pending,
    Delivered,
    GivenUp,
}

/// A page of callbacks, those of the newest job first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`list` writes it; here is what clients read")]
struct DeliveriesPage {
    deliveries: Vec<ShownDelivery>,
    count: usize,
    /// The `cursor` of the next page; none after the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A callback as its owner sees it. Of its URL the host alone; nothing of its headers and its body.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct ShownDelivery {
    /// Its `webhook-id`.
    id: String,
    job_id: JobId,
    #[serde(rename = "type")]
    #[schema(value_type = CallbackEvent)]
    event: Option<&'static str>,
    host: String,
    #[schema(value_type = DeliveryWord)]
    state: &'static str,
    /// Tries made since it was owed, or asked for again.
    attempts: u32,
    /// While it is pending.
    #[schema(required, format = "date-time")]
    next_attempt_at: Option<String>,
    /// The last try.
    #[schema(required)]
    last: Option<ShownTry>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryTry)]
struct ShownTry {
    #[schema(format = "date-time")]
    at: String,
    /// What the receiver answered, if it did.
    #[schema(required)]
    status: Option<u16>,
    duration_ms: u64,
    /// Why it failed.
    #[schema(required)]
    error: Option<String>,
}

refusals!(DeliveriesRefusals: BadRequest, BadParameter, Unauthorized, Forbidden, NotFound, DiskFull, Unavailable);
refusals!(
    RedeliveryRefusals: BadJson, InvalidFields, Unauthorized, Forbidden, TooLarge, Paused, DiskFull, Unavailable
);

/// What became of callbacks
///
/// Those of a job, or in a state those of all jobs that the token reaches.
#[utoipa::path(
    get, path = "/deliveries", tag = "Callbacks", operation_id = "deliveries", security(("token" = ["manage"])),
    params(DeliveriesQuery),
    responses((status = 200, description = "A page.", body = DeliveriesPage), DeliveriesRefusals)
)]
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

/// Which callbacks are to be made again.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "`Redelivery::parse` reads it; here is what clients send")]
enum RedeliveryRequest {
    /// These.
    These(RedeliveryOfThese),
    /// All in a state.
    All(RedeliveryOfAll),
}

#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct RedeliveryOfThese {
    /// As `/deliveries` shows them.
    #[schema(max_items = 1000)]
    ids: Vec<String>,
}

#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "see above")]
struct RedeliveryOfAll {
    state: DeliveryWord,
    /// Only of what happened then, or later.
    #[schema(required = false, format = "date-time")]
    since: String,
}

/// How many callbacks are made again.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`redeliver` writes it; here is what clients read")]
struct Redelivered {
    count: usize,
}

/// Makes callbacks again
///
/// Under the same ids and with the same bodies. Ids that are unknown, or another's, are passed over.
#[utoipa::path(
    post, path = "/deliveries/redeliver", tag = "Callbacks", security(("token" = ["manage"])),
    request_body = RedeliveryRequest,
    responses((status = 202, description = "They are due at once.", body = Redelivered), RedeliveryRefusals)
)]
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
            make_again(&state, own).await?
        }
        Redelivery::All { of, since } => {
            let (mut count, mut cursor) = (0, None);
            loop {
                let page = PageRequest { limit: PAGE_MAX, cursor };
                let DeliveryPage { deliveries, next } =
                    state.deliveries.list_deliveries(manager.deliveries(), of, page).await?;
                let these = deliveries.into_iter().filter(|delivery| since.is_none_or(|since| delivery.since >= since));
                count += make_again(&state, these.map(|delivery| delivery.id).collect()).await?;
                cursor = next;
                if cursor.is_none() {
                    break count;
                }
            }
        }
    };
    info!(count, "callbacks are made again");
    Ok((StatusCode::ACCEPTED, Json(json!({ "count": count }))))
}

/// In small batches, since each holds up all other work of the queue.
async fn make_again(state: &AppState, ids: Vec<DeliveryId>) -> Result<usize, Refusal> {
    let mut count = 0;
    for ids in ids.chunks(MADE_AGAIN_AT_ONCE) {
        count += state.deliveries.redeliver(ids.to_vec()).await?;
    }
    Ok(count)
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
        event: job.and_then(|job| id.event(job.state)).map(CallbackEvent::word),
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
