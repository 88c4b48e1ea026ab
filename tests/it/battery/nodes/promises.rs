//! What was promised to clients, and what became of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::api::Api;
use crate::harness::app::poll_delay;
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

/// Jobs whose caller wasn't told yet; at so many, clients wait.
const UNDER_WAY_MAX: usize = 60;
/// After an upload that wasn't taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Clients' side of everything: what they uploaded, what they were answered, and what they were told since.
pub(super) struct Promises {
    receiver: Receiver,
    seed: AtomicU32,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Ids of the jobs that were answered 200.
    accepted: Vec<String>,
    /// How often an upload was answered otherwise, by status; 0 for no answer.
    refused: BTreeMap<u16, usize>,
    /// What was told of each job: `webhook-id` and status.
    told: HashMap<String, BTreeSet<(String, String)>>,
}

impl Promises {
    pub(super) async fn new() -> Self {
        Self { receiver: Receiver::start().await, seed: AtomicU32::default(), kept: Mutex::default() }
    }

    /// Uploads to the node at `addr`, one picture after the other, until `stop`.
    pub(super) async fn keep_uploading(self: Arc<Self>, addr: SocketAddr, stop: CancellationToken) {
        let mut api = Api::default();
        api.at(addr);
        while !stop.is_cancelled() {
            self.hear().await;
            if self.under_way() >= UNDER_WAY_MAX {
                poll_delay().await;
            } else if !self.upload(&api).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Uploads a picture that nobody else has: whether it was taken. Only a 200 promises anything.
    pub(super) async fn upload(&self, api: &Api) -> bool {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let job = json!({
            "directHost": true, "completionCallback": self.receiver.url,
            "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[24]] } }
        });
        let token = Claims::of(&format!("sub-{}", seed % 7)).job(job).sign();
        let answer = api.try_upload(&token, "photo.jpg", jpeg(48, 40, seed)).await;
        let mut kept = self.kept.lock();
        match answer {
            Some((StatusCode::OK, body)) => {
                kept.accepted.push(body["job_id"].as_str().expect("an id").to_owned());
                true
            }
            other => {
                let status = other.map_or(0, |(status, _)| status.as_u16());
                *kept.refused.entry(status).or_default() += 1;
                false
            }
        }
    }

    /// Notes the calls that have come.
    pub(super) async fn hear(&self) {
        while let Some(call) = self.receiver.unexpected().await {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let webhook_id = call.headers["webhook-id"].to_str().expect("text").to_owned();
            let told = (webhook_id, text(&call.body["status"]));
            self.kept.lock().told.entry(text(&call.body["job_id"])).or_default().insert(told);
        }
    }

    fn under_way(&self) -> usize {
        let kept = self.kept.lock();
        // Of uploads whose answer was lost, callers are told, too.
        kept.accepted.len().saturating_sub(kept.told.len())
    }

    pub(super) fn accepted(&self) -> Vec<String> {
        self.kept.lock().accepted.clone()
    }

    pub(super) fn refused(&self) -> BTreeMap<u16, usize> {
        self.kept.lock().refused.clone()
    }

    pub(super) fn is_told(&self, id: &str) -> bool {
        self.kept.lock().told.contains_key(id)
    }

    /// Jobs that were told of in two ways: of another end, or under another `webhook-id`.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let kept = self.kept.lock();
        let several = kept.told.iter().filter(|(_, told)| told.len() > 1);
        several.map(|(id, told)| format!("{id}: {told:?}")).collect()
    }
}
