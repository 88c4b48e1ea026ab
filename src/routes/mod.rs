//! HTTP: one file a family of routes.

mod access;
mod body;
mod callback_fate;
mod cancel;
mod cross_origin;
mod deliveries;
mod demo_token;
mod events;
mod extract;
pub mod files;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod http_metrics;
mod limits;
mod metrics;
mod page;
mod problem;
mod rate;
mod records;
mod register;
mod request_body;
mod snapshot;
mod state;
mod status;
mod upload;
mod version;
mod watching;

pub use cross_origin::{AllowedOrigins, CrossOrigin, RequestOrigin};
pub use http_metrics::{ConnectionCount, HttpMetrics};
pub use metrics::metrics_router;
pub use problem::{Refusal, status_of};
pub use rate::{AddressCount, AddressCounts, Peer, RateSettings, Rates};
pub use state::{AppParts, AppState, HttpSettings, Readiness};
pub use watching::{WatchedJobs, Watchers};

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

/// Every route. `files` serves what direct hosting stored.
///
/// From the outside in: the access log sees everything, what is JSON is stored by no cache, every answer says which pages
/// may read it, a panic becomes a 500, then the routes, those that cost something behind a limit for each address.
pub fn router(state: AppState, files: Router) -> Router {
    Router::new()
        .route("/upload", post(upload::upload))
        .route("/status", get(status::status))
        .route("/events", get(events::events))
        .route("/cancel", delete(cancel::cancel))
        .route("/success", get(records::success))
        .route("/success/list", get(records::success_list))
        .route("/failures", get(records::failures))
        .route("/failures/list", get(records::failures_list))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/redeliver", post(deliveries::redeliver))
        .route("/limits", get(limits::limits))
        .route("/register/webhook-secret", post(register::renew_webhook_secret))
        .route("/register", post(register::register).get(register::list).delete(register::deregister))
        .merge(page_routes(&state))
        .route_layer(from_fn_with_state(Arc::clone(&state.rates), rate::limit_address))
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/version", get(version::version))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone())
        .merge(files)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), cross_origin::cross_origin))
        .layer(map_response(not_stored))
        .layer(from_fn_with_state(state, access::access_log))
}

/// The page, where it is shown, and tokens for it in the demo.
fn page_routes(state: &AppState) -> Router<AppState> {
    let mut routes = Router::new();
    if state.http.page || state.is_demo {
        routes = routes.route("/", get(page::index)).route("/page/{file}", get(page::file));
    }
    if state.is_demo {
        routes = routes.route("/demo-token", get(demo_token::demo_token));
    }
    routes
}

/// Answers in JSON are of a moment, unless their route says otherwise.
async fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.get(CONTENT_TYPE).is_some_and(|media_type| media_type == "application/json") {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

async fn not_found() -> Refusal {
    Refusal::nothing_here()
}

/// The router adds `Allow`, which is all that `OPTIONS` asks for.
async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Refusal::MethodNotAllowed.into_response()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let detail = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Refusal::Internal(detail).into_response()
}
