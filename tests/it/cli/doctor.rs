//! `pixerve doctor`: what is planted is found, and named with what to do.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pixerve::register::Sealer;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stub::Stub;
use super::{Ran, put, run, run_with};
use crate::harness::app::{TestApp, small_job};
use crate::harness::described::Described;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;
use crate::harness::stores::{dead_store, s3_at};
use crate::harness::token::{Claims, now};

/// Keys in files, as most installations have them.
const KEYS_IN_FILES: (&str, &str) = ("PIXERVE_JWT_SECRET", "");

/// What is not well; but for the sandbox, of which the kernel that tests run on may lack a part.
fn amiss(ran: &Ran) -> Vec<Value> {
    let mut checks = ran.objects();
    for check in &checks {
        assert_eq!(check["state"] != "ok", check["remedy"].is_string(), "{check}");
    }
    let is_well = checks.iter().all(|check| check["state"] == "ok");
    assert_eq!(ran.code, Some(i32::from(!is_well)), "{ran:#?}");
    checks.retain(|check| check["state"] != "ok" && !is_gap_of_this_kernel(check));
    checks
}

fn is_gap_of_this_kernel(check: &Value) -> bool {
    check["check"] == "sandbox" && check["found"].as_str().is_some_and(|found| found.contains("landlock"))
}

/// That it found one thing, and this one.
fn assert_found(ran: &Ran, at: &str, name: &str, state: &str, remedy: &str) {
    let amiss = amiss(ran);
    let [check] = &amiss[..] else { panic!("{name}: {ran:#?}") };
    assert_eq!((&check["at"], &check["check"], &check["state"]), (&json!(at), &json!(name), &json!(state)), "{check}");
    assert!(check["remedy"].as_str().expect("text").contains(remedy), "{remedy}: {check}");
}

/// A home in which a server has run and was stopped.
async fn stopped_home() -> Home {
    let home = Home::new(&[KEYS_IN_FILES]);
    let mut server = home.start().await;
    server.terminate();
    assert!(server.exited().await.success());
    home
}

async fn doctor(home: &Home) -> Ran {
    run(home, &["doctor", "--json"]).await
}

pub(super) async fn admin_token(home: &Home) -> String {
    run(home, &["token", "--admin"]).await.stdout.trim().to_owned()
}

