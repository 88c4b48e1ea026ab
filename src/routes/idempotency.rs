//! Requests that may be repeated (draft-ietf-httpapi-idempotency-key-header): a client that doesn't know what became of one sends it
//! again with the same `Idempotency-Key`, and is answered as before; nothing is done twice.
//!
//! A route begins such a request once it knows whose it is ([`begin`]), and compares fingerprints once it knows what is asked for.
//! What it is answered with is kept by whoever queues its job, in the same step ([`RequestInFlight::idempotency`]), or, where there is
//! no job, by [`RequestInFlight::keep`]. A request that ends otherwise leaves nothing behind: its key is free again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use serde_json::Value;
use sfv::{BareItem, Item, Parser};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use utoipa::IntoParams;

use super::{AppState, Refusal};
use crate::error_chain::ErrorChain;
use crate::job::{Idempotency, IdempotencyKey, JobId, KeptAnswer, Owner, RequestFingerprint};
use crate::queue::{BegunRequest, IdempotentRequests, RequestFate, RequestLease};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before, and that nothing was done.
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long a request counts as under way whose node is gone.
const LEASE: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);

const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: usize = 255;

/// The key's header, for descriptions.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "`RequestKey::of` reads it; here is what clients send")]
pub(super) struct IdempotencyHeader {
    /// A string that this owner gives to no other request of this route: 16 to 255 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `~` and `-`, in quotes
    /// or without. A request that is sent again with it is answered as before for 24 hours, and nothing is done twice.
    #[param(rename = "Idempotency-Key", nullable = false)]
    idempotency_key: Option<String>,
}

/// What a client tells its request from every other by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestKey(String);

impl RequestKey {
    /// The one in a request's head: a string as structured fields have them, or without its quotes.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let value = value.as_bytes().trim_ascii();
        let key =
            if value.starts_with(b"\"") { quoted(value) } else { std::str::from_utf8(value).ok().map(str::to_owned) };
        let is_plain = |key: &String| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
            (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(is_plain)
        };
        let key = key.filter(is_plain).filter(|_| values.next().is_none());
        key.map(|key| Some(Self(key))).ok_or(Refusal::BadIdempotencyKey)
    }
}

fn quoted(value: &[u8]) -> Option<String> {
    match Parser::new(value).parse::<Item>().ok()?.bare_item {
        BareItem::String(key) => Some(key.into()),
        _ => None,
    }
}

/// A request with a key, as it begins.
pub(super) enum Begun {
    /// It is to be done.
    InFlight(RequestInFlight),
    /// It has been answered.
    Answered(KeptAnswer),
}

/// Begins `owner`'s request of `route`; none if it has no key. Refuses one of which another is under way.
pub(super) async fn begin(
    state: &AppState,
    owner: &Owner,
    route: &str,
    key: Option<RequestKey>,
) -> Result<Option<Begun>, Refusal> {
    let Some(RequestKey(key)) = key else { return Ok(None) };
    let key = IdempotencyKey::new(owner, route, &key);
    match state.requests.begin_request(key, LEASE).await? {
        BegunRequest::InFlight => Err(Refusal::IdempotencyInFlight),
        BegunRequest::Answered(answer) => Ok(Some(Begun::Answered(answer))),
        BegunRequest::Begun { lease, earlier } => {
            let requests = Arc::clone(&state.requests);
            Ok(Some(Begun::InFlight(RequestInFlight::new(requests, lease, earlier))))
        }
    }
}

/// The kept answer, if the request is the one that it was given to.
pub(super) fn replay(answer: KeptAnswer, fingerprint: RequestFingerprint) -> Result<KeptAnswer, Refusal> {
    if answer.is_erased() {
        return Err(Refusal::Erased);
    }
    if answer.fingerprint == fingerprint { Ok(answer) } else { Err(Refusal::IdempotencyKeyReused) }
}

/// `value` with the fields of every object in one order, whatever the one was in which they came.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// A request that is being done. Its key is taken until this ends or is dropped, as it is when the client hangs up; or for a few
/// seconds after its node is gone.
pub(super) struct RequestInFlight {
    requests: Arc<dyn IdempotentRequests>,
    lease: RequestLease,
    /// The job that an earlier request with this key was about to become, which may be one.
    pub(super) earlier: Option<JobId>,
    /// What is left of it when it ends; none if it has.
    fate: Option<RequestFate>,
    renewal: JoinHandle<()>,
}

impl RequestInFlight {
    fn new(requests: Arc<dyn IdempotentRequests>, lease: RequestLease, earlier: Option<JobId>) -> Self {
        let renewal = tokio::spawn(renew(Arc::clone(&requests), lease));
        let fate = if earlier.is_some() { RequestFate::Unknown } else { RequestFate::Free };
        Self { requests, lease, earlier, fate: Some(fate), renewal }
    }

