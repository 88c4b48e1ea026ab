//! `GET /health`: whether this server should be sent requests. Never waits on a worker or a remote store. `GET /health/live`:
//! whether its process answers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use time::macros::format_description;
use utoipa::ToSchema;

use super::{AppState, NodeHealth, Refusal};
use crate::bucket::LastProbe;
use crate::clock::millis;
use crate::disks::{RootHealth, RootKind};
use crate::doctor::Check;
use crate::job::Priority;
use crate::nodes::{ClockState, RedisMemory};
use crate::queue::LaneCounts;
use crate::version::VERSION;

/// Workers beside those that are set, for who has nothing under way.
const SPARE_WORKERS: usize = 1;

/// A Redis that hasn't answered for longer can't be counted on.
const REDIS_AGE_MAX: Duration = Duration::from_secs(5);
/// Nor can one that uses more of what it may use.
const REDIS_MEMORY_MAX: f64 = 0.9;
/// Nor a bucket that hasn't answered for longer.
const BUCKET_AGE_MAX: Duration = Duration::from_secs(30);

/// How the server is, and each of its parts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`health` writes it; here is what clients read")]
struct Health {
    status: HealthWord,
    #[schema(format = "date-time")]
    timestamp: String,
    version: String,
    /// `Xd Yh Zm Ws`.
    uptime: String,
    /// `2006-01-02 15:04:05 UTC`.
    start_time: String,
    checks: HealthChecks,
    /// There while it is, and takes nothing in.
    #[schema(nullable = false)]
    paused: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "see above")]
enum HealthWord {
    Healthy,
    Unhealthy,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct HealthChecks {
    queue: QueueCheck,
    disk: DiskCheck,
    workers: WorkersCheck,
    /// There where nodes share a queue.
    #[schema(nullable = false)]
    redis: Option<SharedCheck>,
    /// There where nodes share a bucket.
    #[schema(nullable = false)]
    bucket: Option<SharedCheck>,
    /// There where nodes share a queue: this machine's clock beside Redis'.
    #[schema(nullable = false)]
    clock: Option<ClockCheck>,
    /// There once a part of the server has ended.
    #[schema(nullable = false)]
    background: Option<FailedCheck>,
    /// There while the server stops.
    #[schema(nullable = false)]
    draining: Option<FailedCheck>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "see above")]
