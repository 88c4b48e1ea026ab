//! The promise that every crash is held against.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pixerve::job::ContentHash;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;
use crate::harness::stores::{S3Server, s3_at};
use crate::harness::token::Claims;

const BUCKET: &str = "crash";

/// A server's home from life to life, whoever is called back, and what was promised so far.
pub(in crate::battery) struct Witness {
    pub(in crate::battery) home: Home,
    receiver: Receiver,
    /// Jobs whose callback came.
    called: Mutex<HashSet<String>>,
    /// The answers to uploads that were answered 200.
    accepted: Vec<Value>,
    /// Jobs that somebody tried to cancel: these may have been cancelled.
    cancelling: HashSet<String>,
    pictures: u32,
    /// Where the jobs' files go besides, and the access key for it.
    store: Option<(S3Server, String)>,
    /// How often which status was the answer to an upload; 0 for none at all.
    pub(in crate::battery) answers: BTreeMap<u16, usize>,
}

/// What was found to be true.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::battery) struct Kept {
    pub(in crate::battery) accepted: usize,
    pub(in crate::battery) records: usize,
    pub(in crate::battery) files: usize,
}

impl std::ops::AddAssign for Kept {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.records += other.records;
        self.files += other.files;
    }
}

impl Witness {
    pub(in crate::battery) async fn new(settings: &[(&str, &str)]) -> Self {
        Self::at(Home::new(settings)).await
    }

    pub(in crate::battery) async fn at(home: Home) -> Self {
        let receiver = Receiver::start().await;
        Self {
            home,
            receiver,
            called: Mutex::default(),
            accepted: Vec::new(),
            cancelling: HashSet::new(),
            pictures: 0,
            store: None,
            answers: BTreeMap::new(),
        }
    }

