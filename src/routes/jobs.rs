//! `GET /jobs`: what there is, page by page.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Manager, StrictParameters};
use super::problem::refusals;
use super::selection::{Conditions, Selection, state_of};
use super::snapshot::{Snapshot, Status};
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::job::State as JobState;
use crate::queue::{Cursor, Filter, Page, PageRequest, WaitReason};

/// Jobs in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;
/// Jobs of a page that are looked at at once.
const SHOWN_AT_ONCE: usize = 16;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JobsQuery {
    /// In this state.
    #[param(value_type = JobState, required = false)]
    state: Option<String>,
    /// Of this `sub` of the token's user. With `manage` its own alone.
    #[param(nullable = false)]
    sub: Option<String>,
    /// Of this registered user. For admins; of anybody else its own alone.
    #[param(nullable = false)]
    user: Option<String>,
    /// Accepted then, or later.
    #[param(value_type = String, format = "date-time", required = false)]
    since: Option<String>,
    /// Accepted before.
    #[param(value_type = String, format = "date-time", required = false)]
    until: Option<String>,
    /// With this error, or that of the last attempt.
    #[param(nullable = false)]
    error_code: Option<String>,
    /// With files for the store of this access key.
    #[param(nullable = false)]
    store: Option<String>,
    /// Live ones that wait for this.
    #[param(inline, value_type = WaitWord, required = false)]
    waiting_for: Option<String>,
    /// Jobs at most; what is more than 200 counts as 200.
    #[param(nullable = false, default = 50)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// `store`: all of it is made, and not stored everywhere. `memory`: it is its turn, and it takes more memory than is free.
/// `turn`: others come first, its next attempt is not due, or an older job of the same bytes lives.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "each is written as a word; here is which there are")]
enum WaitWord {
    Store,
    Memory,
    Turn,
}

/// A page of jobs, the newest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`list` writes it; here is what clients read")]
struct JobsPage {
    jobs: Vec<Status>,
    count: usize,
    /// The `cursor` of the next page; none after the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

refusals!(JobsRefusals: BadRequest, BadParameter, Unauthorized, Forbidden, NotFound, DiskFull, Unavailable);

/// What jobs there are, the newest first
///
/// All that the token reaches, or those of them that the parameters name. `error_code`, `store` and `waiting_for` are looked for in a
/// thousand jobs at a time: a page may have fewer jobs than `limit`, or none, and a `next_cursor` all the same.
#[utoipa::path(
    get, path = "/jobs", tag = "Jobs", operation_id = "jobs", security(("token" = ["manage"])), params(JobsQuery),
    responses((status = 200, description = "A page.", body = JobsPage), JobsRefusals)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    manager: Manager,
    StrictParameters(query): StrictParameters<JobsQuery>,
) -> Result<Response, Refusal> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    let cursor = query.cursor.clone().filter(|cursor| !cursor.is_empty()).map(Cursor);
    let selection = query.selection(&state, &manager)?;
    let Page { jobs, next } = selection.page(&state, PageRequest { limit, cursor }).await?;
    let shown = stream::iter(jobs).map(|job| Snapshot::of(&state, job)).buffered(SHOWN_AT_ONCE);
    let statuses: Vec<String> = shown.map_ok(|snapshot| snapshot.status).try_collect().await?;
    let (count, next) = (statuses.len(), json!(next.map(|Cursor(cursor)| cursor)));
    let body = format!("{{\"jobs\":[{}],\"count\":{count},\"next_cursor\":{next}}}", statuses.join(","));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

impl JobsQuery {
    fn selection(self, state: &AppState, manager: &Manager) -> Result<Selection, Refusal> {
        let given = |parameter: Option<String>| parameter.filter(|text| !text.is_empty());
        let bad = |what: &str| Refusal::BadParameter(what.to_owned());
        let time = |name: &str, parameter| {
            let parsed = given(parameter).map(|text| Timestamp::parse_rfc3339(&text).ok_or(()));
            parsed.transpose().map_err(|()| {
                Refusal::BadParameter(format!("`{name}` must be a time as RFC 3339 writes it: 2026-01-31T12:00:00Z"))
            })
        };
        let of = given(self.state).map(|word| {
            state_of(&word).ok_or_else(|| bad("`state` must be pending, processing, completed, failed or cancelled"))
        });
        let waiting_for = given(self.waiting_for).map(|word| match word.as_str() {
            "store" => Ok(WaitReason::Store),
            "memory" => Ok(WaitReason::Memory),
            "turn" => Ok(WaitReason::Turn),
            _ => Err(bad("`waiting_for` must be store, memory or turn")),
        });
        let (since, until) = (time("since", self.since)?, time("until", self.until)?);
        let (of, waiting_for) = (of.transpose()?, waiting_for.transpose()?);
        let whose = manager
            .jobs_of(state, given(self.sub), given(self.user).as_deref())
            .ok_or_else(|| Refusal::NotFound("no such user is known, or it is another's".into()))?;
        Ok(Selection {
            filter: Filter { state: of, since, until, ..whose },
            conditions: Conditions {
                error_codes: given(self.error_code).into_iter().collect(),
                store: given(self.store),
                waiting_for,
            },
        })
    }
}
