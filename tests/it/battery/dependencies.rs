//! Stores and callers that fail in every way.
//!
//! Each test here runs a whole server against something broken. What a store's client makes of one answer is proved
//! nearer to it:
//! - `writer/s3.rs`, `writer/gcs.rs`: each status and code is final or may pass; a success with another checksum is an error;
//!   an upload in parts that fails or is cancelled is aborted.
//! - `writer/conformance.rs`: nobody listens, nobody answers, no such bucket. `writer/retrying.rs`: what is retried.
//! - `callback/deliver.rs`: a receiver that is down, fails, is gone (410), asks for time (429 with `Retry-After`), hangs.
//! - `callback/hostile.rs`: one that trickles, answers without end, or redirects; `end_to_end/callbacks.rs`: restarts.
//! - `end_to_end/unreachable.rs`: stores that are down, come back, or are deregistered, across restarts too.

mod caller;
mod stores;

use pixerve::job::ContentHash;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::stores::{S3Server, s3_at};

const BUCKET: &str = "faulty";

/// Stores are retried soon, and time out soon.
const QUICK: [(&str, &str); 4] = [
    ("PIXERVE_STORES_BACKOFF_MIN", "5ms"),
    ("PIXERVE_STORES_BACKOFF_MAX", "20ms"),
    ("PIXERVE_STORES_CONNECT_TIMEOUT", "1s"),
    ("PIXERVE_STORES_IDLE_TIMEOUT", "1s"),
];

/// A server, and a bucket behind a proxy.
struct FaultyStoreFixture {
    app: TestApp,
    s3: S3Server,
    proxy: FaultProxy,
    key: String,
}

impl FaultyStoreFixture {
    async fn start(further: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = QUICK.iter().chain(further).copied().collect();
        let app = TestApp::start_with(&settings).await;
        let s3 = s3_at(([127, 0, 0, 1], 0).into(), &[BUCKET]).await;
        let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
        let key = register(&app, &s3, &proxy.endpoint()).await;
        Self { app, s3, proxy, key }
    }

    /// Five variants in the bucket.
    fn job(&self) -> Value {
        let formats =
            json!({ "jpg": { "sizes": [[40], [30], [20]] }, "webp": { "sizes": [[10]] }, "png": { "sizes": [[8]] } });
        json!({ "storageKeys": { "s3": self.key }, "formats": formats })
    }

    /// The job has one record, and every file it names is in the bucket and is what the record says.
    async fn assert_ended_once_and_whole(&self, status: &Value, state: &str) {
        assert_ended_once(&self.app, status, state).await;
        for file in status["files"].as_array().expect("files") {
            let name = file["name"].as_str().expect("a name");
            let object = self.s3.object(BUCKET, name).await.unwrap_or_else(|| panic!("{name} is not there: {status}"));
            assert_eq!(file["sha256"], ContentHash::of(&object.bytes).to_string(), "{name}");
            let picture = image::load_from_memory(&object.bytes).expect("it decodes");
            assert_eq!(
                (&file["width"], &file["height"]),
                (&json!(picture.width()), &json!(picture.height())),
                "{name}"
            );
        }
    }
}

async fn register(app: &TestApp, s3: &S3Server, endpoint: &str) -> String {
    let mut registration = s3.registration(BUCKET);
    registration["endpoint"] = endpoint.into();
    app.register(registration).await
}

/// The job is in this state, and there is exactly one record of it in the lists.
async fn assert_ended_once(app: &TestApp, status: &Value, state: &str) {
    assert_eq!(status["state"], state, "{status}");
    let mut records = 0;
    for (path, name) in [("/success/list", "success_records"), ("/failures/list", "failures")] {
        let page: Value = app.admin(reqwest::Method::GET, path, None).await.json().await.expect("JSON");
        let of_it =
            page[name].as_array().expect("records").iter().filter(|record| record["job_id"] == status["job_id"]);
        records += of_it.count();
    }
    assert_eq!(records, usize::from(state != "cancelled"), "{status}");
}
