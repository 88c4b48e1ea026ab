//! Comparing stores with the ledger: what is found, what is adopted and deleted, and what never is.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use pixerve::job::{ContentHash, Owner};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::home::{ErasureHome, PICTURES, erase, erased, manager, stored_job, text};
use crate::harness::app::{TestApp, WAIT_MAX, assert_problem, poll_delay, small_job};
use crate::harness::cluster::BUCKET;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

every_home! {
    a_comparison_tells_what_there_is_and_changes_nothing,
    what_is_deleted_is_old_and_ours_and_known_to_nobody,
    what_names_tell_of_is_adopted_and_erased_with_its_owner,
    what_records_tell_of_is_adopted_with_its_full_owner_and_never_deleted,
    whose_name_is_a_digest_is_known_once_another_file_of_theirs_is,
    what_cannot_be_adopted_is_deleted_where_both_are_asked_for,
    a_store_that_is_away_is_an_error_of_that_store_alone,
    what_is_known_and_nowhere_is_missing,
    what_a_live_job_or_an_erasure_is_at_is_left_alone,
    what_a_job_writes_while_it_is_being_deleted_is_there_afterwards,
    there_is_one_comparison_at_a_time,
    a_bucket_that_is_registered_twice_is_compared_once,
    it_is_for_admins_and_nothing_younger_than_a_day,
}

const DAY: Duration = Duration::from_hours(24);

/// The name of a variant of a subject's, of bytes that nobody ever uploaded.
pub(crate) fn variant(owner: &str, seed: u32) -> String {
    format!("{}_{owner}_photo_8_6_.jpg", ContentHash::of(&seed.to_be_bytes()))
}

/// A file in the serve directory that was written so long ago.
#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
pub(crate) fn plant(dir: &Path, name: &str, age: Duration) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, b"planted").expect("written");
    set_age(&path, age);
}

#[expect(clippy::disallowed_methods, reason = "the file's time is the system's")]
fn set_age(path: &Path, age: Duration) {
    let file = File::options().write(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - age).expect("set");
}

/// The same in the store.
async fn plant_in_store(home: &ErasureHome, key: &str, age: Duration) {
    home.store.put(PICTURES, key, b"planted".to_vec()).await;
    home.store.age(PICTURES, key, age);
}

async fn asked(app: &TestApp, query: &str) -> Response {
    app.admin(Method::POST, &format!("/gc?{query}"), None).await
}

/// Compares, and waits for the end.
async fn compared(app: &TestApp, query: &str) -> Value {
    let started = Instant::now();
    let answer = asked(app, query).await;
    let (status, mut run): (_, Value) = (answer.status(), answer.json().await.expect("JSON"));
    assert!(matches!(status.as_u16(), 200 | 202), "{status}: {run}");
    while run["state"] == "running" {
        assert!(started.elapsed() < WAIT_MAX, "{run}");
        poll_delay().await;
        let path = format!("/gc/{}", text(&run["gc_id"]));
        run = app.admin(Method::GET, &path, None).await.json().await.expect("JSON");
    }
    assert_eq!(run["state"], "done", "{run}");
    assert_eq!(run["report"]["left"], 0, "{run}");
    run["report"].clone()
}

fn count(files: u64) -> Value {
    json!({ "files": files, "bytes": files * 7 })
}

async fn a_comparison_tells_what_there_is_and_changes_nothing(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let dir = home.serve_dir(&app);
    let unknown = [variant("me", 1), format!("tour/{}", variant("me", 2))];
    for name in &unknown {
        plant(&dir, name, 2 * DAY);
    }
    plant(&dir, &variant("me", 3), Duration::from_mins(1));
    for foreign in ["index.html", "tour/robots.txt", ".hidden", "me_photo_8_6_.jpg"] {
        plant(&dir, foreign, 9 * DAY);
    }
    plant_in_store(&home, &variant("you", 4), 3 * DAY).await;
    plant_in_store(&home, "backup/index.html", 3 * DAY).await;
    let (served, in_store) = (home.served(&app), home.store.keys(PICTURES).await);

    let report = compared(&app, "").await;

    assert_eq!(report["known"]["files"], 4, "{report}");
    assert_eq!((&report["unknown"]["files"], &report["unknown"]["bytes"]), (&json!(3), &json!(21)), "{report}");
    assert_eq!((&report["young"], &report["busy"], &report["foreign"]), (&json!(1), &json!(0), &json!(5)), "{report}");
    assert_eq!((&report["adopted"], &report["deleted"]), (&count(0), &count(0)));
    assert_eq!(report["missing"]["files"], 0, "{report}");
    let examples = report["unknown"]["examples"].as_array().expect("examples");
    let mut locations: Vec<_> = examples.iter().map(|example| text(&example["location"])).collect();
    locations.sort_unstable();
    let mut wanted = unknown.map(|name| format!("/files/{name}")).to_vec();
    wanted.push(format!("s3://{PICTURES}/{}", variant("you", 4)));
    wanted.sort_unstable();
    assert_eq!(locations, wanted);
    let oldest = examples.iter().filter_map(|example| example["age"].as_u64()).max();
    assert!(oldest.is_some_and(|age| (3 * DAY.as_secs() - 60..3 * DAY.as_secs() + 600).contains(&age)), "{report}");
    let stores = report["stores"].as_array().expect("stores");
    assert_eq!((stores.len(), &stores[1]["access_key"]), (2, &json!(access_key)), "{report}");
    assert!(stores.iter().all(|store| store.get("error").is_none()), "{report}");
    assert_eq!((home.served(&app), home.store.keys(PICTURES).await), (served, in_store));
    let again = compared(&app, "older_than=60h").await;
    assert_eq!((&again["unknown"]["files"], &again["young"]), (&json!(1), &json!(3)), "{again}");
}

