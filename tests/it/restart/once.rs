//! Tokens that are good for one upload, and servers that die with it.

use std::os::unix::process::ExitStatusExt;

use pixerve::clock::{Clock, System};
use pixerve::failpoint::Step;
use pixerve::job::{
    ContentHash, HashKey, JobId, JobRecord, JobSpec, OnDuplicate, OnceToken, Original, Owner, Priority, RecordVersion,
    SourceFormat, Stem, SubDir,
};
use pixerve::spool::{DirectorySpool, Spool};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::app::{assert_problem, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::http::once::once;

async fn completed(server: &ServerProcess) -> Vec<Value> {
    let list = server.admin(Method::GET, "/success/list", None).await;
    list.json::<Value>().await.expect("JSON")["success_records"].as_array().expect("records").clone()
}

/// Uploads with a token for one upload to a server that dies at `step`, and then, with the same token, other bytes: whatever
/// is accepted in the end is one job.
async fn dies_at(step: Step, is_accepted: bool) {
    let home = Home::new(&[]);
    // The batch that a start makes durable comes by first.
    let passed = u32::from(matches!(step, Step::QueueBeforeSync | Step::QueueAfterSync));
    let points = format!("{}={passed}*off->return", step.name());
    let mut server = home.start_with(&[("FAILPOINTS", &points)]).await;
    let token = once("me", "token-1").sign();
    let api = (*server).clone();
    let upload = tokio::spawn({
        let token = token.clone();
        async move {
            let form = reqwest::multipart::Form::new()
                .part("file", reqwest::multipart::Part::bytes(jpeg(40, 30, 1)).file_name("a.jpg"));
            api.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await.is_ok()
        }
    });
    assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", step.name());
    assert!(!upload.await.expect("it ends"), "nobody is told anything");

    let server = home.start().await;
    let answer = server.upload(&token, "b.jpg", jpeg(40, 30, 2)).await;
    let job_id = if is_accepted {
        assert_problem(answer, 409, "token_used").await["job_id"].clone()
    } else {
        assert_eq!(answer.status(), StatusCode::OK, "{}", step.name());
        answer.json::<Value>().await.expect("JSON")["job_id"].clone()
    };
    let id = job_id.as_str().expect("an id");
    let job = serde_json::json!({ "status_url": format!("/status?job_id={id}") });
    assert_eq!(server.ended(&job).await["state"], "completed", "{}", step.name());
    let jobs: Vec<_> = completed(&server).await.into_iter().map(|record| record["job_id"].clone()).collect();
    assert_eq!(jobs, [job_id], "{}: one job", step.name());
    assert_problem(server.upload(&token, "c.jpg", jpeg(40, 30, 3)).await, 409, "token_used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_an_upload_and_its_token_makes_no_second_job() {
    for (step, is_accepted) in [
        (Step::UploadBeforeRename, false),
        (Step::UploadAfterRename, true),
        (Step::UploadBeforeEnqueue, true),
        (Step::EnqueueApplied, true),
        (Step::QueueBeforeSync, true),
        (Step::QueueAfterSync, true),
        (Step::UploadAfterEnqueue, true),
    ] {
        dies_at(step, is_accepted).await;
    }
}

/// An upload of `token` as far as the spool; nobody was told of it.
async fn spooled(spool: &DirectorySpool, token: OnceToken, seed: u32) -> JobRecord {
    let (id, now) = (JobId::new(System::new().now()), System::new().now());
    let mut upload = spool.receive(id).await.expect("room");
    upload.write(jpeg(20, 10, seed).into()).await.expect("written");
    let received = upload.finish().await.expect("finished");
    let owner = Owner { user: None, access_key: None, sub: "me".to_owned() };
    let (sha256, bytes): (ContentHash, u64) = (received.sha256, received.bytes);
    let record = JobRecord {
        version: RecordVersion,
        id,
        hash: HashKey::new(&sha256, &owner),
        owner,
        stem: Stem::of("a.jpg"),
        original: Original { format: SourceFormat::Jpeg, sha256, bytes, width: 20, height: 10 },
        spec: JobSpec {
            priority: Priority::Realtime,
            keep_original: true,
            direct_host: true,
            storage: Vec::new(),
            sub_dir: SubDir::default(),
            variants: Vec::new(),
        },
        callback: None,
        job_data: serde_json::json!({}),
        created_at: now,
        memory: None,
        inspection: None,
        reference: None,
        once: Some(token),
        on_duplicate: OnDuplicate::Refuse,
        retry_of: None,
        trace: None,
    };
    received.accept(&record).await.expect("accepted");
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uploads_with_one_token_that_a_kill_left_in_the_spool_one_becomes_a_job() {
    let home = Home::new(&[]);
    std::fs::create_dir_all(home.data_dir()).expect("a directory");
    let spool = DirectorySpool::open(&home.data_dir()).expect("opens");
    let owner = Owner { user: None, access_key: None, sub: "me".to_owned() };
    let token = OnceToken::new(&owner, "token-1", System::new().now().after(std::time::Duration::from_mins(5)));
    let (first, second) = (spooled(&spool, token, 1).await, spooled(&spool, token, 2).await);
    let server = home.start().await;
    while !files_below(&home.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }
    let jobs: Vec<_> = completed(&server).await.into_iter().map(|record| record["job_id"].clone()).collect();
    assert!(jobs.len() == 1, "{jobs:?}");
    assert!([&first, &second].iter().any(|record| jobs[0] == record.id.to_string()), "{jobs:?}");
    let again = server.upload(&once("me", "token-1").sign(), "a.jpg", jpeg(40, 30, 3)).await;
    assert_eq!(assert_problem(again, 409, "token_used").await["job_id"], jobs[0]);
}
