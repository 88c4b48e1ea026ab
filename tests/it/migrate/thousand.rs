//! A thousand live jobs, and everything else that a server keeps, over and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use futures_util::{StreamExt, stream};
use pixerve::app::Destination::{Machine, Nodes};
use pixerve::clock::{Clock, System, Timestamp};
use pixerve::failpoint::MigrationStep;
use pixerve::ledger::{ErasedEvents, Ledger, SqliteLedger};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Homes, refuses_to_start, said};
use crate::harness::api::Api;
use crate::harness::app::files_below;
use crate::harness::picture::png;
use crate::harness::process::{Home, reserve_port};
use crate::harness::receiver::{Call, Receiver};
use crate::harness::stores::{S3Server, s3_at};
use crate::harness::token::Claims;

/// The bucket of the store that is away.
const AWAY: &str = "away";
const LIVE: u32 = 1000;

/// What an installation was given, and what it answered.
struct History {
    receiver: Receiver,
    store: SocketAddr,
    store_key: String,
    user: Value,
    /// Whose callbacks are owed, as they are told in the end.
    told: Vec<Value>,
    live: Vec<Value>,
    cancelled: Vec<Value>,
    completed: Vec<Value>,
    webhook_secret: String,
}

fn id(job: &Value) -> String {
    job["job_id"].as_str().expect("an id").to_owned()
}

fn once(jti: &str) -> Claims {
    let job = json!({ "directHost": true, "once": true, "formats": { "jpg": { "sizes": [[8]] } } });
    Claims::of("me").job(job).with("jti", json!(jti))
}

