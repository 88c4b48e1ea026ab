//! `pixerve gc`.

use std::time::Duration;

use serde_json::{Value, json};

use super::stub::Stub;
use super::{Ran, on_terminal, run, run_with};
use crate::erasure::garbage::{plant, variant};
use crate::harness::app::{files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;

fn comparison(state: &str, unknown: u64, error: Option<&str>) -> Value {
    let mut store = json!({ "backend": "directHost", "base": "/files/", "files": 9 });
    if let Some(error) = error {
        store["error"] = json!(error);
    }
    let count = |files: u64| json!({ "files": files, "bytes": files * 100 });
    let adoptable = json!({ "by_record": 0, "by_name": unknown, "unknown_owner": 0, "unclear_owner": 0 });
    json!({
        "gc_id": "019a", "state": state, "adopt": false, "delete": false, "older_than": 86400, "started_at": "2026-11-30T12:00:00Z",
        "report": {
            "known": count(6), "young": 0, "busy": 0, "foreign": 0, "adopted": count(0), "deleted": count(0), "left": 0,
            "unknown": { "files": unknown, "bytes": unknown * 100, "adoptable": adoptable, "examples": [] },
            "missing": { "files": 0, "looked_for": 6, "examples": [] }, "stores": [store]
        }
    })
}

async fn gc(home: &Home, stub: &Stub, arguments: &[&str]) -> Ran {
    let arguments = [&["gc", "--server", &stub.url], arguments].concat();
    run_with(home, &arguments, &[("PIXERVE_TOKEN", "a.good.token")], b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_yes_and_nobody_to_ask_nothing_is_deleted() {
    let (home, stub) = (Home::new(&[]), Stub::answering(vec![]).await);
    let ran = gc(&home, &stub, &["--delete"]).await;
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("--yes") && ran.stderr.contains("nothing was done"), "{ran:#?}");
    assert_eq!(gc(&home, &stub, &["--older-than", "1h"]).await.code, Some(2), "it is too young");
    assert_eq!(stub.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_is_followed_and_what_came_of_it_is_the_exit_code() {
    let home = Home::new(&[]);
    let answers = vec![
        (202, comparison("running", 1, None)),
        (503, json!({ "code": "draining" })),
        (200, comparison("running", 2, None)),
        (200, comparison("done", 3, None)),
    ];
    let stub = Stub::answering(answers).await;
    let ran = gc(&home, &stub, &["--adopt", "--delete", "--older-than", "7d", "--yes", "--json"]).await;
    assert_eq!((ran.code, ran.objects()), (Some(0), vec![comparison("done", 3, None)]), "{ran:#?}");
    assert_eq!(ran.stderr, "", "for machines nothing else is said");
    let followed = "GET /gc/019a";
    assert_eq!(stub.asked(), ["POST /gc?older_than=7d&adopt=true&delete=true", followed, followed, followed]);

    for (answer, code) in [
        ((200, comparison("done", 0, Some("it is away"))), 3),
        ((200, comparison("failed", 0, None)), 1),
        ((200, comparison("stopped", 0, None)), 1),
        ((409, json!({ "code": "gc_running", "title": "Stores are being compared already" })), 1),
        ((403, json!({ "code": "forbidden" })), 5),
    ] {
        let stub = Stub::answering(vec![answer]).await;
        let ran = gc(&home, &stub, &[]).await;
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert_eq!(stub.asked(), ["POST /gc?older_than=1d"]);
    }
    let nobody = run(&home, &["gc", "--server", "http://127.0.0.1:1", "--token", "a.b.c"]).await;
    assert_eq!(nobody.code, Some(4), "{nobody:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_shows_what_would_go_and_asks_before_it_deletes() {
    let home = Home::new(&[]);
    for (typed, code, asked) in [
        ("n\n", 1, &["POST /gc?older_than=1d"][..]),
        ("y\n", 0, &["POST /gc?older_than=1d", "POST /gc?older_than=1d&delete=true"]),
    ] {
        let stub = Stub::answering(vec![(200, comparison("done", 7, None)), (200, comparison("done", 7, None))]).await;
        let arguments = format!("gc --delete --server {}", stub.url);
        assert_eq!(on_terminal(&home, &arguments, typed).await, Some(code), "{typed:?}");
        assert_eq!(stub.asked(), asked, "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_without_a_ledger_stored_is_found_adopted_and_erased() {
    const OLD: Duration = Duration::from_hours(48);
    let home = Home::new(&[]);
    let server = home.start().await;
    server.done("you", small_job(), "a.jpg", jpeg(32, 32, 1)).await;
    for seed in 0..3 {
        plant(&home.serve_dir(), &variant("me", seed), OLD);
    }
    let ran = run(&home, &["gc"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "FILES  BYTES  WHAT", "{ran:#?}");
    assert!(ran.stdout.contains("3      21 B   unknown, with a name of ours\n"), "{ran:#?}");
    assert!(ran.stdout.contains(&format!("unknown: directHost /files/{}\n", variant("me", 0))), "{ran:#?}");
    assert_eq!(run(&home, &["erase", "--sub", "me", "--yes"]).await.code, Some(1), "there is nothing known");

    let ran = run(&home, &["gc", "--adopt", "--json"]).await;
    assert_eq!((ran.code, &ran.objects()[0]["report"]["adopted"]["files"]), (Some(0), &json!(3)), "{ran:#?}");
    let ran = run(&home, &["erase", "--sub", "me", "--yes", "--json"]).await;
    assert_eq!((ran.code, &ran.objects()[0]["files"]["deleted"]), (Some(0), &json!(3)), "{ran:#?}");
    assert_eq!(files_below(&home.serve_dir()).len(), 1);

    plant(&home.serve_dir(), &variant("me", 9), OLD);
    let ran = run(&home, &["gc", "--delete", "--yes", "--json"]).await;
    assert_eq!((ran.code, &ran.objects()[0]["report"]["deleted"]["files"]), (Some(0), &json!(1)), "{ran:#?}");
    assert_eq!(files_below(&home.serve_dir()).len(), 1);
}
