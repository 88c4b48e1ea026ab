//! What the clients do, and what they were told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pixerve::job::ContentHash;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::dice;
use crate::harness::api::Api;
use crate::harness::app::poll_delay;
use crate::harness::picture::{jpeg, png};
use crate::harness::token::Claims;

/// Everything the clients were told.
#[derive(Default)]
pub(super) struct Ledger {
    accepted: Mutex<Vec<Accepted>>,
    /// The ids of jobs whose cancellation was answered with 204.
    cancelled: Mutex<HashSet<String>>,
    duplicates: AtomicUsize,
    refused: AtomicUsize,
    reads: AtomicUsize,
    unanswered: AtomicUsize,
    stop: AtomicBool,
}

/// An upload that was answered with 200.
#[derive(Clone)]
pub(super) struct Accepted {
    pub(super) answer: Value,
    pub(super) upload: Upload,
}

impl Accepted {
    pub(super) fn id(&self) -> &str {
        self.answer["job_id"].as_str().expect("an id")
    }
}

/// An upload, all of it known by a number: the same number is the same bytes and the same job.
#[derive(Clone, Copy)]
pub(super) struct Upload {
    client: u32,
    seed: u32,
    /// A picture that ends too early.
    pub(super) cut: bool,
}

impl Upload {
    pub(super) fn size(self) -> (u32, u32) {
        (80 + self.seed % 160, 60 + self.seed % 110)
    }

    pub(super) fn stores(self) -> &'static [&'static str] {
        [["directHost"].as_slice(), &["s3"], &["directHost", "s3"]][self.seed as usize % 3]
    }

    fn bytes(self) -> Vec<u8> {
        let ((width, height), seed) = (self.size(), self.client * 1_000_000 + self.seed);
        let mut bytes = if self.seed.is_multiple_of(4) { png(width, height, seed) } else { jpeg(width, height, seed) };
        if self.cut {
            bytes.truncate(bytes.len() * 2 / 3);
        }
        bytes
    }

    fn job(self, s3: &str) -> Value {
        let mut formats = json!({ "jpg": { "sizes": [[64], [32, 0]] } });
        if self.seed.is_multiple_of(2) {
            formats["webp"] = json!({ "sizes": [[48]] });
        }
        if self.seed.is_multiple_of(5) {
            formats["png"] = json!({ "settings": { "speed": 10 }, "sizes": [[0, 20]] });
        }
        let mut job = json!({ "formats": formats, "subDir": "soak", "keepOriginal": self.seed.is_multiple_of(3) });
        for store in self.stores() {
            match *store {
                "s3" => job["storageKeys"] = json!({ "s3": s3 }),
                _ => job["directHost"] = json!(true),
            }
        }
        job
    }
}

impl Ledger {
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(super) fn accepted(&self) -> Vec<Accepted> {
        lock(&self.accepted).clone()
    }

    pub(super) fn was_cancelled(&self, id: &str) -> bool {
        lock(&self.cancelled).contains(id)
    }

