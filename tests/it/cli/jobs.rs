//! `pixerve jobs` and `pixerve retry`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::slice::from_ref;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::stub::Stub;
use super::{run, run_with};
use crate::harness::app::small_job;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::stores::{GIVES_UP_SOON, dead_store};

/// A job that fails for its store.
fn failing_job(store: &str) -> Value {
    json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } })
}

async fn fail(server: &ServerProcess, store: &str, sub: &str, seed: u32) -> String {
    let job = server.done(sub, failing_job(store), "a.jpg", jpeg(32, 32, seed)).await;
    assert_eq!(job["state"], "failed", "{job}");
    job["job_id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_what_they_are_and_whose() {
    let home = Home::new(&GIVES_UP_SOON);
    let server = home.start().await;
    let store = server.register(dead_store()).await;
    let failed = fail(&server, &store, "me", 1).await;
    let completed = server.done("me", small_job(), "b.jpg", jpeg(32, 32, 2)).await;
    let others = fail(&server, &store, "you", 3).await;

    let listed = async |arguments: &[&str]| {
        let ran = run(&home, &[&["jobs", "--json"], arguments].concat()).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        ran.objects().iter().map(|job| job["job_id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let completed = completed["job_id"].as_str().expect("an id").to_owned();
    assert_eq!(listed(&["--sub", "me"]).await, [completed.clone(), failed.clone()]);
    assert_eq!(listed(&["--scope", "admin"]).await, [others.clone(), completed.clone(), failed.clone()]);
    assert_eq!(listed(&["--sub", "you", "--scope", "admin"]).await, from_ref(&others));
    assert_eq!(listed(&["--sub", "me", "--state", "failed"]).await, from_ref(&failed));
    assert_eq!(listed(&["--scope", "admin", "--error-code", "store_unreachable"]).await, [others, failed.clone()]);
    assert_eq!(listed(&["--sub", "me", "--store", &store]).await, from_ref(&failed));
    assert_eq!(listed(&["--sub", "me", "--since", "1h", "--state", "completed"]).await, [completed]);
    assert!(listed(&["--sub", "me", "--until", "1h"]).await.is_empty());
    assert!(listed(&["--sub", "me", "--waiting-for", "store"]).await.is_empty());

    let ran = run(&home, &["jobs", "--sub", "me", "--limit", "1"]).await;
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "STATE      JOB                                   AGE  FILES  TRY  WHAT", "{ran:#?}");
    assert!(lines.len() == 2 && lines[1].starts_with("completed  "), "{ran:#?}");
    assert!(ran.stderr.contains("there are more"), "{ran:#?}");
    let ran = run(&home, &["jobs", "--sub", "me", "--state", "failed"]).await;
    assert!(ran.stdout.contains(&failed) && ran.stdout.contains("store_unreachable: "), "{ran:#?}");

    assert_eq!(run(&home, &["jobs", "--user", "nobody"]).await.code, Some(1), "no such user");
    assert_eq!(run(&home, &["jobs", "--state", "lost"]).await.code, Some(2));
    assert_eq!(run(&home, &["jobs", "--since", "yesterday"]).await.code, Some(2));
    assert_eq!(run(&home, &["jobs", "--token", "no.good.token"]).await.code, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_asked_for_until_there_are_enough_though_some_are_empty() {
    let page = |jobs: Value, next: Value| (200, json!({ "jobs": jobs, "count": 0, "next_cursor": next }));
    let stub = Stub::answering(vec![
        page(json!([{ "job_id": "1" }]), json!("a")),
        page(json!([]), json!("b")),
        page(json!([{ "job_id": "2" }, { "job_id": "3" }]), json!("c")),
    ])
    .await;
    let home = Home::new(&[]);
    let arguments = ["jobs", "--json", "--limit", "3", "--state", "failed", "--sub", "a b", "--server", &stub.url];
    let ran = run_with(&home, &arguments, &[("PIXERVE_TOKEN", "a.good.token")], b"").await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.objects(), ["1", "2", "3"].map(|id| json!({ "job_id": id })));
    let asked = [
        "GET /jobs?state=failed&sub=a+b&limit=3",
        "GET /jobs?state=failed&sub=a+b&limit=2&cursor=a",
        "GET /jobs?state=failed&sub=a+b&limit=2&cursor=b",
    ];
    assert_eq!(stub.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_until_it_is_interrupted_and_tells_of_each_change() {
    let home = Home::new(&[]);
    let server = home.start().await;
    let first = server.done("me", small_job(), "a.jpg", jpeg(32, 32, 1)).await;
    let mut command = home.command(&["jobs", "--sub", "me", "--watch", "--json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first_line = tokio::task::spawn_blocking(move || {
        let line = lines.next().expect("a line").expect("text");
        (serde_json::from_str::<Value>(&line).expect("JSON"), lines)
    });
    let (told, mut lines) = first_line.await.expect("no panic");
    assert_eq!(told["job_id"], first["job_id"]);
    let second = server.done("me", small_job(), "b.jpg", jpeg(32, 32, 2)).await;
    let ended = tokio::task::spawn_blocking(move || {
        // It may be told of before it has ended, too.
        let mut told = lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("JSON"));
        let told = told.find(|job| job["state"] == "completed").expect("it is told of");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::INT).expect("it runs");
        (told, child.wait().expect("it ends").code())
    });
    let (told, code) = ended.await.expect("no panic");
    assert_eq!((&told["job_id"], code), (&second["job_id"], Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_run_again_one_by_one_or_all_that_an_outage_left() {
    let home = Home::new(&GIVES_UP_SOON);
    let server = home.start().await;
    let store = server.register(dead_store()).await;
    let mut failed = Vec::new();
    for seed in 0..3 {
        failed.push(fail(&server, &store, "me", seed).await);
    }
    let done = server.done("me", small_job(), "b.jpg", jpeg(32, 32, 9)).await;
    let done = done["job_id"].as_str().expect("an id").to_owned();

    let ran = run(&home, &["retry", "--sub", "me", "--json", &failed[0], &done]).await;
    assert_eq!(ran.code, Some(3), "one has completed: {ran:#?}");
    let objects = ran.objects();
    assert_eq!(objects[0]["retry_of"], json!(failed[0]));
    assert_eq!((&objects[1]["job"], &objects[1]["error"]["code"]), (&json!(done), &json!("job_completed")));
    server.ended(&objects[0]).await;

    let retry = ["retry", "--sub", "me", "--failed", "--since", "1h", "--json"];
    let ran = run(&home, &[&retry[..], &["--error", "timeout"]].concat()).await;
    assert_eq!((ran.code, ran.objects()), (Some(0), vec![json!({ "count": 0, "skipped": 0 })]), "{ran:#?}");
    let ran = run(&home, &[&retry[..], &["--error", "store_unreachable,timeout", "--limit", "1"]].concat()).await;
    assert_eq!((ran.code, &ran.objects()[0]["count"]), (Some(0), &json!(1)), "{ran:#?}");
    let ran = run(&home, &["retry", "--scope", "admin", "--failed"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("jobs are run again"), "{ran:#?}");
    for job in &failed {
        let status = run(&home, &["show", "--json", job]).await.objects().remove(0);
        assert!(status["retried_as"].is_string(), "{status}");
    }

    assert_eq!(run(&home, &["retry", "--sub", "you", &failed[0]]).await.code, Some(1), "another's job is unknown");
    assert_eq!(run(&home, &["retry"]).await.code, Some(2));
    assert_eq!(run(&home, &["retry", "--since", "1h", &failed[0]]).await.code, Some(2));
}
