//! `POST /doctor`: what a server finds when it looks at itself, at where it is, and at whom it needs.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::extract::Admin;
use super::health;
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::clock::{ClockTrust, Timestamp};
use crate::doctor::{self, AskedBy, Check, Premises};
use crate::sandbox::SandboxSettings;

/// How many stores of each kind jobs can't reach.
pub type StoreOutages = Arc<dyn Fn() -> Vec<(&'static str, usize)> + Send + Sync>;

/// What a server looks at beside what handlers use.
pub struct Examined {
    /// What lies on its machine.
    pub premises: Premises,
    /// How its children are run, of this program.
    pub sandbox: (SandboxSettings, PathBuf),
    /// Whether it believes its clock.
    pub clock_trust: ClockTrust,
    /// What its jobs can't reach.
    pub store_outages: StoreOutages,
    /// Held by the one examination that there is at a time.
    pub examining: Mutex<()>,
}

/// What was found.
#[derive(Serialize, ToSchema)]
pub(super) struct Diagnosis {
    checks: Vec<Check>,
}

refusals!(DoctorRefusals: Unauthorized, Forbidden);

/// Whether all is well, and what to do
///
/// Looks at keys, directories and databases of the server, its clock, the system that it runs on, its queue and its callbacks, and tries
/// each registered store: a small object is written there and deleted. That may take half a minute; one request is served at a time. While
/// the server is paused no store is tried. `pixerve doctor` shows it.
#[utoipa::path(
    post, path = "/doctor", tag = "Server", security(("token" = ["admin"])),
    responses((status = 200, description = "What was found, whether or not all is well.", body = Diagnosis), DoctorRefusals)
)]
pub(super) async fn doctor(State(state): State<AppState>, _: Admin) -> Result<Json<Diagnosis>, Refusal> {
    let examined = &state.examined;
    let _only = examined.examining.lock().await;
    let now = state.clock.now();
    let (premises, (sandbox, program)) = (examined.premises.clone(), examined.sandbox.clone());
    let keys_in_use = tokio::task::spawn_blocking({
        let (sealer, path) = (Arc::clone(&state.sealer), premises.sealing_keys.clone());
        move || doctor::sealing_keys_in_use(&sealer, &path)
    });
    let is_paused = state.readiness.is_paused();
    let (premises, keys_in_use, sandbox, queue, callbacks, stores) = tokio::join!(
        premises.look(AskedBy::Server, now, None::<Timestamp>),
        keys_in_use,
        doctor::sandbox(sandbox, program),
        doctor::queue(&*state.records, state.http.depth_max, is_paused, now),
        doctor::given_up_callbacks(&*state.deliveries, now),
        stores(&state, is_paused),
    );
    let mut checks = premises;
    checks.push(keys_in_use.map_err(|error| Refusal::Internal(format!("looking at sealing keys: {error}")))?);
    checks.push(doctor::trusted_clock(examined.clock_trust.is_trusted()));
    checks.push(sandbox);
    checks.extend([queue, callbacks]);
    checks.extend(health::failing_parts(&state));
    checks.extend(stores);
    checks.push(doctor::store_breakers(&(examined.store_outages)()));
    Ok(Json(Diagnosis { checks }))
}

async fn stores(state: &AppState, is_paused: bool) -> Vec<Check> {
    if is_paused {
        let remedy = "unset PIXERVE_PAUSED and restart, then look again";
        return vec![Check::warning("stores", "none is tried while the server is paused", remedy)];
    }
    doctor::stores(&state.register, state.store_timeouts).await
}