async fn what_is_deleted_is_old_and_ours_and_known_to_nobody(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let dir = home.serve_dir(&app);
    // However old a known file is.
    for name in home.served(&app) {
        set_age(&dir.join(name), 30 * DAY);
    }
    for key in home.store.keys(PICTURES).await {
        home.store.age(PICTURES, &key, 30 * DAY);
    }
    let (served, stored) = (home.served(&app), home.store.keys(PICTURES).await);
    plant(&dir, &format!("tour/{}", variant("me", 1)), 2 * DAY);
    plant(&dir, &format!("{}_me_photo.gif", ContentHash::of(b"original")), 2 * DAY);
    plant_in_store(&home, &format!("tour/{}", variant("h-0", 2)), 2 * DAY).await;
    plant(&dir, "019ad4e2-0000-7000-8000-000000000000_photo_8_6_.jpg", 2 * DAY);
    let kept = [variant("me", 3), "index.html".to_owned(), format!("{}.bak", variant("me", 1))];
    for (name, age) in kept.iter().zip([DAY / 2, 9 * DAY, 9 * DAY]) {
        plant(&dir, name, age);
    }

    let report = compared(&app, "delete=true").await;

    assert_eq!((&report["unknown"]["files"], &report["deleted"]), (&json!(4), &count(4)), "{report}");
    let mut left: Vec<_> = served.into_iter().chain(kept).collect();
    left.sort();
    assert_eq!((home.served(&app), home.store.keys(PICTURES).await), (left, stored));
    for file in job["files"].as_array().expect("files") {
        app.file(text(&file["stored"][0]["location"])).await;
    }
    let metrics = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
    for line in [
        r#"pixerve_gc_runs_total{state="done"} 1"#,
        r#"pixerve_gc_files_total{outcome="deleted"} 4"#,
        "pixerve_gc_unknown_files 4",
        "pixerve_gc_running 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(compared(&app, "delete=true").await["unknown"]["files"], 0);
}

async fn what_names_tell_of_is_adopted_and_erased_with_its_owner(home: ErasureHome) {
    let app = home.start(&[]).await;
    app.register(home.store.registration(PICTURES)).await;
    let dir = home.serve_dir(&app);
    let names = [variant("me", 1), format!("tour/{}", variant("me", 1)), variant("me", 2)];
    for name in &names {
        plant(&dir, name, 2 * DAY);
    }
    plant_in_store(&home, &variant("me", 1), 2 * DAY).await;
    plant(&dir, &variant("you", 1), 2 * DAY);
    // It is `me`'s if the file was called `old_photo`, as 0.2.0 named them, and `me_old`'s if not.
    plant(&dir, &variant("me_old", 3), 2 * DAY);

    let report = compared(&app, "adopt=true").await;
    assert_eq!((&report["adopted"], &report["unknown"]["files"]), (&count(5), &json!(6)), "{report}");
    let adoptable = &report["unknown"]["adoptable"];
    assert_eq!((&adoptable["by_name"], &adoptable["unclear_owner"]), (&json!(5), &json!(1)), "{report}");
    let again = compared(&app, "adopt=true&delete=false").await;
    assert_eq!((&again["known"], &again["adopted"]), (&count(5), &count(0)), "{again}");

    let answer = erased(&app, &manager("me"), "sub=me").await;
    assert_eq!((&answer["jobs"], &answer["files"]["deleted"]), (&json!(2), &json!(4)), "{answer}");
    let mut left = vec![variant("me_old", 3), variant("you", 1)];
    left.sort();
    assert_eq!(home.served(&app), left);
    assert!(home.store.keys(PICTURES).await.is_empty());
}

async fn what_records_tell_of_is_adopted_with_its_full_owner_and_never_deleted(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "old_photo.jpg", jpeg(96, 96, 1)).await;
    home.lose_ledger(&mut app).await;
    let dir = home.serve_dir(&app);
    for name in home.served(&app) {
        set_age(&dir.join(name), 2 * DAY);
    }
    for key in home.store.keys(PICTURES).await {
        home.store.age(PICTURES, &key, 2 * DAY);
    }

    let report = compared(&app, "delete=true").await;
    assert_eq!((&report["unknown"]["adoptable"]["by_record"], &report["deleted"]), (&json!(4), &count(0)), "{report}");
    assert_eq!((home.served(&app).len(), home.store.keys(PICTURES).await.len()), (2, 2));

    let report = compared(&app, "adopt=true&delete=true").await;
    assert_eq!((&report["adopted"]["files"], &report["deleted"]), (&json!(4), &count(0)), "{report}");
    home.lose_records(&mut app).await;
    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&job["job_id"]))).await;
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
}

