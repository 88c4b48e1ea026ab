//! `GET /version`: what is running.

use axum::Json;

use crate::version::{VERSION, Version};

/// The route.
pub(super) async fn version() -> Json<Version> {
    Json(VERSION)
}