    pub(super) fn summary(&self) -> String {
        let total = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        format!(
            "{} uploads accepted, {} refused as duplicates, {} as no pictures, {} cancelled, {} looks at results, {} \
             requests without an answer",
            lock(&self.accepted).len(),
            total(&self.duplicates),
            total(&self.refused),
            lock(&self.cancelled).len(),
            total(&self.reads),
            total(&self.unanswered)
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

/// One client.
pub(super) struct Client {
    number: u32,
    api: Api,
    s3: String,
    ledger: Arc<Ledger>,
    uploads: u32,
    own: Vec<Accepted>,
}

impl Client {
    pub(super) fn new(number: u32, api: Api, s3: &str, ledger: Arc<Ledger>) -> Self {
        Self { number, api, s3: s3.to_owned(), ledger, uploads: 0, own: Vec::new() }
    }

    /// Goes on until the ledger says stop.
    pub(super) async fn run(mut self) {
        while !self.ledger.stop.load(Ordering::SeqCst) {
            let last = self.own.last().cloned();
            match (dice(20), last) {
                (0..2, Some(last)) => self.upload(last.upload).await,
                (2, _) => self.send_garbage().await,
                (3..6, Some(last)) => self.cancel(&last).await,
                (6..10, Some(_)) => self.look(dice(u32::MAX)).await,
                (roll, _) => {
                    self.uploads += 1;
                    self.upload(Upload { client: self.number, seed: self.uploads, cut: roll == 10 }).await;
                }
            }
        }
    }

    fn claims(&self) -> Claims {
        Claims::of(&format!("soak-{}", self.number))
    }

    /// Uploads until somebody answers.
    async fn upload(&mut self, upload: Upload) {
        let token = self.claims().job(upload.job(&self.s3)).sign();
        while let Some((status, answer)) = self.send(&token, upload.bytes()).await {
            match status {
                StatusCode::OK => {
                    let accepted = Accepted { answer, upload };
                    self.own.push(accepted.clone());
                    return lock(&self.ledger.accepted).push(accepted);
                }
                StatusCode::CONFLICT => return count(&self.ledger.duplicates),
                StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY if upload.cut => {
                    return count(&self.ledger.refused);
                }
                // It stops, or has as much to do as it takes.
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => poll_delay().await,
                _ => panic!("an upload is refused with {status}: {answer}"),
            }
        }
    }

    async fn send_garbage(&self) {
        let token = self.claims().job(Upload { client: self.number, seed: 0, cut: true }.job(&self.s3)).sign();
        let bytes = (0..2000).map(|_| u8::try_from(dice(256)).expect("a byte")).collect();
        match self.send(&token, bytes).await {
            Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, _)) => count(&self.ledger.refused),
            Some((StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _)) | None => {}
            Some((status, answer)) => panic!("garbage is answered with {status}: {answer}"),
        }
    }

    /// One upload; `None` if the load ends before anybody answers.
    async fn send(&self, token: &str, bytes: Vec<u8>) -> Option<(StatusCode, Value)> {
        while !self.ledger.stop.load(Ordering::SeqCst) {
            let form = Form::new().part("file", Part::bytes(bytes.clone()).file_name("soak.jpg"));
            let request = self.api.request(Method::POST, "/upload").bearer_auth(token).multipart(form);
            if let Some(answer) = self.answer(request).await {
                return Some(answer);
            }
        }
        None
    }

    async fn cancel(&self, job: &Accepted) {
        let path = format!("/cancel?job_id={}", job.id());
        match self.answer(self.api.request(Method::DELETE, &path).bearer_auth(self.claims().sign())).await {
            Some((StatusCode::NO_CONTENT, _)) => {
                lock(&self.ledger.cancelled).insert(job.id().to_owned());
            }
            Some((StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
            Some((status, answer)) => panic!("cancelling is answered with {status}: {answer}"),
        }
    }

    /// Looks at some job of this client: it is known, and a file of it is absent or whole.
    async fn look(&self, which: u32) {
        let job = &self.own[which as usize % self.own.len()];
        let url = job.answer["status_url"].as_str().expect("a status_url");
        match self.answer(self.api.request(Method::GET, url)).await {
            Some((StatusCode::OK, status)) => assert_eq!(status["job_id"], job.answer["job_id"]),
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => return,
            Some((status, answer)) => panic!("a job that was accepted is {status}: {answer}"),
        }
        let name = job.answer["expected_files"][0].as_str().expect("a name");
        let request = self.api.request(Method::GET, &format!("/files/soak/{name}"));
        let Ok(answer) = request.timeout(Duration::from_secs(30)).send().await else { return };
        let (status, etag) = (answer.status(), answer.headers().get("etag").cloned());
        let Ok(bytes) = answer.bytes().await else { return };
        match status {
            StatusCode::OK => {
                let picture = image::load_from_memory(&bytes);
                assert!(picture.is_ok(), "{name} ({etag:?}, {}) is not whole", ContentHash::of(&bytes));
            }
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => {}
            _ => panic!("{name} is answered with {status}"),
        }
        count(&self.ledger.reads);
    }

    /// The answer, if there is one: servers come and go.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Option<(StatusCode, Value)> {
        if let Ok(answer) = request.timeout(Duration::from_mins(1)).send().await {
            let status = answer.status();
            if let Ok(body) = answer.bytes().await {
                return Some((status, serde_json::from_slice(&body).unwrap_or_default()));
            }
        }
        count(&self.ledger.unanswered);
        poll_delay().await;
        None
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}
