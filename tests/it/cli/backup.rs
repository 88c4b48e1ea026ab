//! `pixerve doctor --backup`: what a copy of a data directory holds, and what would come back to life.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use super::doctor::{admin_token, register};
use super::{Ran, put, run};
use crate::harness::app::{files_below, small_job};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{dead_store, s3};

async fn look_at(home: &Home, directory: &Path) -> (Option<i32>, BTreeMap<String, Value>, Ran) {
    let ran = run(home, &["doctor", "--json", "--backup", &directory.display().to_string()]).await;
    let checks = ran.objects().into_iter().map(|check| {
        assert_eq!(check["at"], "backup");
        (check["check"].as_str().expect("a name").to_owned(), check)
    });
    (ran.code, checks.collect(), ran)
}

fn found(checks: &BTreeMap<String, Value>, name: &str) -> (String, String) {
    let text = |field: &str| checks[name][field].as_str().expect("text").to_owned();
    (text("state"), text("found"))
}

/// Every file with what is in it, and when it was changed.
fn content(directory: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let file = |name: String| {
        let path = directory.join(&name);
        let changed = fs::metadata(&path).expect("there").modified().expect("a time");
        (name, fs::read(path).expect("read"), changed)
    };
    files_below(directory).into_iter().map(file).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_tells_what_it_holds_and_what_would_come_back_to_life_and_is_not_changed() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", "")]);
    let server = home.start().await;
    register(&home, &server, json!({ "user": "shop" })).await;
    let store = register(&home, &server, dead_store()).await;
    let preset = server.request(Method::PUT, "/presets/avatar").bearer_auth(admin_token(&home).await).body("{}");
    assert_eq!(preset.send().await.expect("an answer").status(), 201);
    let receiver = Receiver::start().await;
    receiver.answer(503);
    let mut told = small_job();
    told["completionCallback"] = json!(receiver.url);
    told["callbackHeaders"] = json!({ "x-secret": "canary" });
    let waiting = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    put(&home, "told.json", told.to_string().as_bytes());
    put(&home, "waiting.json", waiting.to_string().as_bytes());
    put(&home, "a.jpg", &jpeg(32, 32, 1));
    let upload = async |job: &str, how: &[&str]| {
        let ran = run(&home, &[&["upload", "--job", job, "--sub", "me", "--json", "a.jpg"], how].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    };
    upload("told.json", &["--wait"]).await;
    receiver.call().await;
    upload("waiting.json", &[]).await;

    let (code, checks, ran) = look_at(&home, &home.data_dir()).await;
    assert_eq!(code, Some(1), "{ran:#?}");
    assert!(found(&checks, "backup").1.contains("this is no backup"), "{ran:#?}");
    server.kill();

    let backup = home.root().join("backup");
    copy(&home.data_dir(), &backup);
    let before = content(&backup);
    let (code, checks, ran) = look_at(&home, &backup).await;
    assert_eq!(code, Some(1), "something would come back to life: {ran:#?}");
    let ok = |text: &str| ("ok".to_owned(), text.to_owned());
    let jobs = "1 pending, those that were worked on among them, 1 completed, 0 failed, 0 cancelled";
    assert_eq!(found(&checks, "jobs"), ok(jobs), "{ran:#?}");
    assert_eq!(found(&checks, "users and stores"), ok("1 user, 1 store, 1 preset"), "{ran:#?}");
    assert!(found(&checks, "originals").1.starts_with("1 of jobs that have not ended, "), "{ran:#?}");
    assert_eq!(found(&checks, "sealing keys").0, "ok", "{ran:#?}");
    let (state, text) = found(&checks, "jobs that would run");
    assert!(state == "warning" && text.starts_with("1: "), "{ran:#?}");
    let (state, text) = found(&checks, "callbacks that would be sent");
    assert!(state == "warning" && text.starts_with("1, to 127.0.0.1"), "{ran:#?}");
    assert!(checks["jobs that would run"]["remedy"].as_str().expect("text").contains("PIXERVE_PAUSED"));
    assert_eq!(content(&backup), before, "it was only read");

    fs::remove_file(backup.join("vault.key")).expect("removed");
    fs::rename(home.data_dir().join("vault.key"), home.root().join("away")).expect("moved");
    let (code, checks, ran) = look_at(&home, &backup).await;
    assert_eq!(code, Some(1));
    assert_eq!(found(&checks, "sealing keys").0, "failed", "{ran:#?}");
    let sealed = ("failed".to_owned(), "3 sealed records, which no key here opens".to_owned());
    assert_eq!(found(&checks, "users and stores"), sealed, "{ran:#?}");

    fs::remove_dir_all(backup.join("spool")).expect("removed");
    let (_, checks, ran) = look_at(&home, &backup).await;
    assert_eq!(found(&checks, "originals").0, "failed", "{ran:#?}");

    let (code, checks, _) = look_at(&home, home.root()).await;
    assert_eq!((code, found(&checks, "backup").0.as_str()), (Some(1), "failed"), "that is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_at_rest_is_well() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", "")]);
    let mut server = home.start().await;
    server.terminate();
    assert!(server.exited().await.success());
    let backup = home.root().join("backup");
    copy(&home.data_dir(), &backup);
    let (code, checks, ran) = look_at(&home, &backup).await;
    assert_eq!(code, Some(0), "{ran:#?}");
    assert_eq!(found(&checks, "jobs that would run").1, "none");
    assert_eq!(found(&checks, "erasures that would go on").1, "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_which_erasures_would_go_on() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", ""), ("PIXERVE_ERASE_WITHIN", "100ms")]);
    let mut server = home.start().await;
    let pictures = s3().await;
    pictures.create_bucket("pictures");
    let proxy = FaultProxy::start(pictures.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = pictures.registration("pictures");
    registration["endpoint"] = json!(proxy.endpoint());
    let store = register(&home, &server, registration).await;
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    put(&home, "job.json", job.to_string().as_bytes());
    put(&home, "a.jpg", &jpeg(32, 32, 1));
    let ran = run(&home, &["upload", "--job", "job.json", "--sub", "me", "--json", "--wait", "a.jpg"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    proxy.script(|asked| if asked.method == "DELETE" { Fault::s3_error(500, "InternalError") } else { Fault::Pass });
    let token = run(&home, &["token", "--sub", "me", "--scope", "manage"]).await.stdout;
    let ordered = server.request(Method::DELETE, "/erase?sub=me").bearer_auth(token.trim()).send().await;
    assert_eq!(ordered.expect("an answer").status(), 202);
    server.terminate();
    assert!(server.exited().await.success());

    let (code, checks, ran) = look_at(&home, &home.data_dir()).await;
    assert_eq!(code, Some(1), "{ran:#?}");
    let (state, text) = found(&checks, "erasures that would go on");
    assert!(state == "warning" && text.starts_with("1 order: "), "{ran:#?}");
}
