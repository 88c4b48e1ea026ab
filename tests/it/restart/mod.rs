//! Servers that stop and start again: nothing that was accepted is lost, nothing that had ended is forgotten.

pub(crate) mod again;
mod crashed;
mod database;
mod graceful;
mod inspected;
mod once;
mod paused;
mod presets;
mod private;
mod process;
mod repeated;
mod sealing_keys;
mod service_manager;
mod signals;
mod waiting;

use pixerve::failpoint::Step;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::reserve_port;
use crate::harness::stores::{S3Server, s3_at};

/// Where an upload may be cut off by a kill, and whether its original is in the spool by then.
const UPLOAD_STEPS: [(Step, bool); 7] = [
    (Step::UploadBeforeRename, false),
    (Step::UploadAfterRename, true),
    (Step::UploadBeforeEnqueue, true),
    (Step::EnqueueApplied, true),
    (Step::QueueBeforeSync, true),
    (Step::QueueAfterSync, true),
    (Step::UploadAfterEnqueue, true),
];

/// A worker that meets a dead store waits for it, as good as for ever.
const WAITS_FOR_STORES: [(&str, &str); 3] =
    [("PIXERVE_MAX_WORKERS", "1"), ("PIXERVE_STORES_BACKOFF_MIN", "300s"), ("PIXERVE_STORES_BACKOFF_MAX", "300s")];

/// A server whose only worker waits for a store with the first of its jobs, half of which is stored already.
struct Held {
    app: TestApp,
    addr: std::net::SocketAddr,
    accepted: Vec<Value>,
}

impl Held {
    /// With so many jobs waiting behind the one that is being processed.
    async fn start(waiting: u32) -> Self {
        let app = TestApp::start_with(&WAITS_FOR_STORES).await;
        let addr = reserve_port();
        let absent = s3_at(addr, &[]).await;
        let registration = absent.registration("held");
        absent.stop().await;
        let key = app.register(registration).await;
        let job = json!({
            "directHost": true, "storageKeys": { "s3": key },
            "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[8]] } }
        });
        let mut accepted = Vec::new();
        for seed in 0..=waiting {
            accepted.push(app.accepted("me", job.clone(), "a.jpg", jpeg(40, 30, seed)).await);
        }
        let stored = |app: &TestApp| files_below(&app.serve_dir()).iter().filter(|name| !name.starts_with('.')).count();
        while stored(&app) < 3 {
            poll_delay().await;
        }
        Self { app, addr, accepted }
    }

    async fn store(&self) -> S3Server {
        s3_at(self.addr, &["held"]).await
    }

    /// Every job completes, with every file in both places, and nothing of it is left in the spool.
    async fn assert_all_complete(&self, s3: &S3Server) {
        for accepted in &self.accepted {
            let status = self.app.ended(accepted).await;
            assert_eq!((&status["state"], &status["job_id"]), (&json!("completed"), &accepted["job_id"]), "{status}");
            for name in accepted["expected_files"].as_array().expect("names").iter().filter_map(Value::as_str) {
                let direct = self.app.file(&format!("/files/{name}")).await;
                assert_eq!(s3.object("held", name).await.map(|object| object.bytes), Some(direct), "{name}");
            }
        }
        let files = self.accepted.len() * 3;
        assert_eq!((files_below(&self.app.serve_dir()).len(), s3.keys("held").await.len()), (files, files));
        let spool = self.app.data_dir().join("spool");
        while !files_below(&spool).is_empty() {
            poll_delay().await;
        }
    }
}
