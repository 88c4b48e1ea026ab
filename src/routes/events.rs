//! `GET /events`: a job's changes as they happen, as server-sent events.
//!
//! What comes is a snapshot, not a log: whoever connects again learns how the job is now. Its last event is the end; a
//! browser that comes back after that is told by a 204 not to come again.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::extract::{ClientAddress, JobQuery, Parameters, find_known};
use super::problem::refusals;
use super::snapshot::Snapshot;
use super::watching::{Snapshots, Watcher};
use super::{AppState, Refusal};

/// After which a browser comes back when a stream was cut.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Between two signs of life on a stream on which nothing happens: less than what proxies wait for.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// A stream lives no longer; whoever is there still comes back.
const STREAM_MAX: Duration = Duration::from_hours(1);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One event of the stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`EventStream` writes it; here is what clients read")]
struct JobEvent {
    /// Never goes back.
    id: String,
    event: JobEventKind,
    /// The JSON of a `Status` (`status`, `end`) or of a `ShownFile` (`file`).
    #[schema(content_media_type = "application/json")]
    data: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "see above")]
enum JobEventKind {
    /// At once, and at each change.
    Status,
    /// For each file that is in all of its stores.
    File,
    /// Once the job has ended; nothing follows.
    End,
}

refusals!(EventsRefusals: BadRequest, NotFound, DiskFull, TooManyStreams, Unavailable);

/// A job's changes as they happen, as server-sent events
///
/// `status` at once and at each change, `file` for each file that is in all of its stores, `end` once the job has ended.
#[utoipa::path(
    get, path = "/events", tag = "Jobs",
    params(
        JobQuery,
        ("Last-Event-ID" = Option<String>, Header, nullable = false,
            description = "The last event that is known, as browsers send it when they come back.")
    ),
    responses(
        (
            status = 200, description = "The events; the schema is of each.", body = JobEvent, content_type = "text/event-stream",
            headers(
                ("Cache-Control" = String, description = "`no-store`."),
                ("X-Accel-Buffering" = String, description = "`no`: a proxy passes them on at once.")
            )
        ),
        (status = 204, description = "The end is known already; nothing more will come."),
        EventsRefusals
    )
)]
pub(super) async fn events(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    Parameters(query): Parameters<JobQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let job = find_known(&state, &query).await?;
    let seen: Option<u64> = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    if job.state.is_terminal() && seen.is_some_and(|seen| seen >= job.changes) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watcher = state.streams.admit(address).ok_or(Refusal::TooManyStreams)?;
    let stream = EventStream {
        snapshots: state.watched_jobs.watch(&state, job.record.id),
        state,
        is_begun: false,
        is_over: false,
        id: seen.unwrap_or(0),
        seen,
        told: None,
        ends_at: Instant::now() + STREAM_MAX,
        _watcher: watcher,
    };
    let events = stream::unfold(stream, |mut stream| async { Some((stream.next().await?, stream)) });
    let events = events.flat_map(stream::iter).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would keep events until it has a buffer full of them.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// What one client is told.
struct EventStream {
    state: AppState,
    snapshots: Snapshots,
    /// The first line is sent.
    is_begun: bool,
    /// The last event is.
    is_over: bool,
    /// Of the last event: ids never go back, even if a failed disk has lost some changes.
    id: u64,
    /// The last event that the client saw on a stream before.
    seen: Option<u64>,
    /// The names of the files that it knows to be stored; none before the first snapshot.
    told: Option<HashSet<String>>,
    ends_at: Instant,
    _watcher: Watcher,
}

impl EventStream {
    /// What is to be sent next; none at the end.
    async fn next(&mut self) -> Option<Vec<Event>> {
        if self.is_over {
            return None;
        }
        if !self.is_begun {
            self.is_begun = true;
            return Some(vec![Event::default().retry(RETRY_AFTER)]);
        }
        loop {
            let change = timeout_at(self.ends_at, self.snapshots.changed());
            tokio::select! {
                changed = change => changed.ok()?.ok()?,
                () = self.state.readiness.drained() => return None,
            }
            let snapshot = self.snapshots.borrow_and_update().clone();
            let events = snapshot.map(|snapshot| self.events_of(&snapshot)).unwrap_or_default();
            if !events.is_empty() {
                return Some(events);
            }
        }
    }

    fn events_of(&mut self, snapshot: &Arc<Snapshot>) -> Vec<Event> {
        let is_seen = self.told.is_none() && self.seen == Some(snapshot.changes);
        self.id = self.id.max(snapshot.changes);
        let id = self.id;
        let event = |name: &str| Event::default().id(id.to_string()).event(name);
        let mut events = Vec::new();
        if !is_seen {
            events.push(event("status").data(&snapshot.status));
        }
        // The first status has them.
        if let Some(told) = &self.told {
            let news = snapshot.stored.iter().filter(|shown| !told.contains(&shown.file.name));
            // What the status has been written with can be written.
            events.extend(news.filter_map(|shown| event("file").json_data(shown).ok()));
        }
        self.told = Some(snapshot.stored.iter().map(|shown| shown.file.name.clone()).collect());
        if snapshot.is_ended {
            events.push(event("end").data(&snapshot.status));
            self.is_over = true;
        }
        events
    }
}
