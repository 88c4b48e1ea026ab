//! `pixerve erase`.

use serde_json::{Value, json};

use super::stub::Stub;
use super::{Ran, on_terminal, run, run_with};
use crate::harness::app::{files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;

fn erasure(state: &str, deleted: u64) -> Value {
    let files = json!({ "deleted": deleted, "missing": 0, "kept": 0, "left": 0 });
    let mut erasure = json!({ "state": state, "jobs": 2, "files": files, "kept": [], "left": [] });
    if state != "dry_run" {
        erasure["erasure_id"] = json!("019a");
    }
    erasure
}

async fn erase(home: &Home, stub: &Stub, arguments: &[&str]) -> Ran {
    let arguments = [&["erase", "--server", &stub.url], arguments].concat();
    run_with(home, &arguments, &[("PIXERVE_TOKEN", "a.good.token")], b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_yes_and_nobody_to_ask_nothing_is_done() {
    let (home, stub) = (Home::new(&[]), Stub::answering(vec![]).await);
    let ran = erase(&home, &stub, &["--sub", "me"]).await;
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("--yes") && ran.stderr.contains("nothing was done"), "{ran:#?}");
    assert_eq!(erase(&home, &stub, &["--yes"]).await.code, Some(2), "what?");
    assert_eq!(erase(&home, &stub, &["--job", "1", "--hash", "2", "--yes"]).await.code, Some(2), "which?");
    assert_eq!(stub.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_would_go() {
    let (home, stub) = (Home::new(&[]), Stub::answering(vec![(200, erasure("dry_run", 7))]).await);
    let ran = erase(&home, &stub, &["--user", "shop", "--sub", "me", "--dry-run"]).await;
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "would erase 2 jobs, 7 files"), "{ran:#?}");
    assert_eq!(stub.asked(), ["DELETE /erase?sub=me&user=shop&dry_run=true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_is_followed_until_it_is_done_whatever_the_server_says_meanwhile() {
    let stub = Stub::answering(vec![
        (200, erasure("dry_run", 7)),
        (202, erasure("running", 3)),
        (503, json!({ "code": "draining" })),
        (200, erasure("running", 5)),
        (200, erasure("done", 7)),
    ])
    .await;
    let home = Home::new(&[]);
    let ran = erase(&home, &stub, &["--hash", "h_me", "--yes", "--json"]).await;
    assert_eq!((ran.code, ran.objects()), (Some(0), vec![erasure("done", 7)]), "{ran:#?}");
    let followed = "GET /erasures/019a";
    let asked = ["DELETE /erase?hash=h_me&dry_run=true", "DELETE /erase?hash=h_me", followed, followed, followed];
    assert_eq!(stub.asked(), asked);

    let mut incomplete = erasure("incomplete", 6);
    incomplete["left"] = json!([{ "backend": "s3", "location": "s3://b/a.jpg", "error": "it refuses" }]);
    let stub = Stub::answering(vec![(200, erasure("dry_run", 7)), (200, incomplete)]).await;
    let ran = erase(&home, &stub, &["--job", "0190", "--yes"]).await;
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert!(ran.stdout.contains("s3 s3://b/a.jpg: it refuses"), "{ran:#?}");

    let nothing = json!({ "code": "not_found", "title": "Not found" });
    let stub = Stub::answering(vec![(404, nothing)]).await;
    assert_eq!(erase(&home, &stub, &["--sub", "nobody", "--yes"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_asks_and_anything_but_a_yes_is_a_no() {
    let home = Home::new(&[]);
    for (typed, code, asked) in [("n\n", 1, 1), ("\n", 1, 1), ("y\n", 0, 2)] {
        let stub = Stub::answering(vec![(200, erasure("dry_run", 7)), (200, erasure("done", 7))]).await;
        let arguments = format!("erase --sub me --server {}", stub.url);
        assert_eq!(on_terminal(&home, &arguments, typed).await, Some(code), "{typed:?}");
        assert_eq!(stub.asked().len(), asked, "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_subject_is_erased_and_nothing_of_others() {
    let home = Home::new(&[]);
    let server = home.start().await;
    for seed in 0..3 {
        server.done("me", small_job(), "a.jpg", jpeg(32, 32, seed)).await;
    }
    let others = server.done("you", small_job(), "a.jpg", jpeg(32, 32, 7)).await;
    assert_eq!(files_below(&home.serve_dir()).len(), 4);
    let ran = run(&home, &["erase", "--sub", "me", "--dry-run", "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let planned = ran.objects().remove(0);
    assert_eq!(
        (&planned["state"], &planned["jobs"], &planned["files"]["deleted"]),
        (&json!("dry_run"), &json!(3), &json!(3))
    );
    assert_eq!(files_below(&home.serve_dir()).len(), 4);

    let ran = run(&home, &["erase", "--sub", "me", "--yes", "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let erased = ran.objects().remove(0);
    assert_eq!((&erased["state"], &erased["files"]["deleted"]), (&json!("done"), &json!(3)));
    assert_eq!(files_below(&home.serve_dir()).len(), 1);
    let job = others["job_id"].as_str().expect("an id");
    assert_eq!(run(&home, &["show", job]).await.code, Some(0));
    assert_eq!(run(&home, &["erase", "--sub", "me", "--yes"]).await.code, Some(1), "there is nothing left");
}