enum CheckWord {
    Ok,
    Failing,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct QueueCheck {
    status: CheckWord,
    /// Jobs.
    #[schema(nullable = false)]
    pending: Option<u64>,
    /// Jobs.
    #[schema(nullable = false)]
    processing: Option<u64>,
    /// By priority, as of the last change; where nodes share a queue, as of when it was asked last.
    #[schema(nullable = false)]
    lanes: Option<LanesCheck>,
    /// What is wrong.
    #[schema(nullable = false)]
    detail: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct LanesCheck {
    realtime: LaneCheck,
    queued: LaneCheck,
}

/// The live jobs of one priority.
#[derive(Serialize, ToSchema)]
struct LaneCheck {
    /// Those that wait.
    pending: u64,
    /// Those of which variants are being made.
    making: u64,
    /// Those that are being stored, or wait for a store.
    storing: u64,
    /// How long ago the oldest of those that wait was accepted; none while none waits.
    #[schema(required)]
    oldest_pending_seconds: Option<u64>,
}

/// The worst of all directories.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct DiskCheck {
    status: CheckWord,
    /// On the disk of the data directory.
    #[schema(required)]
    free_bytes: Option<u64>,
    data: RootCheck,
    serve: RootCheck,
    /// There where private files are in a directory.
    #[schema(nullable = false)]
    private: Option<RootCheck>,
    /// What is wrong.
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// A directory.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct RootCheck {
    status: CheckWord,
    #[schema(required)]
    free_bytes: Option<u64>,
    /// What is wrong.
    #[schema(nullable = false)]
    detail: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct WorkersCheck {
    status: CheckWord,
    /// Those that run.
    workers: u64,
    /// Those that make variants.
    busy: u64,
    /// What is wrong, or that the server is paused.
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// What nodes share, as of when it was asked last.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct SharedCheck {
    status: CheckWord,
    /// How long ago it answered last.
    #[schema(required)]
    age_ms: Option<u64>,
    /// What is wrong.
    #[schema(nullable = false)]
    detail: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct ClockCheck {
    status: CheckWord,
    /// By how much it is ahead.
    #[schema(required)]
    offset_ms: Option<i64>,
    /// What is wrong.
    #[schema(nullable = false)]
    detail: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct FailedCheck {
    status: CheckWord,
    /// What is wrong.
    detail: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct Liveness {
    status: LivenessWord,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "see above")]
enum LivenessWord {
    Alive,
}

/// Whether this server should be sent requests
///
/// Never waits on a worker or a remote store.
#[utoipa::path(
    get, path = "/health", tag = "Server",
    responses(
        (status = 200, description = "It should.", body = Health),
        (status = 503, description = "It should not: a check fails, or the server stops.", body = Health)
    )
)]
pub(super) async fn health(State(state): State<AppState>) -> (StatusCode, Json<Value>) {
    let (queue, disk, workers) = (queue(&state).await, disk(&state), workers(&state));
    let readiness = &state.readiness;
    let shared =
        state.node.as_ref().map(|node| [("redis", redis(node)), ("bucket", bucket(node)), ("clock", clock(node))]);
    let can_go_on = !readiness.is_draining() && readiness.failure().is_none();
    let own = [&queue, &disk, &workers].into_iter();
    let healthy =
        can_go_on && own.chain(shared.iter().flatten().map(|(_, check)| check)).all(|check| check["status"] == "ok");
    let now = state.clock.now();
    let mut body = json!({
        "status": if healthy { "healthy" } else { "unhealthy" },
        "timestamp": now.rfc3339(),
        "version": VERSION.version,
        "uptime": uptime(now.since(state.started_at)),
        "start_time": start_time(&state),
        "checks": { "queue": queue, "disk": disk, "workers": workers },
    });
    for (name, check) in shared.into_iter().flatten() {
        body["checks"][name] = check;
    }
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

/// What of the server itself doesn't work, and what it shares with others; one line, if all of it does.
pub(super) fn failing_parts(state: &AppState) -> Vec<Check> {
    let shared =
        state.node.as_ref().map(|node| [("redis", redis(node)), ("bucket", bucket(node)), ("clock", clock(node))]);
    let parts = [("disk", disk(state)), ("workers", workers(state))].into_iter().chain(shared.into_iter().flatten());
    let mut checks: Vec<Check> = parts
        .filter(|(_, part)| part["status"] != "ok")
        .map(|(name, part)| {
            let detail = part["detail"].as_str().unwrap_or_default();
            Check::failed(name, detail, "see the log of the server; GET /health is 503 until it passes")
        })
        .collect();
    if let Some(ended) = state.readiness.failure() {
        checks.push(Check::failed("background", ended, "restart the server, and report this"));
    }
    if checks.is_empty() {
        checks.push(Check::ok("health", "every part of the server works"));
    }
    checks
}

/// Whether the process answers
///
/// For whoever would start it again: a full disk must take a server out of rotation, not kill it.
#[utoipa::path(
    get, path = "/health/live", tag = "Server",
    responses((status = 200, description = "It does.", body = Liveness))
)]
pub(super) async fn live() -> Json<Value> {
    alive()
}

fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// What is answered on any path as long as this server waits for what it shares with others: it lives, and nothing else.
#[must_use]
pub fn answer_while_starting(path: &str) -> Response {
    if path == "/health/live" { alive().into_response() } else { Refusal::Starting.into_response() }
}

async fn queue(state: &AppState) -> Value {
    match state.records.counts().await {
        Ok(counts) => {
            let (pending, processing) = (counts.pending, counts.processing);
            json!({ "status": "ok", "pending": pending, "processing": processing, "lanes": lanes(state) })
        }
        Err(error) => json!({ "status": "failing", "detail": error.to_string() }),
    }
}

fn lanes(state: &AppState) -> BTreeMap<&'static str, LaneCheck> {
    let now = state.clock.now();
    let lanes = Priority::ALL.into_iter().zip(state.records.backlog().lanes);
    let check = |lane: LaneCounts| LaneCheck {
        pending: lane.pending,
        making: lane.making,
        storing: lane.storing,
        oldest_pending_seconds: lane.oldest_pending.map(|oldest| now.since(oldest).as_secs()),
    };
    lanes.map(|(priority, lane)| (priority.as_str(), check(lane))).collect()
}

