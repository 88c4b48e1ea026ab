//! Bombs, cuts, polyglots and malformed bodies against a whole server: a clear refusal, nothing left behind, and the
//! next good upload works.
//!
//! Proved elsewhere, at the pipeline: headers that claim too much, nonsense headers, cuts at 100 offsets of six formats,
//! flipped bytes (`crate::pixels::refusal`); what unpacks to megabytes, lying screens, tiles and frames, a thousand
//! scans (`crate::pixels::bombs`); GPS, serial numbers and thumbnails never leave (`crate::pixels::metadata`); eight
//! orientations in every format (`crate::pixels::orientation`, and through the server `crate::end_to_end::orientation`).
//! Over HTTP: each refusal's code, unusable bodies, too many parts, 413 announced or chunked (`crate::http::upload_refused`);
//! slow bodies and heads (`crate::http::slow`).

mod bombs;
mod cuts;
mod http2;
mod kinds;
mod length;
mod multiparts;
#[cfg(feature = "input-avif")]
mod mutated;
pub(super) mod polyglot_files;
mod polyglots;
mod requests;
mod sources;

pub(super) use self::bombs::peak_mib;
use std::path::Path;

use reqwest::Response;
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay, small_job, spooled};
use crate::harness::picture::jpeg;

/// Waits until the spool is as empty as it was at the start: no job, nothing on its way in.
async fn assert_spool_is_empty(data_dir: &Path) {
    let started = Instant::now();
    loop {
        let left = spooled(data_dir);
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < WAIT_MAX, "left behind: {left:?}");
        poll_delay().await;
    }
}

/// After what came before, a good picture is taken and made.
async fn assert_still_works(api: &Api, seed: u32) {
    let status = api.done("good", small_job(), "good.jpg", jpeg(80, 60, seed)).await;
    assert_eq!(status["state"], "completed", "{status}");
    for file in status["files"].as_array().expect("files") {
        let bytes = api.file(file["stored"][0]["location"].as_str().expect("a location")).await;
        image::load_from_memory(&bytes).expect("it decodes");
    }
}

/// How an upload ended: the refusal's status, or the state of its job, and what was said.
async fn outcome(api: &Api, response: Response) -> (String, Value) {
    let status = response.status();
    let kind = response.headers().get("content-type").cloned();
    let body: Value = response.json().await.expect("JSON");
    if status.is_success() {
        let ended = api.ended(&body).await;
        return (ended["state"].as_str().expect("a state").to_owned(), ended);
    }
    assert_eq!(kind.expect("a type"), "application/problem+json");
    assert!(status.is_client_error(), "{status}: {body}");
    assert!(body["detail"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    (status.as_u16().to_string(), body)
}

fn figure(what: impl std::fmt::Display) {
    super::figure("bad input", what);
}
