//! One try to deliver a callback.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{Client, Response, redirect};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::address::AddressPolicy;
use super::content::CallbackContent;
use super::payload::PayloadError;
use super::resolve::{ForbiddenAddress, PolicyResolver, Resolver};
use super::settings::CallbackSettings;
use super::signature::{SigningSecrets, signature};
use crate::clock::{SharedClock, Timestamp};
use crate::job::{CallbackAddresses, CallbackHeader, CallbackTarget, DeliveryId, JobId, PublicUrl, TraceContext};
use crate::tls;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const USER_AGENT: &str = concat!("Pixerve/", env!("CARGO_PKG_VERSION"));

/// Bytes of a reply that are read, and thrown away, before the connection is closed.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// The longest `Retry-After` that is honoured in full.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Opens what the register sealed.
pub trait OpenCallback: Send + Sync + 'static {
    /// The whole URL and the headers of the callback of the job `id`, or why they can't be opened, in words that hold no
    /// secret.
    fn open(&self, id: &JobId, target: &CallbackTarget) -> Result<(Url, Vec<CallbackHeader>), String>;
}

/// When to try again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTry {
    /// It would fail again.
    Never,
    /// Not before this has passed, if tries are left.
    After(Duration),
    /// Once the server has started anew: nothing this process can do will help.
    AtNextStart,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The job has no `completionCallback`.
    #[error("the job names no callback")]
    NoTarget,
    /// The job has not ended, or its body can't be written.
    #[error("writing the callback's body")]
    Payload(#[from] PayloadError),
    /// Where it goes, or what the receiver knows the call by, can't be unsealed: the key is missing in the key file, which
    /// is read at start. Restored, it opens what waits.
    #[error("unsealing the callback's URL and headers: {0}")]
    Sealed(String),
    /// The header is none that can be sent.
    #[error("the value of the callback header `{0}` is no header value")]
    Header(HeaderName),
    /// The URL itself names an address that may not be called.
    #[error("the callback's URL names a forbidden address")]
    ForbiddenLiteral(#[source] ForbiddenAddress),
    /// The host's name stands for an address that may not be called, today.
    #[error("the callback's host resolves to a forbidden address")]
    ForbiddenHost(#[source] ForbiddenAddress),
    /// 410: the URL is gone for good.
    #[error("the receiver is gone (410)")]
    Gone,
    /// Any other answer but 2xx, redirects included: what may be called was checked for this URL only.
    #[error("the receiver answered {status}")]
    Refused {
        /// Neither 2xx nor 410.
        status: StatusCode,
        /// Its `Retry-After`, from now.
        retry_after: Option<Duration>,
    },
    /// No status within the time for one try.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// No connection, or one that broke.
    #[error("posting the callback")]
    Post(#[source] reqwest::Error),
    /// The URL is one of https, and nobody's certificate could be checked.
    #[error("posting the callback: {}", tls::NO_CERTIFICATES)]
    NoCertificates,
}

impl DeliveryError {
    /// Whether another try may fare better, and how long it must wait at least.
    #[must_use]
    pub fn next_try(&self) -> NextTry {
        match self {
            Self::NoTarget | Self::Payload(_) | Self::Header(_) | Self::ForbiddenLiteral(_) | Self::Gone => {
                NextTry::Never
            }
            Self::Sealed(_) | Self::NoCertificates => NextTry::AtNextStart,
            Self::Refused { retry_after, .. } => NextTry::After(retry_after.unwrap_or_default()),
            // A DNS record changes, and a poisoned or half-propagated one may be right by then.
            Self::ForbiddenHost(_) | Self::Timeout(_) | Self::Post(_) => NextTry::After(Duration::ZERO),
        }
    }

    /// Why the try failed, for whoever knows the job's id. What lies below may name hosts inside the network, and the addresses
    /// that they stand for: those are the log's alone.
    #[must_use]
    pub fn public_text(&self) -> String {
        match self {
            Self::Post(error) if error.is_connect() => "no connection could be made".to_owned(),
            Self::Post(_) => "the connection broke".to_owned(),
            _ => self.to_string(),
        }
    }

    /// The receiver's status, if it came to one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Gone => Some(StatusCode::GONE),
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Delivers callbacks.
pub struct WebhookClient {
    client: Client,
    policy: AddressPolicy,
    timeout: Duration,
    public_url: PublicUrl,
    sealed: Arc<dyn OpenCallback>,
    secrets: Arc<dyn SigningSecrets>,
    clock: SharedClock,
}

impl WebhookClient {
    /// A client that asks `resolver` for addresses, `sealed` for what was sealed of a job and `secrets` for what its calls are
    /// signed with. Fails if TLS can't be set up.
    pub fn new(
        settings: &CallbackSettings,
        resolver: Arc<dyn Resolver>,
        sealed: Arc<dyn OpenCallback>,
        secrets: Arc<dyn SigningSecrets>,
        clock: SharedClock,
    ) -> Result<Self, reqwest::Error> {
        let policy = AddressPolicy::new(settings.allow.clone());
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(PolicyResolver { resolver, policy: policy.clone() })
            .connect_timeout(settings.connect_timeout)
            // The outbox decides what is retried; a redirect or a proxy would lead to addresses that nobody checked.
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A connection of its own for every try, so that none outlives the check of its address.
            .pool_max_idle_per_host(0)
            // Replies are thrown away: unpacking them would only turn a small one into a large one.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        Ok(Self {
            client: tls::client(client)?,
            policy,
            timeout: settings.timeout,
            public_url: settings.public_url.clone(),
            sealed,
            secrets,
            clock,
        })
    }

    /// Posts what is to be told as `id` once, as a part of this trace. `Ok` is the receiver's 2xx.
    pub async fn deliver(
        &self,
        id: &DeliveryId,
        content: &CallbackContent,
        trace: Option<&TraceContext>,
    ) -> Result<StatusCode, DeliveryError> {
        let target = content.target().ok_or(DeliveryError::NoTarget)?;
        let (url, headers) = self.sealed.open(&id.job, target).map_err(DeliveryError::Sealed)?;
        if let Some(refused) = self.policy.refused(&url) {
            return Err(DeliveryError::ForbiddenLiteral(ForbiddenAddress(refused)));
        }
        if url.scheme() == "https" && !tls::has_certificates() {
            return Err(DeliveryError::NoCertificates);
        }
        let body = content.body(id, &self.public_url)?;
        let mut headers = self.all_headers(id, content, headers, &body)?;
        if let Some(trace) = trace {
            trace.add_to(&mut headers);
        }
        let deadline = Instant::now() + self.timeout;
        let request = self.client.post(url).headers(headers).body(body);
        let reply = timeout_at(deadline, request.send())
            .await
            .map_err(|_| DeliveryError::Timeout(self.timeout))?
            .map_err(not_sent)?;
        let outcome = self.outcome(&reply);
        // The status is the answer, however the rest of the reply turns out.
        let _ = timeout_at(deadline, discard(reply)).await;
        outcome
    }

    /// The job's own headers, with ours over them.
    fn all_headers(
        &self,
        id: &DeliveryId,
        content: &CallbackContent,
        own: Vec<CallbackHeader>,
        body: &[u8],
    ) -> Result<HeaderMap, DeliveryError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for CallbackHeader { name, value } in own {
            let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) else {
                return Err(DeliveryError::Header(name));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let ascii = |text: &str| HeaderValue::from_str(text).expect("INVARIANT: ids, numbers and base64 are ASCII");
        let (id, now) = (id.to_string(), self.clock.now());
        headers.insert(WEBHOOK_ID, ascii(&id));
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now.as_secs()));
        headers.remove(WEBHOOK_SIGNATURE);
        let (owner, accepted_at) = content.accepted();
        let secrets = self.secrets.secrets(owner, accepted_at);
        if !secrets.is_empty() {
            headers.insert(WEBHOOK_SIGNATURE, ascii(&signature(&secrets, &id, now, body)));
        }
        Ok(headers)
    }

    fn outcome(&self, reply: &Response) -> Result<StatusCode, DeliveryError> {
        let status = reply.status();
        match status {
            status if status.is_success() => Ok(status),
            StatusCode::GONE => Err(DeliveryError::Gone),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let retry_after = reply.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = retry_after.and_then(|text| parse_retry_after(text, self.clock.now()));
                Err(DeliveryError::Refused { status, retry_after })
            }
            _ => Err(DeliveryError::Refused { status, retry_after: None }),
        }
    }
}

/// The error without its URL, whose query or user name may be a secret.
fn not_sent(error: reqwest::Error) -> DeliveryError {
    match ForbiddenAddress::inside(&error) {
        Some(refused) => DeliveryError::ForbiddenHost(refused),
        None => DeliveryError::Post(error.without_url()),
    }
}

/// Lets a receiver finish its reply, within reason: some take a connection closed early for a caller that died.
async fn discard(mut reply: Response) {
    let mut left = REPLY_BYTES_MAX;
    while let Ok(Some(chunk)) = reply.chunk().await {
        left = match left.checked_sub(chunk.len()) {
            Some(left) => left,
            None => return,
        };
    }
}

/// How long a `Retry-After` of seconds or of an HTTP date asks for at `now`, at most [`RETRY_AFTER_MAX`].
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds still mean "very long".
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        at.saturating_sub(Duration::from_millis(now.as_millis()))
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp::from_millis(784_111_777_000);
        for (text, secs) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Wed, 06 Nov 2030 08:49:37 GMT", Some(86_400)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(text, now), secs.map(Duration::from_secs), "{text:?}");
        }
    }
}
