//! A job that the server died with once too often.

use serde_json::{Value, json};

use crate::harness::app::{poll_delay, spooled};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::receiver::Receiver;
use crate::harness::stores::s3_at;

/// In its own process, a server doesn't know which of its jobs it was that killed it.
const ONE_CRASH: [(&str, &str); 2] = [("PIXERVE_QUEUE_CRASHES_MAX", "1"), ("PIXERVE_WORKER_SANDBOX", "off")];

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_because_the_server_died_names_what_it_had_stored() {
    let home = Home::new(&ONE_CRASH);
    let (server, receiver) = (home.start().await, Receiver::start().await);
    // Many that take long each: it dies between the first and the last.
    let sizes: Vec<_> = (0..40).map(|n| json!([240 - n])).collect();
    let job = json!({
        "directHost": true, "completionCallback": receiver.url,
        "formats": { "avif": { "sizes": sizes, "settings": { "speed": 1 } } }
    });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(400, 300, 1)).await;
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
    let expected = accepted["expected_files"].as_array().expect("names");
    assert!(files.len() >= 3 && files.len() < expected.len(), "{status}");
    for file in files {
        assert!(expected.contains(&file["name"]), "{file}");
        let location = format!("/files/{}", file["name"].as_str().expect("a name"));
        assert_eq!(file["stored"], json!([{ "backend": "directHost", "location": location }]));
        server.file(&location).await;
    }
    assert_eq!(receiver.call().await.body["files"], status["files"], "the caller is told the same");
    assert_eq!(spooled(&home.data_dir()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_only_waited_for_its_store_pays_for_no_death_of_the_server() {
    let home = Home::new(&ONE_CRASH);
    let mut server = home.start().await;
    let addr = reserve_port();
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("waits");
    absent.stop().await;
    let key = server.register(registration).await;
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[16]] } } });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(20, 20, 1)).await;
    let id = accepted["job_id"].as_str().expect("an id");
    let journal = home.data_dir().join("spool/jobs").join(id).join("stored.jsonl");
    for lives in 1..=2 {
        let has_told = |status: &Value| status["waiting_for"].is_array();
        server.wait_for(&accepted, "to wait for its store", has_told).await;
        // It is written once the queue knows that all is made.
        while lives == 1 && !std::fs::read_to_string(&journal).unwrap_or_default().contains("all_made_at") {
            poll_delay().await;
        }
        server.kill();
        server = home.start().await;
    }
    let _s3 = s3_at(addr, &["waits"]).await;
    let status = server.ended(&accepted).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");
}
