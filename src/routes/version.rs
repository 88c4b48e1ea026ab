//! `GET /version`: what is running.

use axum::Json;
use axum::extract::State;
use axum::http::header::LINK;
use axum::response::IntoResponse;

use super::AppState;
use super::description::link;
use crate::version::{VERSION, Version};

/// What is running
#[utoipa::path(
    get, path = "/version", tag = "Server",
    responses((
        status = 200, description = "Version, commit, compiler, time of build.", body = Version,
        headers(("Link" = String, description = "Where the description of this server's routes is (`service-desc`)."))
    ))
)]
pub(super) async fn version(State(state): State<AppState>) -> impl IntoResponse {
    ([(LINK, link(&state.http.public_url))], Json(VERSION))
}
