//! `GET /#watch`: an operator's acts in a real browser, with a store that goes and comes back.
//!
//! `PIXERVE_TEST_PICTURE=src/page/watch.webp` has the picture of it written there, which the README shows.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem};
use crate::harness::browser::Browser;
use crate::harness::fault_proxy::{Asked, Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{S3Client, S3Server, s3};
use crate::harness::token::{Claims, now};

/// A path at which the proxy before the server is told what to do from now on.
const TELL: &str = "/test/tell/";
const BUCKET: &str = "pictures";
const PICTURE_BYTES_MAX: usize = 150_000;

/// A demo, a store and somebody who is called back, all of which do what the browser's script says.
struct Scene {
    app: TestApp,
    /// Before the server.
    proxy: FaultProxy,
    /// Before the store.
    store_proxy: FaultProxy,
    store: S3Server,
    receiver: Arc<Receiver>,
}

impl Scene {
    async fn start() -> Self {
        let settings = [("PIXERVE_STORES_REFUSED_GIVE_UP_AFTER", "0s")];
        let (app, store, receiver) =
            (TestApp::start_demo(&settings).await, s3().await, Arc::new(Receiver::start().await));
        store.create_bucket(BUCKET);
        let store_addr = store.endpoint.socket_addrs(|| None).expect("an address")[0];
        let (proxy, store_proxy) = (FaultProxy::start(app.addr()).await, FaultProxy::start(store_addr).await);
        let scene = Self { app, proxy, store_proxy, store, receiver };
        scene.obey();
        scene
    }

    fn obey(&self) {
        let (server, store) = (Arc::new(Mutex::new("there".to_owned())), Arc::new(Mutex::new("there".to_owned())));
        let is = |word: &Mutex<String>, wanted: &str| *word.lock().expect("not poisoned") == wanted;
        let receiver = Arc::clone(&self.receiver);
        let store_word = Arc::clone(&store);
        self.proxy.script(move |asked: &Asked| {
            let Some((what, word)) = asked.target.strip_prefix(TELL).and_then(|told| told.split_once('/')) else {
                return if is(&server, "lost") { Fault::Reset } else { Fault::Pass };
            };
            match what {
                "server" => word.clone_into(&mut server.lock().expect("not poisoned")),
                "store" => word.clone_into(&mut store_word.lock().expect("not poisoned")),
                "callbacks" => receiver.answer(word.parse().expect("a status")),
                _ => panic!("nobody knows how to tell {what}"),
            }
            Fault::Answer(StatusCode::NO_CONTENT, Vec::new(), String::new())
        });
        self.store_proxy.script(move |_: &Asked| match store.lock().expect("not poisoned").as_str() {
            "away" => Fault::Drop,
            "refusing" => Fault::s3_error(403, "AccessDenied"),
            _ => Fault::Pass,
        });
    }

    /// Registers the store, as it is behind its proxy: the access key.
    async fn register(&self) -> String {
        let S3Client { access_key, secret, .. } = &*self.store;
        let endpoint = self.store_proxy.endpoint().parse().expect("a URL");
        self.app.register(S3Client::new(endpoint, access_key, secret).registration(BUCKET)).await
    }
}

/// A token of the demo's owner that uploads for this job.
fn uploader(job: Value) -> String {
    Claims::of("demo").job(job).sign()
}

fn contains(seen: &Value, words: &[&str]) {
    let text = seen.as_str().unwrap_or_default().replace('\u{202f}', " ");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {seen}");
}

fn texts(seen: &Value) -> Vec<&str> {
    seen.as_array().expect("a list").iter().map(|text| text.as_str().expect("text")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    clippy::disallowed_methods,
    reason = "one browser for all acts; durability is not what is tested"
)]
async fn an_operator_sees_an_outage_retries_what_failed_reads_cancels_filters_and_is_told_why_not() {
    let Some(browser) = Browser::find() else { return };
    let scene = Scene::start().await;
    let (store, lost_store) = (scene.register().await, scene.register().await);
    let files = tempfile::tempdir().expect("a temporary directory");
    let photo = files.path().join("photo.jpg");
    std::fs::write(&photo, jpeg(48, 32, 1)).expect("written");
    let small = json!({ "jpg": { "sizes": [[16]] } });
    let stored = |store: &str| json!({ "storageKeys": { "s3": store }, "formats": small });
    let named = |number: u32| {
        let mut job = stored(&store);
        job["ref"] = json!(format!("order-{number}"));
        uploader(job)
    };
    let called = json!({ "directHost": true, "formats": small, "completionCallback": scene.receiver.url });
    let picture = std::env::var_os("PIXERVE_TEST_PICTURE");
    let order = json!({
        "base": scene.proxy.endpoint(),
        "photo": photo,
        "stored": uploader(stored(&store)),
        "lost": uploader(stored(&lost_store)),
        "called": uploader(called),
        "served": uploader(json!({ "directHost": true, "formats": small })),
        "named": (1041..1054).map(named).collect::<Vec<_>>(),
        "admin": Claims::of("operator").admin().sign(),
        "plain": Claims::of("demo").sign(),
        "expired": Claims::of("demo").admin().with("iat", json!(now() - 7200)).with("exp", json!(now() - 3600)).sign(),
        "store": store,
        "lostStore": lost_store,
        "picture": picture.is_some(),
    });
    let seen = browser.drive(concat!(include_str!("visit.mjs"), include_str!("watch_page.mjs")), order).await;

    assert_eq!(seen["errors"], json!([]), "{seen}");
    assert_eq!((&seen["foreign"], &seen["violations"]), (&json!([]), &json!([])), "nothing from elsewhere");

    let empty = &seen["empty"];
    contains(&empty["token"], &["demo", "its own jobs"]);
    contains(&empty["jobs"], &["no jobs"]);
    contains(&empty["trouble"], &["Nothing is wrong"]);
    contains(&empty["lanes"], &["Realtime", "Queued", "none"]);
    assert_eq!((&empty["title"], &empty["owners"]), (&json!("Watch Pixerve"), &json!(false)));
    assert_eq!((&empty["tried"], &empty["watched"]), (&json!([true, false]), &json!([false, true])));

    let outage = &seen["outage"];
    contains(&outage["waiting"], &["3 jobs wait", &store, "can’t be reached", "by themselves"]);
    contains(&outage["announced"], &["3 being stored", "3 jobs wait"]);
    contains(&outage["lanes"], &["Realtime", "3", "none"]);
    contains(&outage["failed"], &["3 jobs failed: store_refused", "AccessDenied", "Retry all 3"]);
    assert_eq!(outage["gone"], 0, "none waits any more");
    assert_eq!((&outage["shown"]["state"], &outage["shown"]["code"]), (&json!("failed"), &json!("store_refused")));
    assert_eq!(outage["shown"]["focused"], "jobs-title");
    assert!(texts(&outage["shown"]["rows"]).iter().all(|row| row.contains("failed") && row.contains("store_refused")));
    assert_eq!((&outage["asked"]["title"], &outage["asked"]["isOpen"]), (&json!("Retry 3 jobs?"), &json!(true)));
    assert_eq!(outage["asked"]["focused"], "question-no", "what changes nothing is at hand");
    assert_eq!(outage["kept"]["returned"], "button", "the focus is where it was");
    assert_eq!((&outage["kept"]["open"], &outage["kept"]["jobs"]), (&json!(false), &json!(3)), "and changed nothing");
    contains(&outage["batch"]["said"], &["3 jobs run again", "3 completed"]);
    assert_eq!((&outage["batch"]["isGood"], &outage["failedLeft"]), (&json!(true), &json!(0)), "{outage}");
    let again = texts(&outage["again"]);
    assert!(again.len() == 3 && again.iter().all(|row| row.contains("runs another again")), "{again:?}");
    assert_eq!((&outage["loads"], &outage["unlabelled"]), (&json!(0), &json!([])), "{outage}");
    for id in texts(&outage["ids"]) {
        let old = scene.app.get_json(&format!("/status?job_id={id}")).await;
        assert!(old["retried_as"].is_string(), "{old}");
    }

    let told = &seen["story"];
    assert_eq!(told["title"], "beach-at-night", "{told}");
    contains(&told["events"], &["Accepted", "Begun", "Completed after"]);
    contains(&told["files"], &["JPEG", "16 × 11", "directHost", "/files/"]);
    contains(&told["delivery"], &["job.completed", "given up", "127.0.0.1", "1 try", "410"]);
    assert_eq!(told["acts"], json!(["Erase…"]));
    assert_eq!((&told["job"]["formats"], told["links"].as_array().map(Vec::len)), (&small, Some(1)));
    contains(&told["job"]["completionCallback"], &["[redacted]"]);
    contains(&told["trouble"], &["1 callback given up", "Send it again"]);
    contains(&told["delivered"], &["delivered", "200"]);
    assert_eq!(told["closed"], json!([true, format!("#watch/{}", told["id"].as_str().expect("an id"))]));

    let retried = &seen["retried"];
    let (old, new) = (retried["id"].as_str().expect("an id"), retried["again"].as_str().expect("an id"));
    contains(&retried["before"], &["Failed after", "store_refused"]);
    contains(&retried["events"], &["Runs again", old, "Completed after"]);
    contains(&retried["files"], &["s3", "s3://pictures/"]);
    contains(&retried["old"]["events"], &["Run again as", new]);
    assert_eq!((&retried["old"]["id"], &retried["old"]["retry"]), (&json!(old), &json!(false)));

    let cancelled = &seen["cancelled"];
    contains(&cancelled["asked"]["title"], &["Cancel this job?"]);
    assert_eq!(cancelled["asked"]["focused"], "question-no");
    assert_eq!((&cancelled["state"], &cancelled["returned"]), (&json!("processing"), &json!("story-cancel")));
    assert_eq!(cancelled["acts"], json!(["Retry", "Erase…"]));
    contains(&cancelled["row"], &["cancelled"]);

    let filtered = &seen["filtered"];
    let id = cancelled["id"].as_str().expect("an id");
    contains(&filtered["rows"][0], &["cancelled", id]);
    assert_eq!(
        (&filtered["address"], &filtered["linked"]["state"]),
        (&json!("#watch?state=cancelled"), &json!("cancelled"))
    );
    contains(&filtered["linked"]["rows"][0], &[id]);
    assert_eq!(filtered["ofStore"], 4, "{filtered}");
    contains(&filtered["none"]["said"], &["No job is like that"]);
    contains(&filtered["none"]["address"], &["state=completed", &format!("store={store}"), "until="]);
    assert_eq!(filtered["all"], "#watch");

    let refused = &seen["refused"];
    contains(&refused["noToken"], &["three parts"]);
    contains(&refused["plain"]["said"], &["scope manage"]);
    assert_eq!(refused["plain"]["isShown"], false);
    contains(&refused["expired"], &["expired"]);
    contains(&refused["admin"], &["operator", "everybody’s jobs"]);
    contains(&refused["user"], &["no such user"]);
    contains(&refused["fields"], &["/job/storageKeys/s3", "registered no more"]);
    contains(&refused["unknown"]["said"], &["no job"]);
    assert_eq!(refused["unknown"]["acts"], false);

    let keyboard = &seen["keyboard"];
    assert_eq!((&keyboard["skipped"], &keyboard["address"]), (&json!("jobs-title"), &json!("#watch")));
    assert_eq!((&keyboard["opened"], &keyboard["title"]), (&json!("story-title"), &json!(true)));
    assert_eq!(keyboard["closed"], true, "the focus is where it was");
    contains(&keyboard["rows"][0], &["cancelled"]);

    let calm = &seen["calm"];
    assert_eq!((&calm["isFocused"], &calm["removed"]), (&json!(true), &json!(0)), "{calm}");
    assert!(calm["moved"].as_f64().is_some_and(|pixels| pixels < 2.0), "{calm}");
    assert_eq!((&calm["second"]["isOther"], &calm["second"]["newer"]), (&json!(true), &json!(true)));
    let wider = [&empty["overflow"]]
        .into_iter()
        .chain([told, calm].into_iter().flat_map(|seen| seen["overflow"].as_array().expect("a list")));
    assert!(
        wider.clone().all(|pixels| pixels.as_i64().is_some_and(|pixels| pixels <= 0)),
        "{:?}",
        wider.collect::<Vec<_>>()
    );

    let lost = &seen["lost"];
    contains(&lost["said"], &["can’t be reached", "as of"]);
    assert!(lost["rows"].as_u64().is_some_and(|rows| rows > 0), "what was known stays: {lost}");
    assert_eq!(lost["asked"], 0, "nobody looks");

    if let Some(path) = picture {
        let screenshot = STANDARD.decode(seen["picture"].as_str().expect("a picture")).expect("base64");
        let job = json!({ "directHost": true, "formats": { "webp": { "settings": { "quality": 84 } } } });
        let made = scene.app.done("readme", job, "page.png", screenshot).await;
        let bytes = scene.app.file(made["files"][0]["stored"][0]["location"].as_str().expect("a location")).await;
        assert!(bytes.len() <= PICTURE_BYTES_MAX, "{} bytes", bytes.len());
        std::fs::write(Path::new(&path), &bytes).expect("written");
    }
}

#[tokio::test]
async fn a_demo_token_that_manages_reaches_the_demos_jobs_alone_and_uploads_nothing() {
    let app = TestApp::start_demo(&[]).await;
    let answer: Value = app.get_json("/demo-token?scope=manage").await;
    assert_eq!(answer.get("job"), None, "{answer}");
    let token = answer["token"].as_str().expect("a token");
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[8]] } } });
    let own = app.done("demo", job.clone(), "a.jpg", jpeg(16, 16, 1)).await;
    app.done("other", job, "a.jpg", jpeg(16, 16, 2)).await;
    let listed = app.request(reqwest::Method::GET, "/jobs").bearer_auth(token).send().await.expect("an answer");
    let listed: Value = listed.json().await.expect("JSON");
    assert_eq!((&listed["count"], &listed["jobs"][0]["job_id"]), (&json!(1), &own["job_id"]));
    assert_problem(app.upload(token, "a.jpg", jpeg(16, 16, 3)).await, 422, "invalid_fields").await;
    for query in ["scope=admin", "scope=manage-user", "scope=manage&job=%7B%7D"] {
        assert_problem(app.get(&format!("/demo-token?{query}")).await, 400, "bad_request").await;
    }
}
