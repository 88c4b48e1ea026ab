//! HTTP: one file a family of routes.

mod accept;
mod acceptance;
mod access;
mod body;
mod callback_fate;
mod cancel;
mod cross_origin;
mod deliveries;
mod demo_token;
mod description;
mod docs;
mod doctor;
mod erase;
mod events;
mod extract;
pub mod files;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod gc;
mod health;
mod http_metrics;
mod idempotency;
mod image;
mod jobs;
mod limits;
mod manifest;
mod metrics;
mod page;
mod presets;
mod problem;
mod rate;
mod records;
mod register;
mod reprocess;
mod request_body;
mod retry;
mod selection;
mod snapshot;
mod state;
mod status;
mod upload;
mod version;
mod watching;

pub use cross_origin::{AllowedOrigins, CrossOrigin, RequestOrigin};
pub use doctor::{Examined, StoreOutages};
pub use health::answer_while_starting;
pub use http_metrics::{ConnectionCount, HttpMetrics};
pub use metrics::metrics_router;
pub use problem::{Refusal, status_of};
pub use rate::{AddressCount, AddressCounts, Peer, RateSettings, Rates};
pub use state::{AppParts, AppState, HttpSettings, NodeHealth, PlaceReader, Readiness};
pub use watching::{WatchedJobs, Watchers};

use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::description::Description;
use self::files::FileSource;

/// Every route, and in their description `callbacks` beside them. `files` serve what direct hosting stored, to anyone and not.
///
/// From the outside in: the access log sees everything, what is JSON is stored by no cache, every answer says which pages
/// may read it, a panic becomes a 500, then the routes, those that cost something behind a limit for each address.
pub fn router(state: AppState, files: FileSource, private_files: Option<FileSource>, callbacks: OpenApi) -> Router {
    let files = Arc::new(files);
    let limit = from_fn_with_state(Arc::clone(&state.rates), rate::limit_address);
    let limited = limited_routes();
    let limited_paths: Vec<String> = limited.get_openapi().paths.paths.keys().cloned().collect();
    let origin = from_fn_with_state(state.clone(), cross_origin::check_origin);
    let (routes, described) =
        limited.route_layer(origin).route_layer(limit).merge(unlimited_routes()).split_for_parts();
    let description = Description::of(described, callbacks, &limited_paths, &state.http.public_url);
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone())
        .merge(image::router(state.clone(), Arc::clone(&files)))
        .merge(files::router(files))
        .merge(files::private::router(state.clone(), private_files))
        .fallback(not_found)
        .layer(Extension(description))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), cross_origin::cross_origin))
        .layer(map_response(not_stored))
        .layer(from_fn_with_state(state, access::access_log))
}

/// Those of a node that takes jobs alone: whether it can be used, which one it is, and what it counts. All else is nothing
/// there.
pub fn worker_router(state: AppState) -> Router {
    let (routes, _) = own_routes().split_for_parts();
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone())
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_response(not_stored))
        .layer(from_fn_with_state(state, access::access_log))
}

/// Those that cost something. A route is added by its handler, which says what it is by `#[utoipa::path]`: path, method and
/// description are in one place.
fn limited_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(description::common())
        .routes(routes!(upload::upload))
        .routes(routes!(status::status))
        .routes(routes!(manifest::manifest))
        .routes(routes!(events::events))
        .routes(routes!(cancel::cancel))
        .routes(routes!(jobs::list))
        .routes(routes!(retry::retry))
        .routes(routes!(erase::erase))
        .routes(routes!(erase::erasure))
        .routes(routes!(reprocess::reprocess))
        .routes(routes!(records::success))
        .routes(routes!(records::success_list))
        .routes(routes!(records::failures))
        .routes(routes!(records::failures_list))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(limits::limits))
        .routes(routes!(doctor::doctor))
        .routes(routes!(gc::gc))
        .routes(routes!(gc::gc_run))
        .routes(routes!(register::renew_webhook_secret))
        .routes(routes!(register::register, register::list, register::change, register::deregister))
        .routes(routes!(presets::list))
        .routes(routes!(presets::preset, presets::put, presets::delete))
        .routes(routes!(description::openapi))
        .routes(routes!(docs::page))
        .routes(routes!(docs::asset))
        .routes(routes!(page::index))
        .routes(routes!(page::file))
        .routes(routes!(demo_token::demo_token))
}

fn unlimited_routes() -> OpenApiRouter<AppState> {
    let mut described = files::Described::openapi();
    described.merge(files::private::Described::openapi());
    described.merge(image::Described::openapi());
    OpenApiRouter::with_openapi(described).merge(own_routes())
}

/// Those that tell of the server itself.
fn own_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(metrics::metrics))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(version::version))
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
