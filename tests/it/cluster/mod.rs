//! Nodes beside each other on one Redis and one bucket: what a client sees of them, and what it never should.

mod loss;
mod refusals;
mod repeated;
mod together;

/// A job that makes two small files, for the serve directory.
fn small_job() -> serde_json::Value {
    serde_json::json!({ "directHost": true, "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } } })
}

/// One that takes seconds.
fn long_job() -> serde_json::Value {
    serde_json::json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[500], [480], [460], [440]] } } })
}
