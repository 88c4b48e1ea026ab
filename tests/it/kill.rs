//! `kill -9` of the real binary at random moments while uploads stream in: whatever was accepted ends, whole.
//!
//! `PIXERVE_TEST_SEED=<number>` repeats a run's moments and pictures; the seed of every run is printed.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use image::ImageFormat;
use pixerve::job::ContentHash;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;

const KILLS: usize = 20;
const UPLOADERS: u32 = 8;
/// At least so many jobs; uploads go on until the last kill.
const JOBS: usize = 200;

/// What a job of [`Uploads::run`] makes of its picture.
const MADE: [(ImageFormat, (u32, u32)); 5] = [
    (ImageFormat::Jpeg, (200, 133)),
    (ImageFormat::Jpeg, (60, 40)),
    (ImageFormat::Jpeg, (120, 80)),
    (ImageFormat::WebP, (240, 160)),
    (ImageFormat::WebP, (150, 100)),
];

/// xorshift: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    #[expect(clippy::disallowed_methods, reason = "how a run is repeated is the environment's to say")]
    fn new() -> Self {
        let given = std::env::var("PIXERVE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| getrandom::u64().expect("randomness")) | 1;
        println!("PIXERVE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the uploaders share.
#[derive(Default)]
struct Uploads {
    /// The answers of accepted uploads.
    accepted: Mutex<Vec<Value>>,
    count: AtomicUsize,
    stop: std::sync::atomic::AtomicBool,
}

impl Uploads {
    /// One client: a picture of its own after the other, each until it is accepted.
    async fn run(self: Arc<Self>, api: Api, uploader: u32) {
        let job = json!({
            "directHost": true, "subDir": "killed",
            "formats": { "jpg": { "sizes": [[200], [60, 0], [120]] }, "webp": { "sizes": [[0, 0], [0, 100]] } }
        });
        let token = Claims::of(&format!("uploader-{uploader}")).job(job).sign();
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let picture = jpeg(240, 160, uploader * 10_000 + number);
            let answer = accepted(&api, &token, picture).await;
            self.accepted.lock().await.push(answer);
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Uploads until there is an answer that says the picture is safe: a 200, or a 409 that names its job.
async fn accepted(api: &Api, token: &str, picture: Vec<u8>) -> Value {
    let started = Instant::now();
    loop {
        let form = Form::new().part("file", Part::bytes(picture.clone()).file_name("a.jpg"));
        let upload = api.request(Method::POST, "/upload").bearer_auth(token).multipart(form);
        if let Ok(answer) = upload.timeout(Duration::from_secs(30)).send().await {
            let status = answer.status();
            match (status, answer.json::<Value>().await) {
                (StatusCode::OK | StatusCode::CONFLICT, Ok(body)) => return body,
                (StatusCode::OK | StatusCode::CONFLICT, Err(_)) => {}
                (status, body) => panic!("an upload is refused: {status} {body:?}"),
            }
        }
        assert!(started.elapsed() < WAIT_MAX, "no server takes this upload");
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_accepted_before_a_kill_ends_whole() {
    let mut dice = Dice::new();
    let home = Home::new(&[("PIXERVE_MAX_WORKERS", "3")]);
    let mut server = home.start().await;
    let uploads = Arc::new(Uploads::default());
    let mut uploaders = JoinSet::new();
    for uploader in 0..UPLOADERS {
        uploaders.spawn(Arc::clone(&uploads).run((*server).clone(), uploader));
    }
    for kill in 0..KILLS {
        // Spread over the whole run, at any moment of what the server is doing then.
        let wanted = JOBS * kill / KILLS;
        let moment = Instant::now() + Duration::from_millis(dice.below(600));
        while Instant::now() < moment || uploads.count.load(Ordering::SeqCst) < wanted {
            poll_delay().await;
        }
        server.kill();
        server = if dice.below(3) == 0 { killed_while_it_starts(&home, &mut dice).await } else { home.start().await };
    }
    while uploads.count.load(Ordering::SeqCst) < JOBS {
        poll_delay().await;
    }
    uploads.stop.store(true, Ordering::SeqCst);
    while let Some(uploader) = uploaders.join_next().await {
        uploader.expect("an uploader ends well");
    }
    let accepted = uploads.accepted.lock().await.clone();
    assert_all_ended_whole(&home, &server, &accepted).await;
}

/// A server of its own that dies while it starts, and then one that lives.
async fn killed_while_it_starts(home: &Home, dice: &mut Dice) -> ServerProcess {
    let server = home.spawn(&[]);
    let moment = Instant::now() + Duration::from_millis(dice.below(150));
    while Instant::now() < moment {
        poll_delay().await;
    }
    server.kill();
    home.start().await
}

async fn assert_all_ended_whole(home: &Home, server: &ServerProcess, accepted: &[Value]) {
    let ids: HashSet<_> = accepted.iter().map(|answer| answer["job_id"].to_string()).collect();
    assert!(ids.len() >= JOBS, "{} jobs of {} answers", ids.len(), accepted.len());
    let mut failed = Vec::new();
    for answer in accepted {
        let status = server.ended(answer).await;
        match status["state"].as_str() {
            Some("completed") => assert_whole(home, answer, &status),
            Some("failed") => failed.push(status),
            other => panic!("nobody cancelled it: {other:?}"),
        }
    }
    for status in &failed {
        let error = status["error"].as_str().expect("an error");
        assert!(error.contains("took its worker down"), "failed though only the server died: {status}");
    }
    let began = home.log().matches("attempt started").count();
    println!("{} jobs in {began} attempts; {} failed for the kills", accepted.len(), failed.len());
    assert_each_has_one_record(server, &ids).await;
    assert_nothing_is_left(home, server, &failed).await;
}

/// Every expected file is there, is what the record says, and can be decoded.
fn assert_whole(home: &Home, answer: &Value, status: &Value) {
    let files = status["files"].as_array().expect("files");
    let names: Vec<_> = files.iter().map(|file| file["name"].clone()).collect();
    if !answer["expected_files"].is_null() {
        assert_eq!(json!(names), answer["expected_files"], "{status}");
    }
    assert_eq!(files.len(), MADE.len(), "{status}");
    for (file, (format, size)) in files.iter().zip(MADE) {
        let name = file["name"].as_str().expect("a name");
        let bytes = std::fs::read(home.serve_dir().join("killed").join(name)).expect("the file is there");
        assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string(), "{name}");
        assert_eq!(file["bytes"], bytes.len(), "{name}");
        let picture = image::load_from_memory_with_format(&bytes, format).expect("it decodes");
        assert_eq!((picture.width(), picture.height()), size, "{name}");
        assert_eq!((&file["width"], &file["height"]), (&json!(size.0), &json!(size.1)), "{name}");
    }
}

/// Every record of one of the lists.
async fn records(server: &ServerProcess, path: &str, name: &str) -> Vec<Value> {
    let (mut records, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.admin(Method::GET, &format!("{path}?limit=100&cursor={cursor}"), None).await;
        let page: Value = page.json().await.expect("JSON");
        records.extend(page[name].as_array().expect("records").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return records,
        }
    }
}

async fn all_records(server: &ServerProcess) -> Vec<Value> {
    let mut all = records(server, "/success/list", "success_records").await;
    all.extend(records(server, "/failures/list", "failures").await);
    all
}

async fn assert_each_has_one_record(server: &ServerProcess, ids: &HashSet<String>) {
    let found: Vec<_> = all_records(server).await.iter().map(|record| record["job_id"].to_string()).collect();
    let distinct: HashSet<_> = found.iter().cloned().collect();
    assert_eq!(distinct.len(), found.len(), "a job has two records");
    let missing: Vec<_> = ids.difference(&distinct).collect();
    assert!(missing.is_empty(), "no record of {missing:?}");
}

/// The spool is empty, nothing is half-written, and every file is in some record: only of a job that failed for them there
/// may be files that it had no time to note any more.
async fn assert_nothing_is_left(home: &Home, server: &ServerProcess, failed: &[Value]) {
    let started = Instant::now();
    let spool = home.data_dir().join("spool");
    while !is_empty(&spool.join("jobs")) || !is_empty(&spool.join("incoming")) {
        assert!(started.elapsed() < WAIT_MAX, "left in the spool: {:?}", files_below(&spool));
        poll_delay().await;
    }
    let named: BTreeSet<String> = all_records(server)
        .await
        .iter()
        .flat_map(|record| record["files"].as_array().expect("files").clone())
        .map(|file| format!("killed/{}", file["name"].as_str().expect("a name")))
        .collect();
    let stored: BTreeSet<String> = files_below(&home.serve_dir()).into_iter().collect();
    let of_failed = |name: &str| {
        let mut hashes = failed.iter().filter_map(|status| status["hash"].as_str());
        hashes.any(|hash| name.starts_with(&format!("killed/{hash}_a_")) && !name.contains(".pixerve-tmp"))
    };
    let unnamed: Vec<_> = stored.difference(&named).filter(|name| !of_failed(name)).collect();
    assert!(unnamed.is_empty(), "files that nobody names: {unnamed:?}");
    let missing: Vec<_> = named.difference(&stored).collect();
    assert!(missing.is_empty(), "files that are named and not there: {missing:?}");
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}