    /// Has the files of all later jobs go to an S3 server, too. Its home must not be in use.
    pub(in crate::battery) async fn add_store(&mut self) {
        let s3 = s3_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &[BUCKET]).await;
        let mut server = self.home.start().await;
        let key = server.register(s3.registration(BUCKET)).await;
        server.terminate();
        assert!(server.exited().await.success());
        self.store = Some((s3, key));
    }

    /// Uploads so many pictures at once: those that were answered 200 are to be held to. Whatever else the server says
    /// or doesn't say promises nothing.
    pub(in crate::battery) async fn upload(&mut self, api: &Api, count: u32) -> usize {
        let mut uploads = JoinSet::new();
        for seed in self.pictures..self.pictures + count {
            let mut job = json!({
                "directHost": true, "subDir": "crash", "keepOriginal": true, "manifest": true, "completionCallback": self.receiver.url,
                "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[24, 0]] } }
            });
            if let Some((_, key)) = &self.store {
                job["storageKeys"] = json!({ "s3": key });
            }
            uploads.spawn(upload(api.clone(), seed, job));
        }
        self.pictures += count;
        let before = self.accepted.len();
        while let Some(answer) = uploads.join_next().await {
            let (status, answer) = answer.expect("an upload doesn't panic");
            *self.answers.entry(status).or_default() += 1;
            self.accepted.extend(answer);
        }
        self.accepted.len() - before
    }

    /// Uploads until one is accepted: how long that took. A server that was in trouble must come back by itself.
    pub(in crate::battery) async fn upload_until_accepted(&mut self, api: &Api) -> Duration {
        let started = Instant::now();
        while self.upload(api, 1).await == 0 {
            assert!(started.elapsed() < WAIT_MAX, "no upload is taken any more: {}", self.home.log());
            poll_delay().await;
        }
        started.elapsed()
    }

    /// Tries to cancel what was accepted last. Its server may die of it.
    pub(in crate::battery) async fn cancel_last(&mut self, api: &Api) {
        let Some(last) = self.accepted.last() else { return };
        let id = last["job_id"].as_str().expect("an id").to_owned();
        let token = Claims::of("crash").sign();
        let cancel = api.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(token);
        self.cancelling.insert(id);
        let _ = cancel.timeout(WAIT_MAX).send().await;
    }

    /// Tries to run again what was cancelled last. Its server may die of it.
    pub(in crate::battery) async fn retry_last(&self, api: &Api) {
        let Some(last) = self.accepted.last() else { return };
        let id = last["job_id"].as_str().expect("an id");
        let token = Claims::of("crash").with("scope", json!("manage")).sign();
        let retry = api.request(Method::POST, &format!("/retry?job_id={id}")).bearer_auth(token);
        let _ = retry.timeout(WAIT_MAX).send().await;
    }

    /// Tries to make another job of the bytes of what was accepted last. Its server may die of it.
    pub(in crate::battery) async fn reprocess_last(&self, api: &Api) {
        let Some(last) = self.accepted.last() else { return };
        let id = last["job_id"].as_str().expect("an id");
        let job = json!({ "directHost": true, "subDir": "again", "keepOriginal": true, "formats": { "jpg": { "sizes": [[20]] } } });
        let token = Claims::of("crash").with("scope", json!("manage")).job(job).sign();
        let reprocess = api.request(Method::POST, &format!("/reprocess?job_id={id}")).bearer_auth(token);
        let _ = reprocess.timeout(WAIT_MAX).send().await;
    }

    /// Waits until the server has ended, or has nothing to do any more: whether it has ended.
    pub(in crate::battery) async fn dies_before_it_is_idle(&self, server: &mut ServerProcess) -> bool {
        const CALLBACKS_COME_WITHIN: Duration = Duration::from_secs(2);
        let mut idle_since = None;
        while server.ended_already().is_none() {
            if files_below(&self.spool()).iter().all(|path| path.starts_with("kept/"))
                && idle_since.get_or_insert_with(Instant::now).elapsed() > CALLBACKS_COME_WITHIN
            {
                return false;
            }
            poll_delay().await;
        }
        true
    }

    /// On a server that nothing happens to any more: every promise is kept.
    pub(in crate::battery) async fn assert_kept(&self, server: &ServerProcess) -> Kept {
        self.assert_spool_empties().await;
        let mut records = all_records(server).await;
        records.extend(self.cancelled(server).await);
        let mut by_id = BTreeMap::new();
        for record in &records {
            let id = record["job_id"].as_str().expect("an id").to_owned();
            assert!(by_id.insert(id, record).is_none(), "a job has two records: {record}");
        }
        for accepted in &self.accepted {
            let id = accepted["job_id"].as_str().expect("an id");
            let record = by_id.get(id).unwrap_or_else(|| panic!("no record of {accepted}: {}", self.home.log()));
            let names: Vec<_> = record["files"].as_array().expect("files").iter().map(|file| &file["name"]).collect();
            if !self.cancelling.contains(id) {
                assert_eq!(json!(names), accepted["expected_files"], "{record}");
            }
        }
        let mut named = BTreeSet::new();
        for (id, record) in &by_id {
            let state = server.get_json(&format!("/status?job_id={id}")).await["state"].clone();
            let may_be_cancelled = self.cancelling.contains(id) && state == "cancelled";
            assert!(state == "completed" || may_be_cancelled, "{state}: {record}\n{}", self.home.log());
            for file in record["files"].as_array().expect("files") {
                named.insert(self.assert_whole(file).await);
            }
        }
        // A server that runs looks now and then whether the directory can be written.
        let is_probe = |name: &String| name == ".probe.pixerve-tmp";
        let stored: BTreeSet<_> =
            files_below(&self.home.serve_dir()).into_iter().filter(|name| !is_probe(name)).collect();
        assert_eq!(stored, named, "the serve directory holds what the records name, and nothing else");
        self.assert_nothing_half_done().await;
        let owes = |record: &&Value| record["job_data"].to_string().contains("completionCallback");
        self.assert_called_back(records.iter().filter(owes)).await;
        Kept { accepted: self.accepted.len(), records: records.len(), files: named.len() }
    }

    /// The jobs that were cancelled, which no list shows.
    async fn cancelled(&self, server: &ServerProcess) -> Vec<Value> {
        let mut cancelled = Vec::new();
        for id in &self.cancelling {
            let status = server.get_json(&format!("/status?job_id={id}")).await;
            if status["state"] == "cancelled" {
                cancelled.push(status);
            }
        }
        cancelled
    }

    /// What the record says of a file is so: its path below the serve directory.
    async fn assert_whole(&self, file: &Value) -> String {
        let location = file["stored"][0]["location"].as_str().expect("a place");
        let path = location.strip_prefix("/files/").expect("below the serve directory").to_owned();
        let bytes = std::fs::read(self.home.serve_dir().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string(), "{path}");
        assert_eq!(file["bytes"], bytes.len(), "{path}");
        if file["kind"] == "manifest" {
            let manifest: Value = serde_json::from_slice(&bytes).expect("it is JSON");
            assert_eq!(manifest["state"], "completed", "{path}");
        } else {
            let picture = image::load_from_memory(&bytes).expect("it decodes");
            assert_eq!(
                (&file["width"], &file["height"]),
                (&json!(picture.width()), &json!(picture.height())),
                "{path}"
            );
        }
        if let Some((s3, _)) = &self.store {
            let object = s3.object(BUCKET, &path).await.unwrap_or_else(|| panic!("{path} is not in the store"));
            assert_eq!(object.bytes, bytes, "{path}");
        }
        path
    }

    async fn assert_spool_empties(&self) {
        let (spool, started) = (self.spool(), Instant::now());
        let is_empty = |name: &str| std::fs::read_dir(spool.join(name)).is_ok_and(|mut found| found.next().is_none());
        while !is_empty("jobs") || !is_empty("incoming") {
            let (left, log) = (files_below(&spool), self.home.log());
            assert!(started.elapsed() < WAIT_MAX, "left in the spool: {left:?}\n{log}");
            poll_delay().await;
        }
    }

    /// The server runs, and may be in the middle of a file of its own: what a crash left goes, or is finished, too.
    async fn assert_nothing_half_done(&self) {
        let half =
            |name: &String| name.contains(".partial") || name.contains(".opening") || name.contains(".generating");
        let started = Instant::now();
        loop {
            let data = files_below(&self.home.data_dir());
            if !data.iter().any(half) {
                return;
            }
            assert!(started.elapsed() < WAIT_MAX, "half-done work is left: {data:?}");
            poll_delay().await;
        }
    }

    /// A cancelled job calls nobody: its status has no `job_data`.
    async fn assert_called_back<'a>(&self, owing: impl Iterator<Item = &'a Value>) {
        let mut owed: HashSet<_> = owing.map(|record| record["job_id"].as_str().expect("an id").to_owned()).collect();
        let mut called = self.called.lock().await;
        owed.retain(|id| !called.contains(id));
        while !owed.is_empty() {
            let call = self.receiver.call().await;
            assert_eq!(call.body["status"], "completed", "{}", call.body);
            assert_eq!(call.headers["webhook-id"], call.body["job_id"].as_str().expect("an id"));
            let id = call.body["job_id"].as_str().expect("an id");
            owed.remove(id);
            called.insert(id.to_owned());
        }
    }

    fn spool(&self) -> PathBuf {
        self.home.data_dir().join("spool")
    }
}

/// One upload: its status, if it came to one, and what a 200 says.
async fn upload(api: Api, seed: u32, job: Value) -> (u16, Option<Value>) {
    let picture = Part::bytes(jpeg(48, 40, seed)).file_name("a.jpg");
    let token = Claims::of("crash").job(job).sign();
    let request = api.request(Method::POST, "/upload").bearer_auth(token).multipart(Form::new().part("file", picture));
    let Ok(answer) = request.timeout(Duration::from_mins(1)).send().await else { return (0, None) };
    let status = answer.status().as_u16();
    (status, if status == 200 { answer.json().await.ok() } else { None })
}

/// Every record there is of an ended job.
pub(in crate::battery) async fn all_records(server: &Api) -> Vec<Value> {
    let mut all = Vec::new();
    for (path, name) in [("/success/list", "success_records"), ("/failures/list", "failures")] {
        let mut cursor = String::new();
        loop {
            let page = server.admin(Method::GET, &format!("{path}?limit=100&cursor={cursor}"), None).await;
            let page: Value = page.json().await.expect("JSON");
            all.extend(page[name].as_array().expect("records").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
    }
    all
}