    /// Notes the job that the request is about to become, which from now on may be one, whatever becomes of the request. Refuses if
    /// another has been begun meanwhile: this one was thought to be gone.
    pub(super) async fn becomes(&mut self, job: JobId) -> Result<(), Refusal> {
        if self.requests.extend_request(&self.lease, LEASE, Some(job)).await? {
            self.fate = Some(RequestFate::Unknown);
            return Ok(());
        }
        self.fate = None;
        Err(Refusal::IdempotencyInFlight)
    }

    /// What the job's record has to say of the request, so that whoever queues the job keeps `answer`.
    pub(super) fn idempotency(&self, answer: KeptAnswer) -> Idempotency {
        Idempotency { key: self.lease.key, answer: Some(answer) }
    }

    /// Whether there is nothing left to be said of it.
    pub(super) fn has_ended(&self) -> bool {
        self.fate.is_none()
    }

    /// It is no job, for sure.
    pub(super) fn refused(&mut self) {
        self.fate = Some(RequestFate::Free);
    }

    /// The queue has its job and its answer.
    pub(super) fn queued(&mut self) {
        self.fate = None;
    }

    /// It is answered, without a job of its own.
    pub(super) async fn keep(&mut self, answer: KeptAnswer) -> Result<(), Refusal> {
        self.requests.keep_answer(&self.lease, answer).await?;
        self.fate = None;
        Ok(())
    }

    /// Ends it, if it has not ended yet, so that whoever is answered now finds the key free.
    pub(super) async fn end(mut self) {
        if let Some(fate) = self.fate.take() {
            end(&*self.requests, &self.lease, fate).await;
        }
    }

    /// Whether the spool's record of a job is that of an earlier request with this key: its answer.
    pub(super) fn answer_in(&self, idempotency: Option<&Idempotency>) -> Option<KeptAnswer> {
        idempotency.filter(|earlier| earlier.key == self.lease.key)?.answer.clone()
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.renewal.abort();
        let Some(fate) = self.fate else { return };
        // Also of a client that has hung up, for whom nothing waits any more.
        let (requests, lease) = (Arc::clone(&self.requests), self.lease);
        tokio::spawn(async move { end(&*requests, &lease, fate).await });
    }
}

async fn end(requests: &dyn IdempotentRequests, lease: &RequestLease, fate: RequestFate) {
    if let Err(error) = requests.end_request(lease, fate).await {
        tracing::warn!(error = %ErrorChain(&error), "idempotency key not freed; it is once its lease lapses");
    }
}

/// Renews a request's lease until it is another's. One that can't be renewed is tried again: who has lost it hears of that before
/// there is a job.
async fn renew(requests: Arc<dyn IdempotentRequests>, lease: RequestLease) {
    loop {
        sleep(RENEW_EVERY).await;
        if let Ok(false) = requests.extend_request(&lease, LEASE, None).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// The key, an empty one if there is none; nothing of what is refused.
    fn key(lines: &[&str]) -> Option<String> {
        let line = |line: &&str| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(line.as_bytes()).expect("a header"));
        let found = RequestKey::of(&lines.iter().map(line).collect()).ok()?;
        Some(found.map(|RequestKey(key)| key).unwrap_or_default())
    }

    #[test]
    fn a_key_is_a_structured_string_or_the_same_without_quotes() {
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(key(&[]), Some(String::new()));
        for line in [format!("\"{uuid}\""), uuid.to_owned(), format!("  \"{uuid}\"  "), format!("\"{uuid}\";a=1")] {
            assert_eq!(key(&[&line]), Some(uuid.to_owned()), "{line}");
        }
        let longest = "~".repeat(255);
        for good in ["0123456789abcdef", "A.b_c~d-0123456789", &longest] {
            assert_eq!(key(&[good]), Some(good.to_owned()));
            assert_eq!(key(&[&format!("\"{good}\"")]), Some(good.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_no_key() {
        let (short, long) = ("0123456789abcde", "x".repeat(256));
        let unclosed = format!("\"{short}f");
        let two = format!("\"{short}f\", \"{short}f\"");
        for line in
            ["", "\"\"", short, &long, &unclosed, &two, "0123456789 abcdef", "0123456789abcdé", "0123456789abcdef;a=1"]
        {
            assert_eq!(key(&[line]), None, "{line}");
        }
        assert_eq!(key(&["0123456789abcdef", "0123456789abcdef"]), None, "two lines");
    }
}
