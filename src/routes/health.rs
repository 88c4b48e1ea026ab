//! `GET /health`: whether this server should be sent requests. Never waits on a worker or a remote store. `GET /health/live`:
//! whether its process answers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use time::macros::format_description;

use super::AppState;
use crate::disks::{RootHealth, RootKind};
use crate::version::VERSION;

/// Workers beside those that are set, for who has nothing under way.
const SPARE_WORKERS: usize = 1;

/// The route.
pub(super) async fn health(State(state): State<AppState>) -> (StatusCode, Json<Value>) {
    let (queue, disk, workers) = (queue(&state).await, disk(&state), workers(&state));
    let readiness = &state.readiness;
    let can_go_on = !readiness.is_draining() && readiness.failure().is_none();
    let healthy = can_go_on && [&queue, &disk, &workers].iter().all(|check| check["status"] == "ok");
    let now = state.clock.now();
    let mut body = json!({
        "status": if healthy { "healthy" } else { "unhealthy" },
        "timestamp": now.rfc3339(),
        "version": VERSION.version,
        "uptime": uptime(now.since(state.started_at)),
        "start_time": start_time(&state),
        "checks": { "queue": queue, "disk": disk, "workers": workers },
    });
    if let Some(detail) = readiness.failure() {
        body["checks"]["background"] = json!({ "status": "failing", "detail": detail });
    }
    if readiness.is_paused() {
        // Healthy all the same: it serves what it should, and nobody should start it again for it.
        body["paused"] = json!(true);
    }
    if readiness.is_draining() {
        body["checks"]["draining"] = json!({ "status": "failing", "detail": "the server is stopping" });
    }
    (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// The route for whoever would start the process again: a full disk must take a server out of rotation, not kill it.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

async fn queue(state: &AppState) -> Value {
    match state.records.counts().await {
        Ok(counts) => json!({ "status": "ok", "pending": counts.pending, "processing": counts.processing }),
        Err(error) => json!({ "status": "failing", "detail": error.to_string() }),
    }
}

/// `free_bytes` is of the data directory, as it always was; beside it each directory by itself.
fn disk(state: &AppState) -> Value {
    let [data, serve] = RootKind::ALL.map(|kind| root(state, kind));
    let failing = [&data, &serve].into_iter().find(|root| root["status"] != "ok");
    let mut check = failing.cloned().unwrap_or_else(|| json!({ "status": "ok" }));
    check["free_bytes"] = data["free_bytes"].clone();
    check["data"] = data;
    check["serve"] = serve;
    check
}

fn root(state: &AppState, kind: RootKind) -> Value {
    let RootHealth { free_bytes, trouble } = state.disks.root(kind);
    let (name, floor) = (kind.name(), state.http.free_disk_min);
    let detail = if let Some(trouble) = trouble {
        format!("the {name} directory can't be written: {trouble}")
    } else if state.disks.is_below_floor(kind) {
        format!("less than {floor} bytes are free on the disk of the {name} directory; uploads are refused")
    } else {
        return json!({ "status": "ok", "free_bytes": free_bytes });
    };
    json!({ "status": "failing", "free_bytes": free_bytes, "detail": detail })
}

fn workers(state: &AppState) -> Value {
    let (alive, busy) = (state.active_jobs.workers(), state.active_jobs.making());
    let expected = state.http.max_workers + SPARE_WORKERS;
    if state.readiness.is_paused() {
        json!({ "status": "ok", "workers": alive, "busy": busy, "detail": "the server is paused" })
    } else if alive == expected {
        json!({ "status": "ok", "workers": alive, "busy": busy })
    } else {
        let detail = format!("{alive} of {expected} workers run");
        json!({ "status": "failing", "workers": alive, "busy": busy, "detail": detail })
    }
}

/// `Xd Yh Zm Ws`.
fn uptime(uptime: Duration) -> String {
    let secs = uptime.as_secs();
    format!("{}d {}h {}m {}s", secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60)
}

/// `2006-01-02 15:04:05 UTC`.
fn start_time(state: &AppState) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    state.started_at.date_time().format(&format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_reads_as_the_classic_one() {
        assert_eq!(uptime(Duration::from_secs(93_784)), "1d 2h 3m 4s");
    }
}