/// Registers a store, or a user: its access key.
pub(super) async fn register(home: &Home, server: &ServerProcess, what: Value) -> String {
    let request = server.request(Method::POST, "/register").bearer_auth(admin_token(home).await).json(&what);
    let registered: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    registered["access_key"].as_str().unwrap_or_else(|| panic!("{registered}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_well_is_found_well_before_its_first_start_while_it_runs_and_after() {
    let home = Home::new(&[KEYS_IN_FILES]);
    assert_eq!(amiss(&doctor(&home).await), Vec::<Value>::new());
    assert!(!home.data_dir().exists(), "nothing was made");
    let mut server = home.start().await;
    let store = s3_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &["doctor"]).await;
    register(&home, &server, store.registration("doctor")).await;
    let ran = doctor(&home).await;
    assert_eq!(amiss(&ran), Vec::<Value>::new());
    let checks = ran.objects();
    let found = |at: &str, name: &str| checks.iter().any(|check| check["at"] == at && check["check"] == name);
    for name in ["settings", "token keys", "sealing keys", "sealed secrets", "data directory", "serve directory"] {
        assert!(found("here", name), "{name}: {ran:#?}");
    }
    for name in ["databases", "clock", "sandbox", "open files", "callback addresses"] {
        assert!(found("here", name) && found("server", name), "{name}: {ran:#?}");
    }
    for name in ["queue", "callbacks", "store breakers", "health", "sealing keys in use"] {
        assert!(found("server", name), "{name}: {ran:#?}");
    }
    assert!(ran.stdout.contains("an object was written and deleted"), "{ran:#?}");
    assert!(store.keys("doctor").await.is_empty(), "what it tried stores with is gone");

    let said = run(&home, &["doctor"]).await;
    assert!(said.stdout.starts_with("Here, by the settings\n  ok       settings: "), "{said:#?}");
    assert!(said.stdout.contains(&format!("\nThe server at http://{}, by itself\n", home.addr)), "{said:#?}");
    let admin = admin_token(&home).await;
    let url = format!("http://{}", home.addr);
    let elsewhere = Home::new(&[]);
    let ran = run_with(&elsewhere, &["doctor", "--json", "--server", &url], &[("PIXERVE_TOKEN", &admin)], b"").await;
    assert_eq!(amiss(&ran), Vec::<Value>::new());
    assert!(ran.objects().iter().all(|check| check["at"] == "server"), "{ran:#?}");
    assert_eq!(run(&elsewhere, &["doctor", "--server", &url]).await.code, Some(5), "other keys");
    assert_eq!(run(&elsewhere, &["doctor", "--server", "http://127.0.0.1:1"]).await.code, Some(4));

    server.terminate();
    assert!(server.exited().await.success());
    assert_eq!(amiss(&doctor(&home).await), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_settings_are_found_before_a_server_is_started_with_them() {
    let home = stopped_home().await;
    put(&home, "bad.toml", b"[queue]\nlease = \"soon\"\ndepth = 7\n");
    let ran = run(&home, &["doctor", "--json", "--config", "bad.toml"]).await;
    let amiss_of_settings = amiss(&ran);
    assert_eq!(amiss_of_settings.len(), 2, "{ran:#?}");
    for (check, what) in
        amiss_of_settings.iter().zip(["bad.toml, line 3: unknown setting queue.depth", "queue.lease is"])
    {
        assert_eq!((&check["check"], &check["state"]), (&json!("settings"), &json!("failed")));
        assert!(ran.stdout.contains(what), "{what}: {ran:#?}");
    }
    let with = async |name: &str, value: &str| run_with(&home, &["doctor", "--json"], &[(name, value)], b"").await;
    assert_found(&with("PIXERVE_QUEUE_DEPHT_MAX", "7").await, "here", "settings", "warning", "take it out");
    assert_found(
        &with("PIXERVE_CALLBACK_ALLOW", "0.0.0.0/0").await,
        "here",
        "callback addresses",
        "warning",
        "your own receivers",
    );
    assert_found(&with("PIXERVE_WORKER_SANDBOX", "off").await, "here", "sandbox", "warning", "PIXERVE_WORKER_SANDBOX");
    put(&home, "a-file", b"");
    let serve_dir = home.root().join("a-file").display().to_string();
    for (setting, directory) in [("PIXERVE_SERVE_DIR", "serve directory"), ("PIXERVE_PRIVATE_DIR", "private directory")]
    {
        for path in [serve_dir.clone(), format!("{serve_dir}/below")] {
            assert_found(&with(setting, &path).await, "here", directory, "failed", setting);
        }
    }
    let ran = with("PIXERVE_STORAGE_FREE_DISK_MIN", "1024 TiB").await;
    let amiss = amiss(&ran);
    let names: Vec<_> = amiss.iter().map(|check| check["check"].as_str().expect("a name")).collect();
    assert_eq!(names, ["data directory", "serve directory", "private directory"], "{ran:#?}");
    assert!(
        amiss.iter().all(|check| check["remedy"].as_str().expect("text").contains("PIXERVE_STORAGE_FREE_DISK_MIN"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_what_a_server_left_are_found_where_it_lies() {
    let home = stopped_home().await;
    let (jwt, vault) = (home.root().join("jwt.json"), home.data_dir().join("vault.key"));
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");

    mode(&jwt, 0o644);
    assert_found(&doctor(&home).await, "here", "token keys", "warning", "chmod 600");
    mode(&jwt, 0o600);
    let keys = fs::read(&jwt).expect("read");
    put(&home, "jwt.json", b"{}");
    assert_found(&doctor(&home).await, "here", "token keys", "failed", "restore it from its backup");
    fs::remove_file(&jwt).expect("removed");
    assert_found(&doctor(&home).await, "here", "token keys", "warning", "restore it from its backup");
    put(&home, "jwt.json", &keys);
    mode(&jwt, 0o600);

    mode(&vault, 0o644);
    assert_found(&doctor(&home).await, "here", "sealing keys", "failed", "chmod 600");
    mode(&vault, 0o600);
    let away = home.root().join("away");
    fs::rename(&vault, &away).expect("moved");
    assert_found(&doctor(&home).await, "here", "sealing keys", "failed", "from its backup");
    Sealer::make_key_file(&vault).expect("other keys");
    assert_found(&doctor(&home).await, "here", "sealed secrets", "failed", "restore the sealing keys that belong to");
    fs::rename(&away, &vault).expect("moved back");

    put(&home, "data/clock.seen", ((now() + 40 * 24 * 3600) * 1000).to_string().as_bytes());
    assert_found(&doctor(&home).await, "here", "clock", "failed", "NTP");
    fs::remove_file(home.data_dir().join("clock.seen")).expect("removed");

    let ledger = home.data_dir().join("ledger.db");
    let whole = fs::read(&ledger).expect("read");
    let mut damaged = whole.clone();
    damaged[5 * 4096..6 * 4096].fill(0x5a);
    put(&home, "data/ledger.db", &damaged);
    assert_found(&doctor(&home).await, "here", "databases", "failed", "pixerve gc --adopt");
    put(&home, "data/ledger.db", &whole);
    fs::rename(&ledger, home.root().join("ledger.away")).expect("moved");
    assert_found(&doctor(&home).await, "here", "databases", "failed", "mount or restore it");
    fs::rename(home.root().join("ledger.away"), &ledger).expect("moved back");
    put(&home, "data/ledger.db.damaged-1", &damaged);
    assert_found(&doctor(&home).await, "here", "databases", "warning", "move it elsewhere");
    fs::remove_file(home.data_dir().join("ledger.db.damaged-1")).expect("removed");

    let damaged = home.data_dir().join("ConvertQueue.db.damaged-1");
    fs::create_dir(&damaged).expect("made");
    assert_found(&doctor(&home).await, "here", "databases", "warning", "move it elsewhere");
    fs::remove_dir(&damaged).expect("removed");

    put(
        &home,
        "data/migration.json",
        br#"{"format":1,"migration":"1","to":"nodes","state":"left","other":"a bucket"}"#,
    );
    assert_found(&doctor(&home).await, "here", "move", "failed", "pixerve migrate");
    fs::remove_file(home.data_dir().join("migration.json")).expect("removed");

    let ran = with_few_files(&home).await;
    assert_found(&ran, "here", "open files", "warning", "LimitNOFILE");

    let other = Stub::on(TcpListener::bind(home.addr).await.expect("its port"), vec![(200, json!({}))]);
    assert_found(&doctor(&home).await, "server", "server", "failed", "PIXERVE_ADDR");
    assert_eq!(other.asked(), ["GET /health/live"]);
}

/// Runs it under a limit of 256 open files.
async fn with_few_files(home: &Home) -> Ran {
    let command = home.command(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"ulimit -n 256; exec "$0" doctor --json"#]).arg(command.get_program());
    shell.current_dir(home.root()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || shell.output().expect("it runs")).await.expect("no panic");
    Ran::of(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_told_by_what_it_left_open() {
    let home = Home::new(&[KEYS_IN_FILES]);
    home.start().await.kill();
    let ran = doctor(&home).await;
    let amiss = amiss(&ran);
    assert!(!amiss.is_empty(), "{ran:#?}");
    for check in amiss {
        assert_eq!((&check["check"], &check["state"]), (&json!("databases"), &json!("warning")), "{check}");
        assert!(check["remedy"].as_str().expect("text").contains("start the server"), "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_the_server_alone_knows_are_found_by_it() {
    let home = Home::new(&[KEYS_IN_FILES]);
    let server = home.start().await;
    let store = register(&home, &server, dead_store()).await;
    assert_found(&doctor(&home).await, "server", &format!("store {store}"), "failed", "reaches its address");
    let request = server.request(Method::DELETE, &format!("/register?access_key={store}"));
    let admin = admin_token(&home).await;
    assert_eq!(request.bearer_auth(admin).send().await.expect("an answer").status(), 204);

    let receiver = Receiver::start().await;
    // Gone for good: nobody asks again.
    receiver.answer(410);
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    put(&home, "job.json", job.to_string().as_bytes());
    put(&home, "a.jpg", &jpeg(32, 32, 1));
    let upload = ["upload", "--job", "job.json", "--sub", "me", "--wait", "--json", "a.jpg"];
    let uploaded = run(&home, &upload).await.objects().remove(0);
    server.wait_for(&uploaded, "given up", |status| status["callback"]["state"] == "given_up").await;
    assert_found(&doctor(&home).await, "server", "callbacks", "warning", "POST /deliveries/redeliver");

    let vault = home.data_dir().join("vault.key");
    fs::remove_file(&vault).expect("removed");
    Sealer::make_key_file(&vault).expect("other keys");
    let ran = doctor(&home).await;
    let found = amiss(&ran).into_iter().any(|check| check["at"] == "server" && check["check"] == "sealing keys in use");
    assert!(found, "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_tries_no_store_and_says_that_it_is_paused() {
    let app = TestApp::start_with(&[("PIXERVE_PAUSED", "true")]).await;
    let described = Described::of(&app).await;
    let request = app.request(Method::POST, "/doctor").bearer_auth(Claims::of("me").admin().sign());
    let answer = described.send(request).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    let checks = answer["checks"].as_array().expect("checks");
    let warned = |name: &str| checks.iter().any(|check| check["check"] == name && check["state"] == "warning");
    assert!(warned("queue") && warned("stores"), "{answer:#}");
}