fn output(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

impl History {
    /// Jobs in every state, of which `live` wait for a store that is away, or for a worker.
    async fn make(api: &Api, home: &Home, live: u32) -> Self {
        let receiver = Receiver::start().await;
        let store = reserve_port();
        let absent = s3_at(store, &[]).await;
        let registration = absent.registration(AWAY);
        absent.stop().await;
        let store_key = api.register(registration).await;
        let registered = api.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await;
        assert_eq!(registered.status(), StatusCode::CREATED);
        let user: Value = registered.json().await.expect("JSON");

        // Whose receiver has no time: their callbacks are owed.
        receiver.answer(503);
        let told =
            json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[8]] } } });
        let mut history = Self {
            receiver,
            store,
            store_key,
            user,
            told: Vec::new(),
            live: Vec::new(),
            cancelled: Vec::new(),
            completed: Vec::new(),
            webhook_secret: output(home.command(&["webhook-secret"])),
        };
        for n in 0..5 {
            history.told.push(api.done("told", told.clone(), "told.png", png(16, 12, n)).await);
            history.receiver.call().await;
        }
        for n in 0..5 {
            let untold =
                json!({ "directHost": true, "subDir": "some/where", "formats": { "jpg": { "sizes": [[8]] } } });
            history.completed.push(api.done("untold", untold, "untold.png", png(16, 12, n)).await);
        }
        let upload = api.upload(&once("used").sign(), "once.png", png(16, 12, 1)).await;
        assert_eq!(upload.status(), StatusCode::OK);
        history.completed.push(api.ended(&upload.json().await.expect("JSON")).await);

        history.live = history.upload_live(api, live).await;
        for n in 0..5 {
            let accepted = api.accepted("cancels", history.job(), "cancelled.png", png(16, 12, n)).await;
            let path = format!("/cancel?job_id={}", id(&accepted));
            let cancel = api.request(Method::DELETE, &path).bearer_auth(Claims::of("cancels").sign());
            assert_eq!(cancel.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
            history.cancelled.push(accepted);
        }
        history
    }

    /// One that can't end while the store is away.
    fn job(&self) -> Value {
        json!({
            "storageKeys": { "s3": self.store_key }, "completionCallback": self.receiver.url,
            "formats": { "jpg": { "sizes": [[8]] } }
        })
    }

    /// So many of them, of the keys of `jwt.json` and of a registered user.
    async fn upload_live(&self, api: &Api, count: u32) -> Vec<Value> {
        let (key, secret) =
            (self.user["access_key"].as_str().expect("one"), self.user["secret"].as_str().expect("one"));
        let uploads = (0..count).map(async |n| {
            let claims = Claims::of(&format!("owner-{}", n % 7)).job(self.job());
            let claims = if n % 3 == 0 { claims.by(key, secret) } else { claims };
            let answer = api.upload(&claims.sign(), "live.png", png(16, 12, n)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.expect("text"));
            answer.json().await.expect("JSON")
        });
        stream::iter(uploads).buffered(8).collect().await
    }

    /// What was there before the move is there now.
    async fn assert_known(&self, api: &Api, home: &Home) {
        let state = async |job: &Value| {
            let status = api.get_json(&format!("/status?job_id={}", id(job))).await;
            status["state"].as_str().map_or_else(|| panic!("{status}"), str::to_owned)
        };
        for job in self.told.iter().chain(&self.completed) {
            assert_eq!(state(job).await, "completed");
        }
        for job in &self.cancelled {
            assert_eq!(state(job).await, "cancelled");
        }
        for job in &self.completed {
            let location = job["files"][0]["stored"][0]["location"].as_str().expect("a location");
            assert!(!api.file(location).await.is_empty());
        }
        let again = api.upload(&once("used").sign(), "again.png", png(16, 12, 99)).await;
        assert_eq!(again.status(), StatusCode::CONFLICT);
        assert_eq!(again.json::<Value>().await.expect("JSON")["code"], "token_used");
        let registered: Value = api.admin(Method::GET, "/register", None).await.json().await.expect("JSON");
        let keys: BTreeSet<_> = registered["registrations"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|entry| entry["access_key"].as_str().expect("a key").to_owned())
            .collect();
        let expected = [self.store_key.as_str(), self.user["access_key"].as_str().expect("one")];
        assert_eq!(keys, expected.map(str::to_owned).into());
        assert_eq!(output(home.command(&["webhook-secret"])), self.webhook_secret);
    }

    /// The store is back, and the receiver has time: each job ends, and each callback comes.
    async fn all_end(&self, api: &Api, more: &[Value]) -> S3Server {
        self.receiver.answer(200);
        let store = s3_at(self.store, &[AWAY]).await;
        let mut ends = stream::iter(self.live.iter().chain(more).map(|job| api.ended(job))).buffered(8);
        while let Some(status) = ends.next().await {
            assert_eq!(status["state"], "completed", "{status}");
            assert!(status["attempts"].as_u64().is_none_or(|attempts| attempts == 1), "{status}");
        }
        store
    }

    /// Every one of these callbacks, and of each the same end however often it comes.
    async fn all_told(&self, jobs: &[&Value]) {
        let mut missing: BTreeSet<_> = jobs.iter().map(|job| id(job)).collect();
        let mut told: BTreeMap<String, Value> = BTreeMap::new();
        while !missing.is_empty() {
            let Call { headers, body, .. } = self.receiver.call().await;
            let webhook_id = headers["webhook-id"].to_str().expect("text").to_owned();
            assert_eq!(body["status"], "completed", "{body}");
            missing.remove(body["job_id"].as_str().expect("an id"));
            let before = told.insert(webhook_id, body.clone());
            assert!(before.is_none_or(|before| before == body), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_live_jobs_go_over_and_back_killed_at_every_step_and_each_ends_once() {
    let settings = [
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
        ("PIXERVE_SERVER_RATE_PER_USER", "0"),
        ("PIXERVE_CALLBACK_RETRY_WAITS", "5s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s"),
        ("PIXERVE_QUEUE_ATTEMPTS_MAX", "2"),
    ];
    let Some(homes) = Homes::new(&settings).await else { return };
    let server = homes.machine.start().await;
    let history = History::make(&server, &homes.machine, LIVE).await;
    // With leases, half made files and journals, as they are.
    server.kill();

    for step in MigrationStep::ALL {
        let points = format!("{}=return", step.name());
        let killed = homes.migrate(Nodes, &[("FAILPOINTS", &points)]).await;
        assert_eq!(killed.status.signal(), Some(Signal::ABORT.as_raw()), "{}: {}", step.name(), said(&killed));
        refuses_to_start(&homes.machine, &["migrate --to"]).await;
    }
    assert!(homes.moved(Nodes).await.starts_with("everything had moved before"));

    let node = homes.node(&settings).await;
    let of_node = homes.node_home(&[]);
    history.assert_known(&node, &of_node).await;
    // Some end there; more come, which nobody works on.
    let store = history.all_end(&node, &[]).await;
    let all: Vec<_> = history.live.iter().chain(&history.told).collect();
    history.all_told(&all).await;
    assert_eq!(store.keys(AWAY).await.len(), history.live.len());
    drop(node);
    store.stop().await;
    let api_node = homes.node_home(&[("PIXERVE_NODE_ROLES", "api")]);
    let api = api_node.start().await;
    let more = history.upload_live(&api, 40).await;
    api.kill();

    let machine = Home::new(&settings);
    let back = async |points: &str| homes.migrate_by(&machine, Machine, &[], &[("FAILPOINTS", points)]).await;
    // A node that was killed is gone after some seconds.
    while said(&back("migration::source_marked=return").await).contains("nodes are running") {}
    for step in MigrationStep::ALL {
        let killed = back(&format!("{}=return", step.name())).await;
        assert_eq!(killed.status.signal(), Some(Signal::ABORT.as_raw()), "{}: {}", step.name(), said(&killed));
        refuses_to_start(&api_node, &["migrate --to"]).await;
    }
    let done = homes.migrate_by(&machine, Machine, &[], &[]).await;
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    std::fs::copy(homes.machine.data_dir().join("vault.key"), machine.data_dir().join("vault.key")).expect("copied");
    assert!(!machine.data_dir().join("scratch").exists());
    assert!(!files_below(&machine.serve_dir()).is_empty());

    let server = machine.start().await;
    history.assert_known(&server, &machine).await;
    let store = history.all_end(&server, &more).await;
    history.all_told(&more.iter().collect::<Vec<_>>()).await;
    assert_eq!(store.keys(AWAY).await.len(), more.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moved_is_counted_and_what_is_stored_is_not_stored_again() {
    let Some(homes) = Homes::new(&[]).await else { return };
    let server = homes.machine.start().await;
    let history = History::make(&server, &homes.machine, 3).await;
    // One whose first store has its file, and whose second is away.
    let mut both = history.job();
    both["directHost"] = json!(true);
    let accepted = server.accepted("both", both, "both.png", png(16, 12, 1)).await;
    let is_half_stored = |status: &Value| status["files"].as_array().is_some_and(|files| !files.is_empty());
    let half = server.wait_for(&accepted, "to be stored in one place", is_half_stored).await;
    server.terminate();
    drop(server);

    let summary = homes.moved(Nodes).await;
    for row in [
        "        4  jobs that have not ended",
        "       16  records of ended jobs",
        "        5  callbacks owed",
        "        2  users, stores and presets",
        "        1  used tokens",
        "        4  originals",
        "       12  served files",
    ] {
        assert!(summary.contains(row), "{row} in {summary}");
    }
    let key = half["files"][0]["stored"][0]["location"].as_str().expect("a location").replace("/files/", "serve/");
    let written = homes.cluster.s3.object(crate::harness::cluster::BUCKET, &format!("spool-of-all/{key}")).await;
    assert_eq!(written.expect("it moved").content_type.as_deref(), Some("image/jpeg"));
    let node = homes.node(&[]).await;
    let before = node.get_json(&format!("/status?job_id={}", id(&accepted))).await;
    assert_eq!(before["files"][0]["stored"], half["files"][0]["stored"], "{before}");
    let _store = history.all_end(&node, std::slice::from_ref(&accepted)).await;
    let ended = node.ended(&accepted).await;
    assert_eq!(ended["files"][0]["sha256"], half["files"][0]["sha256"]);
    assert_eq!(ended["files"][0]["stored"].as_array().map(Vec::len), Some(2), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_jobs_expire_and_what_is_told_of_erased_ones_moves_over_and_back() {
    let Some(homes) = Homes::new(&[("PIXERVE_CALLBACK_RETRY_WAITS", "1h,1h,1h")]).await else { return };
    let (server, receiver) = (homes.machine.start().await, Receiver::start().await);
    receiver.answer(503);
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "callbackEvents": ["job.erased"],
        "callbackHeaders": { "x-of-the-job": "canary" }, "expiresAfter": "10days", "formats": { "jpg": { "sizes": [[8]] } }
    });
    let expires = server.done("me", job.clone(), "a.png", png(16, 12, 1)).await;
    let gone = server.done("me", job, "b.png", png(16, 12, 2)).await;
    let erase = server.admin(Method::DELETE, &format!("/erase?job_id={}", id(&gone)), None).await;
    assert_eq!(erase.status(), StatusCode::OK);
    let told = receiver.call().await;
    assert_eq!(told.headers["webhook-id"], format!("{}_erased", id(&gone)).as_str());
    server.terminate();
    drop(server);

    homes.moved(Nodes).await;
    let node = homes.node(&[("PIXERVE_CALLBACK_RETRY_WAITS", "1h,1h,1h")]).await;
    // There it is tried at once.
    assert_eq!(receiver.call().await.bytes, told.bytes);
    let ledger = &node.app().state().ledger;
    let due = ledger.due(Timestamp::FAR_FUTURE, 10).await.expect("read");
    assert_eq!(due.iter().map(|due| due.job_id.to_string()).collect::<Vec<_>>(), [id(&expires)]);
    assert!(due[0].expires_at > System::new().now());
    let entry = ledger.entry(&due[0].job_id).await.expect("read").expect("known");
    assert!(entry.recipient.is_some() && entry.expires_at == Some(due[0].expires_at));
    drop(node);

    let machine = Home::new(&[]);
    while said(&homes.migrate_by(&machine, Machine, &[], &[]).await).contains("nodes are running") {}
    std::fs::copy(homes.machine.data_dir().join("vault.key"), machine.data_dir().join("vault.key")).expect("copied");
    let ledger = SqliteLedger::open(&machine.data_dir()).expect("a ledger").ledger;
    assert_eq!(ledger.due(Timestamp::FAR_FUTURE, 10).await.expect("read"), due);
    assert_eq!(ledger.entry(&due[0].job_id).await.expect("read"), Some(entry));
    assert_eq!(ledger.events(None, 10).await.expect("read").len(), 1);
    ledger.close().await.expect("closed");
    receiver.answer(200);
    let server = machine.start().await;
    let call = receiver.call().await;
    assert_eq!((&call.bytes, &call.headers["x-of-the-job"]), (&told.bytes, &told.headers["x-of-the-job"]));
    server.terminate();
}
