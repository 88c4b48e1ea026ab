//! HTTP: one file a family of routes.

mod access;
mod body;
mod cancel;
mod extract;
pub mod files;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod problem;
mod rate;
mod records;
mod register;
mod request_body;
mod state;
mod status;
mod upload;
mod version;

pub use problem::{Refusal, status_of};
pub use rate::{Peer, RateSettings, Rates};
pub use state::{AppParts, AppState, HttpSettings, Readiness};

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

/// Every route. `files` serves what direct hosting stored.
///
/// From the outside in: the access log sees everything, a panic becomes a 500 that it logs, then the routes, those that
/// cost something behind a limit for each address.
pub fn router(state: AppState, files: Router) -> Router {
    Router::new()
        .route("/upload", post(upload::upload))
        .route("/status", get(status::status))
        .route("/cancel", delete(cancel::cancel))
        .route("/success", get(records::success))
        .route("/success/list", get(records::success_list))
        .route("/failures", get(records::failures))
        .route("/failures/list", get(records::failures_list))
        .route("/register", post(register::register).get(register::list).delete(register::deregister))
        .route_layer(from_fn_with_state(Arc::clone(&state.rates), rate::limit_address))
        .route("/health", get(health::health))
        .route("/version", get(version::version))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone())
        .merge(files)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state, access::access_log))
}

async fn not_found() -> Refusal {
    Refusal::NotFound("there is nothing at this address".into())
}

async fn method_not_allowed() -> Refusal {
    Refusal::MethodNotAllowed
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    use axum::response::IntoResponse;
    let detail = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Refusal::Internal(detail).into_response()
}