async fn whose_name_is_a_digest_is_known_once_another_file_of_theirs_is(home: ErasureHome) {
    let app = home.start(&[]).await;
    let sub = "somebody@example.com";
    let part = Owner { user: None, access_key: None, sub: sub.to_owned() }.hash_part();
    plant(&home.serve_dir(&app), &variant(&part, 1), 2 * DAY);
    let report = compared(&app, "adopt=true").await;
    assert_eq!(
        (&report["unknown"]["adoptable"]["unknown_owner"], &report["adopted"]),
        (&json!(1), &count(0)),
        "{report}"
    );

    app.done(sub, small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    let report = compared(&app, "adopt=true").await;
    assert_eq!((&report["unknown"]["adoptable"]["by_name"], &report["adopted"]), (&json!(1), &count(1)), "{report}");
    let answer = erased(&app, &manager(sub), &format!("sub={sub}")).await;
    assert_eq!((&answer["jobs"], &answer["files"]["deleted"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(home.served(&app), [""; 0]);
}

async fn what_cannot_be_adopted_is_deleted_where_both_are_asked_for(home: ErasureHome) {
    let app = home.start(&[]).await;
    let dir = home.serve_dir(&app);
    plant(&dir, &variant("me", 1), 2 * DAY);
    plant(&dir, &variant(&format!("h-{}", "0".repeat(64)), 2), 2 * DAY);
    let report = compared(&app, "adopt=true&delete=true").await;
    assert_eq!((&report["adopted"], &report["deleted"]), (&count(1), &count(1)), "{report}");
    assert_eq!(home.served(&app), [variant("me", 1)]);
    assert_eq!(compared(&app, "delete=true").await["deleted"], count(0));
}

async fn a_store_that_is_away_is_an_error_of_that_store_alone(home: ErasureHome) {
    let app = home.start(&[]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    let access_key = app.register(registration).await;
    plant(&home.serve_dir(&app), &variant("me", 1), 2 * DAY);
    plant_in_store(&home, &variant("me", 2), 2 * DAY).await;

    proxy.script(|_| Fault::s3_error(503, "SlowDown"));
    let report = compared(&app, "delete=true").await;
    assert_eq!(report["deleted"], count(1), "{report}");
    let stores = report["stores"].as_array().expect("stores");
    assert!(stores[0].get("error").is_none(), "{report}");
    assert_eq!(stores[1]["access_key"], json!(access_key));
    assert!(text(&stores[1]["error"]).contains("503"), "{report}");
    assert_eq!((home.served(&app).len(), home.store.keys(PICTURES).await.len()), (0, 1));

    // It lists, and doesn't delete.
    proxy.script(|asked| if asked.method == "DELETE" { Fault::s3_error(403, "AccessDenied") } else { Fault::Pass });
    let answer = asked(&app, "delete=true").await;
    let run: Value = answer.json().await.expect("JSON");
    let report = &run["report"];
    assert_eq!((&report["deleted"], &report["left"]), (&count(0), &json!(1)), "{run}");
    assert!(text(&report["stores"][1]["error"]).contains("AccessDenied"), "{run}");
    assert_eq!(home.store.keys(PICTURES).await.len(), 1);
}

async fn what_is_known_and_nowhere_is_missing(home: ErasureHome) {
    let app = home.start(&[]).await;
    app.register(home.store.registration(PICTURES)).await;
    let dir = home.serve_dir(&app);
    for seed in 1..=3 {
        plant(&dir, &variant("me", seed), 2 * DAY);
    }
    plant_in_store(&home, &variant("me", 4), 2 * DAY).await;
    assert_eq!(compared(&app, "adopt=true").await["adopted"], count(4));
    fs::remove_file(dir.join(variant("me", 2))).expect("removed");
    home.store.remove(PICTURES, &variant("me", 4)).await;

    let report = compared(&app, "").await;

    let missing = &report["missing"];
    assert_eq!((&missing["files"], &missing["looked_for"]), (&json!(2), &json!(4)), "{report}");
    let mut locations: Vec<_> =
        missing["examples"].as_array().expect("examples").iter().map(|e| text(&e["location"])).collect();
    locations.sort_unstable();
    let wanted = [format!("/files/{}", variant("me", 2)), format!("s3://{PICTURES}/{}", variant("me", 4))];
    assert_eq!(locations, wanted);
    let job = text(&missing["examples"][0]["job_id"]);
    assert_eq!(erase(&app, &manager("me"), &format!("job_id={job}&dry_run=true")).await.status(), 200, "{job}");
}

async fn what_a_live_job_or_an_erasure_is_at_is_left_alone(home: ErasureHome) {
    let app = home.start(&[("PIXERVE_ERASE_WITHIN", "300ms")]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    let access_key = app.register(registration).await;
    app.done("gone", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    proxy.script(|asked| if asked.method == "DELETE" { Fault::s3_error(500, "InternalError") } else { Fault::Pass });
    assert_eq!(erase(&app, &manager("gone"), "sub=gone").await.status(), StatusCode::ACCEPTED);
    let slow = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800], [700]] } } });
    let live = app.accepted("me", slow, "a.jpg", jpeg(1000, 1000, 1)).await;
    app.processing(&live).await;
    let dir = home.serve_dir(&app);
    plant(&dir, &format!("{}_photo_8_6_.jpg", text(&live["hash"])), 9 * DAY);
    plant(&dir, &variant("gone", 7), 9 * DAY);
    let before = home.served(&app);

    let report = compared(&app, "adopt=true&delete=true").await;

    assert_eq!((&report["busy"], &report["unknown"]["files"]), (&json!(2), &json!(0)), "{report}");
    assert_eq!((&report["adopted"], &report["deleted"]), (&count(0), &count(0)), "{report}");
    assert!(before.iter().all(|name| dir.join(name).exists()), "{before:?}");
}

async fn what_a_job_writes_while_it_is_being_deleted_is_there_afterwards(home: ErasureHome) {
    let app = home.start(&[]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    let access_key = app.register(registration).await;
    let job = json!({ "storageKeys": { "s3": access_key }, "formats": { "jpg": { "sizes": [[64]] } } });
    app.done("me", job.clone(), "a.jpg", jpeg(96, 96, 1)).await;
    let key = home.store.keys(PICTURES).await.remove(0);
    erased(&app, &manager("me"), "sub=me").await;
    plant_in_store(&home, &key, 2 * DAY).await;
    let deletions = |proxy: &FaultProxy| proxy.asked().iter().filter(|asked| asked.method == "DELETE").count();
    let before = deletions(&proxy);
    proxy.script(|asked| if asked.method == "DELETE" { Fault::Late(Duration::from_secs(2)) } else { Fault::Pass });

    let written = async {
        let started = Instant::now();
        while deletions(&proxy) == before {
            assert!(started.elapsed() < WAIT_MAX, "it is not deleted");
            poll_delay().await;
        }
        app.done("me", job, "a.jpg", jpeg(96, 96, 1)).await
    };
    let (report, status) = tokio::join!(compared(&app, "delete=true"), written);

    assert_eq!((&report["deleted"], &status["state"]), (&count(1), &json!("completed")), "{report}");
    let object = home.store.object(PICTURES, &key).await.expect("the job has stored it");
    assert_eq!(status["files"][0]["sha256"], ContentHash::of(&object.bytes).to_string());
}

async fn there_is_one_comparison_at_a_time(home: ErasureHome) {
    let app = home.start(&[]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    app.register(registration).await;
    proxy.script(|_| Fault::StallRequest);
    // It takes longer than a request waits for it.
    let first = asked(&app, "").await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let location = first.headers()["location"].to_str().expect("text").to_owned();
    let run: Value = first.json().await.expect("JSON");
    assert_eq!((location, &run["state"]), (format!("/gc/{}", text(&run["gc_id"])), &json!("running")));

    let other = home.other_node().await;
    let problem = assert_problem(asked(other.as_ref().unwrap_or(&app), "delete=true").await, 409, "gc_running").await;
    assert_eq!(problem["gc_id"], run["gc_id"]);
    let path = format!("/gc/{}", text(&run["gc_id"]));
    let shown: Value = other.as_ref().unwrap_or(&app).admin(Method::GET, &path, None).await.json().await.expect("JSON");
    assert_eq!(shown["state"], "running", "{shown}");
    proxy.script(|_| Fault::Pass);
}

async fn a_bucket_that_is_registered_twice_is_compared_once(home: ErasureHome) {
    let app = home.start(&[]).await;
    let keys =
        [app.register(home.store.registration(PICTURES)).await, app.register(home.store.registration(PICTURES)).await];
    let mut below = home.store.registration(PICTURES);
    below["prefix"] = json!("px");
    app.register(below).await;
    for key in &keys {
        app.done("me", stored_job(key), "a.jpg", jpeg(96, 96, 1)).await;
    }
    plant_in_store(&home, &variant("me", 1), 2 * DAY).await;
    plant_in_store(&home, &format!("px/{}", variant("me", 2)), 2 * DAY).await;
    if !home.is_one_machine() {
        // What all nodes keep is no store's, whoever says so.
        app.register(home.shared_bucket_as_a_store()).await;
        home.plant_in_shared_bucket(&format!("spool-of-all/serve/{}", variant("me", 3)), 2 * DAY).await;
    }

    let report = compared(&app, "delete=true").await;

    assert_eq!((&report["unknown"]["files"], &report["deleted"]), (&json!(2), &count(2)), "{report}");
    assert_eq!(report["stores"].as_array().map(Vec::len), Some(if home.is_one_machine() { 3 } else { 4 }), "{report}");
    assert_eq!(home.store.keys(PICTURES).await.len(), 2);
    if !home.is_one_machine() {
        assert!(home.is_in_shared_bucket(&format!("spool-of-all/serve/{}", variant("me", 3))).await, "{BUCKET}");
    }
}

async fn it_is_for_admins_and_nothing_younger_than_a_day(home: ErasureHome) {
    let app = home.start(&[]).await;
    for token in [Claims::of("me"), manager("me"), Claims::of("me").with("scope", json!("manage-user"))] {
        let refused = app.request(Method::POST, "/gc").bearer_auth(token.sign()).send().await.expect("an answer");
        assert_problem(refused, 403, "forbidden").await;
        let refused = app.request(Method::GET, "/gc/019a").bearer_auth(token.sign()).send().await.expect("an answer");
        assert_problem(refused, 403, "forbidden").await;
    }
    for bad in ["older_than=23h", "older_than=", "older_than=soon", "delete=yes", "dry_run=true"] {
        assert_problem(asked(&app, bad).await, 400, "bad_parameter").await;
    }
    for unknown in ["019a", "01890000-0000-7000-8000-000000000000"] {
        assert_problem(app.admin(Method::GET, &format!("/gc/{unknown}"), None).await, 404, "not_found").await;
    }
    let paused = home.start(&[("PIXERVE_PAUSED", "true")]).await;
    assert_problem(asked(&paused, "").await, 503, "paused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_private_is_compared_like_what_anyone_may_see() {
    let home = ErasureHome::one_machine().await;
    let app = home.start(&[]).await;
    let mut private = small_job();
    private["private"] = json!(true);
    let status = app.done("me", private, "a.jpg", jpeg(96, 96, 1)).await;
    let location = text(&status["files"][0]["stored"][0]["location"]).to_owned();
    let owner = location.split('/').nth(2).expect("an owner");
    let dir = app.private_dir();
    let unknown = format!("{owner}/tour/{}", variant("me", 1));
    plant(&dir, &unknown, 2 * DAY);
    // Nobody's directory.
    plant(&dir, &variant("me", 2), 2 * DAY);

    let report = compared(&app, "delete=true").await;

    let files = status["files"].as_array().map(Vec::len);
    assert_eq!(report["known"]["files"].as_u64(), files.and_then(|files| u64::try_from(files).ok()), "{report}");
    assert_eq!((&report["deleted"], &report["foreign"]), (&count(1), &json!(1)), "{report}");
    assert_eq!(report["missing"]["files"], 0, "{report}");
    assert!(!dir.join(&unknown).exists() && dir.join(variant("me", 2)).exists());
    assert!(dir.join(location.strip_prefix("/private/").expect("private")).exists());
}
