//! `GET /metrics`: what a monitoring system reads. On an address of its own it is for whoever reaches that; here for an
//! admin, or for a scraper with a token that doesn't expire.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::extract::{bearer_of, verify};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::auth::{AuthError, Scope};
use crate::metrics::{Exposition, Metrics};

refusals!(MetricsRefusals: Unauthorized, Forbidden);

/// Metrics, for Prometheus
///
/// On `metrics.addr` they need no token.
#[utoipa::path(
    get, path = "/metrics", tag = "Server", security(("token" = ["admin"]), ("scraper" = [])),
    params(("Accept" = Option<String>, Header, description = "Which of the two formats is wanted.", nullable = false)),
    responses(
        (
            status = 200, description = "Every metric.",
            content((String = "text/plain; version=0.0.4"), (String = "application/openmetrics-text; version=1.0.0")),
            headers(("Cache-Control" = String, description = "`no-store`."))
        ),
        MetricsRefusals
    )
)]
pub(super) async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, Refusal> {
    let token = bearer_of(&headers)?.ok_or(AuthError::Missing)?;
    if !is_scraper(&state, token) {
        verify(&state, token).map_err(|refusal| refusal.lacking(Scope::Admin))?.require(Scope::Admin)?;
    }
    Ok(exposed(&state.metrics, &headers))
}

/// What answers on the metrics' own address.
pub fn metrics_router(metrics: Metrics) -> Router {
    let expose = async |State(metrics): State<Metrics>, headers: HeaderMap| exposed(&metrics, &headers);
    Router::new().route("/metrics", get(expose)).with_state(metrics)
}

/// Whether it is the scraper's token. Digests are compared: how long that takes says nothing about the token.
fn is_scraper(state: &AppState, token: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    state.metrics_token.as_ref().is_some_and(|scraper| digest(scraper.expose_secret()) == digest(token))
}

fn exposed(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let exposition = Exposition::asked_for(&accepted.collect::<Vec<_>>().join(","));
    let written = metrics.expose(exposition);
    ([(CONTENT_TYPE, exposition.media_type()), (CACHE_CONTROL, "no-store")], written).into_response()
}