/// `free_bytes` is of the data directory, as it always was; beside it each directory by itself.
fn disk(state: &AppState) -> Value {
    let roots = RootKind::ALL.into_iter().filter(|kind| state.disks.has(*kind));
    let roots: Vec<_> = roots.map(|kind| (kind, root(state, kind))).collect();
    let failing = roots.iter().map(|(_, root)| root).find(|root| root["status"] != "ok");
    let mut check = failing.cloned().unwrap_or_else(|| json!({ "status": "ok" }));
    check["free_bytes"] = Value::Null;
    for (kind, root) in roots {
        if kind == RootKind::Data {
            check["free_bytes"] = root["free_bytes"].clone();
        }
        check[kind.name()] = root;
    }
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
    if state.node.as_ref().is_some_and(|node| !node.roles.worker) {
        // Others take jobs; whether they live is not for this one to say.
        return json!({ "status": "ok", "workers": alive, "busy": busy });
    }
    if state.readiness.is_paused() {
        json!({ "status": "ok", "workers": alive, "busy": busy, "detail": "the server is paused" })
    } else if alive == expected {
        json!({ "status": "ok", "workers": alive, "busy": busy })
    } else {
        let detail = format!("{alive} of {expected} workers run");
        json!({ "status": "failing", "workers": alive, "busy": busy, "detail": detail })
    }
}

/// Never asks: it is heard of with every beat.
fn redis(node: &NodeHealth) -> Value {
    let status = node.nodes.borrow();
    let age_ms = status.age().map(millis);
    let share = status.memory.and_then(RedisMemory::share);
    let detail = match (status.age(), share) {
        (None, _) => status.trouble.clone().unwrap_or_else(|| "Redis has not answered yet".to_owned()),
        (Some(age), _) if age > REDIS_AGE_MAX => {
            let trouble = status.trouble.clone().unwrap_or_else(|| "it does not answer".to_owned());
            format!("Redis has not answered for {} s: {trouble}", age.as_secs())
        }
        (_, Some(share)) if share >= REDIS_MEMORY_MAX => {
            format!("Redis uses {:.0} % of its maxmemory; once it is full, uploads are refused", share * 100.0)
        }
        _ => return json!({ "status": "ok", "age_ms": age_ms }),
    };
    json!({ "status": "failing", "age_ms": age_ms, "detail": detail })
}

fn bucket(node: &NodeHealth) -> Value {
    let probe = (node.bucket)();
    let age_ms = probe.as_ref().map(|probe| millis(probe.age));
    let detail = match probe {
        None => "the bucket has not answered yet".to_owned(),
        // Which one, and what it says, is for the log: anyone may ask this.
        Some(LastProbe { has_failed: true, .. }) => "the bucket can't be used; the log says why".to_owned(),
        Some(LastProbe { age, .. }) if age > BUCKET_AGE_MAX => {
            format!("the bucket has not answered for {} s", age.as_secs())
        }
        Some(_) => return json!({ "status": "ok", "age_ms": age_ms }),
    };
    json!({ "status": "failing", "age_ms": age_ms, "detail": detail })
}

fn clock(node: &NodeHealth) -> Value {
    let status = node.nodes.borrow();
    let offset_ms = status.heard.as_ref().map(|heard| heard.clock_offset_ms);
    match status.heard.as_ref().map(|heard| heard.clock) {
        Some(ClockState::Wrong) => {
            let detail = "this machine's clock is so far from Redis' that tokens are judged wrongly; set it right";
            json!({ "status": "failing", "offset_ms": offset_ms, "detail": detail })
        }
        _ => json!({ "status": "ok", "offset_ms": offset_ms }),
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
