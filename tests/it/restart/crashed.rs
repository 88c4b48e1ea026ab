//! A job that the server died with once too often.

use serde_json::json;

use crate::harness::app::{files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;
use crate::harness::stores::dead_store;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_because_the_server_died_names_what_it_had_stored() {
    let home = Home::new(&[
        ("PIXERVE_QUEUE_CRASHES_MAX", "1"),
        // In its own process, a server doesn't know which of its jobs it was that killed it.
        ("PIXERVE_WORKER_SANDBOX", "off"),
        ("PIXERVE_STORES_BACKOFF_MIN", "300s"),
        ("PIXERVE_STORES_BACKOFF_MAX", "300s"),
    ]);
    let (server, receiver) = (home.start().await, Receiver::start().await);
    let key = server.register(dead_store()).await;
    let job = json!({
        "directHost": true, "storageKeys": { "s3": key }, "completionCallback": receiver.url,
        "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[8]] } }
    });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(40, 30, 1)).await;
    let id = accepted["job_id"].as_str().expect("an id");
    let journal = home.data_dir().join("spool/jobs").join(id).join("stored.jsonl");
    while std::fs::read_to_string(&journal).unwrap_or_default().matches("\"stored\"").count() < 3 {
        poll_delay().await;
    }
    server.kill();

    let server = home.start().await;
    let status = server.ended(&accepted).await;
    assert_eq!(status["state"], "failed", "{status}");
    assert!(status["error"].as_str().is_some_and(|error| error.contains("took its worker down")), "{status}");
    let files = status["files"].as_array().expect("files");
    let names: Vec<_> = files.iter().map(|file| file["name"].clone()).collect();
    assert_eq!(json!(names), accepted["expected_files"]);
    for file in files {
        let location = format!("/files/{}", file["name"].as_str().expect("a name"));
        assert_eq!(file["stored"], json!([{ "backend": "directHost", "location": location }]));
        server.file(&location).await;
    }
    assert_eq!(receiver.call().await.body["files"], status["files"], "the caller is told the same");
    assert_eq!(files_below(&home.data_dir().join("spool")), Vec::<String>::new());
}
