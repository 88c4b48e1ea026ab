//! Nodes beside each other on one Redis and one bucket: what a client sees of them, and what it never should.

mod credentials;
mod loss;
mod presets;
mod refusals;
mod repeated;
mod sentinel;
mod together;
mod upgrade;

use reqwest::StatusCode;
use tokio::time::Instant;

use crate::harness::api::Api;
use crate::harness::app::{TestApp, WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::fault_proxy::{Fault, FaultProxy};

/// Waits until a node answers so.
async fn until_answered(api: &Api, path: &str, wanted: StatusCode) {
    let started = Instant::now();
    loop {
        let answer = api.get(path).await;
        let status = answer.status();
        if status == wanted {
            return;
        }
        let body = answer.text().await.expect("text");
        assert!(started.elapsed() < WAIT_MAX, "{path}: {status} for too long, and not {wanted}: {body}");
        poll_delay().await;
    }
}

/// A job that makes two small files, for the serve directory.
fn small_job() -> serde_json::Value {
    serde_json::json!({ "directHost": true, "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } } })
}

/// One that takes seconds.
fn long_job() -> serde_json::Value {
    serde_json::json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[500], [480], [460], [440]] } } })
}

/// A store that takes nothing yet, and its access key.
async fn store_that_is_away(cluster: &Cluster, api: &TestApp) -> (FaultProxy, String) {
    cluster.s3.create_bucket("pictures");
    let proxy = FaultProxy::start(cluster.s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = cluster.s3.registration("pictures");
    registration["endpoint"] = proxy.endpoint().into();
    let key = api.register(registration).await;
    proxy.script(|_| Fault::s3_error(503, "SlowDown"));
    (proxy, key)
}
