//! The client, by Google's own library.
//!
//! What that library leaves to be known:
//! - It sets no time limit on connecting or on a body, so each exchange has one around it here.
//! - It reads answers to their end, however long they are; only that limit bounds them.
//! - It has no setting that keeps it from the environment: uploads go through the proxies of `HTTP_PROXY`,
//!   `HTTPS_PROXY` and `ALL_PROXY` unless `NO_PROXY` exempts the endpoint. A `GOOGLE_CLOUD_UNIVERSE_DOMAIN` that is not
//!   the credentials' own makes every write fail, and `GOOGLE_CLOUD_RUST_LOGGING` turns its tracing on.
//! - It deletes objects by gRPC only, which no emulator speaks and not every endpoint passes on. Deletions are therefore
//!   plain requests of the JSON API, and so are reads, of which that library has more to offer than is needed.
//! - It says the endpoint's host without its port in the `Host` header. An emulator that tells where to go on with a
//!   resumable upload by that header points nowhere, which is one reason why each object goes out in one request; the
//!   other is that a failed try begins anew in any case.

mod listed;
mod stored;
mod upload;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use google_cloud_auth::credentials::{CacheableResource, Credentials, anonymous, service_account};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage;
use http::{Extensions, HeaderMap, Method};
use reqwest::Response;
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OnceCell};
use url::Url;
use uuid::Uuid;

use super::GcsSettings;
use crate::bucket::answer::unreadable;
use crate::error_chain::ErrorChain;
use crate::job::{ContentHash, ServedArea, Stored, SubDir};
use crate::tls;
use crate::writer::settings::PublicBase;
use crate::writer::{
    Body, Deletion, Failure, FileList, FoundFile, KeyPrefix, Object, ObjectBytes, ProbeOutcome, StoreTimeouts,
    WriteError, WriterBackend, probe,
};

const HOME: &str = "https://storage.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Bytes of a refusal to delete that are read: Google's are about 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A bucket. Clones share their session.
#[derive(Clone)]
pub(super) struct Gcs {
    /// Made by the first write, since making it takes a runtime, and again when the store no longer takes its token.
    session: Arc<Mutex<Option<Arc<Session>>>>,
    /// For all but uploads.
    http: reqwest::Client,
    /// None for an emulator.
    account: Option<SecretString>,
    endpoint: Url,
    bucket: String,
    prefix: KeyPrefix,
    public_url: Option<PublicBase>,
    /// What is stored beside objects that may be written again.
    cache_control: Option<String>,
    timeouts: StoreTimeouts,
    /// Whether the bucket keeps what is deleted, once it has said so.
    keeps_versions: Arc<OnceCell<bool>>,
}

/// A client, and who it says it is. The token is kept for as long as it says it holds.
struct Session {
    storage: Storage,
    credentials: Credentials,
}

impl Gcs {
    /// A client for the bucket. Nothing is sent yet.
    ///
    /// # Errors
    /// If the service account's key can't be used, or TLS can't be set up, as without any certificate.
    pub(super) fn connect(settings: &GcsSettings, timeouts: &StoreTimeouts) -> Result<Self, WriteError> {
        let what = || format!("set up a client for the bucket `{}`", settings.bucket);
        // Google's library wants them even for plain http.
        if !tls::has_certificates() {
            return Err(Failure::transient(tls::NO_CERTIFICATES).on(what()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(timeouts.connect_timeout)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Failure::permanent(ErrorChain(&error).to_string()).on(what()))?;
        credentials(settings.credentials.as_ref()).map_err(|failure| failure.on(what()))?;
        let endpoint = settings.endpoint.clone().map_or_else(|| Url::parse(HOME), Ok);
        Ok(Self {
            session: Arc::default(),
            http,
            account: settings.credentials.clone(),
            endpoint: endpoint.expect("INVARIANT: a constant URL parses"),
            bucket: settings.bucket.clone(),
            prefix: settings.prefix.clone(),
            public_url: settings.public_url.clone(),
            cache_control: settings.cache_control.clone(),
            timeouts: *timeouts,
            keeps_versions: Arc::default(),
        })
    }

    /// The session, made if there is none.
    async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut kept = self.session.lock().await;
        if let Some(session) = &*kept {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.begin_session().await?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn begin_session(&self) -> Result<Session, Failure> {
        let credentials = credentials(self.account.as_ref())?;
        let mut builder = Storage::builder()
            .with_endpoint(self.endpoint.as_str())
            .with_credentials(credentials.clone())
            // Tries are the wrapper's to count.
            .with_retry_policy(NeverRetry)
            // One request an object, whatever its size.
            .with_resumable_upload_threshold(usize::MAX);
        if let Some(domain) = credentials.universe_domain().await {
            builder = builder.with_universe_domain(domain);
        }
        let storage = builder.build().await.map_err(|error| Failure::permanent(ErrorChain(&error).to_string()))?;
        Ok(Session { storage, credentials })
    }

    /// Uploads, and once more with a new token if the store doesn't take the one that is kept: it may have expired by the
    /// store's clock, or after a jump of ours. A fresh one that is refused too is the store's last word.
    async fn upload(&self, key: &str, object: &Object) -> Result<(), Failure> {
        let session = self.session().await?;
        match self.upload_as(&session, key, object).await {
            Err(failure) if self.is_stale_token(&failure) => {
                self.end_session(&session).await;
                self.upload_as(&*self.session().await?, key, object).await
            }
            settled => settled,
        }
    }

    /// Asks the JSON API, in the same way.
    async fn ask(&self, method: Method, url: Url) -> Result<Response, Failure> {
        let session = self.session().await?;
        match self.ask_as(&session, method.clone(), url.clone()).await {
            Err(failure) if self.is_stale_token(&failure) => {
                self.end_session(&session).await;
                self.ask_as(&*self.session().await?, method, url).await
            }
            settled => settled,
        }
    }

    async fn ask_as(&self, session: &Session, method: Method, url: Url) -> Result<Response, Failure> {
        let request = self.http.request(method, url).headers(authorization(session).await?);
        self.within(0, async { confirm(request.send().await.map_err(of_transport)?).await }).await
    }

    fn is_stale_token(&self, failure: &Failure) -> bool {
        failure.status == Some(401) && self.account.is_some()
    }

    async fn end_session(&self, session: &Arc<Session>) {
        let mut kept = self.session.lock().await;
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, session)) {
            *kept = None;
        }
    }

    /// Waits for an `exchange` that carries `bytes`, but not for ever.
    async fn within<T>(&self, bytes: u64, exchange: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.timeouts.exchange(bytes);
        let late = |_| Err(Failure::transient(format!("no answer within {limit:?}")));
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(late)
    }

    /// `segments` below the endpoint, each percent-encoded, slashes included.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn what(&self, verb: &str, key: &str) -> String {
        format!("{verb} `{key}` in bucket `{}` at {}", self.bucket, self.endpoint)
    }
}

#[async_trait]
impl WriterBackend for Gcs {
    fn name(&self) -> &'static str {
        "gcs"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        let key = object.key(&self.prefix);
        self.upload(&key, object).await.map_err(|failure| failure.on(self.what("put", &key)))?;
        let url = self.public_url.as_ref().map(|base| base.url_of(&key));
        Ok(Stored { url, ..Stored::at(self.name(), format!("gs://{}/{key}", self.bucket)) })
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        let key = self.key_of(location)?;
        self.deleted(key).await.map_err(|failure| failure.on(self.what("delete", key)))
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let key = self.key_of(location)?;
        self.read(key, bytes_max).await
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        Ok(self.listed())
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        let key = self.key_of(location)?;
        self.look_at(key, location).await.map_err(|failure| failure.on(self.what("look for", key)))
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        let object = probe_object();
        let key = object.key(&self.prefix);
        let (write, delete) = (self.upload(&key, &object), || self.delete_object(&key).boxed());
        probe::write_and_delete(write, delete, |verb| self.what(verb, &key)).await
    }
}

fn probe_object() -> Object {
    let bytes = b"Written by Pixerve to test a registration.\n";
    Object {
        area: ServedArea::Public,
        sub_dir: SubDir::default(),
        name: format!("pixerve-probe-{}", Uuid::new_v4().simple()),
        media_type: "text/plain",
        sha256: ContentHash::of(bytes),
        body: Body::Bytes(bytes.as_slice().into()),
        trace: None,
    }
}

async fn authorization(session: &Session) -> Result<HeaderMap, Failure> {
    match session.credentials.headers(Extensions::new()).await {
        Ok(CacheableResource::New { data, .. }) => Ok(data),
        // Only said to who shows what it has cached already.
        Ok(CacheableResource::NotModified) => Err(Failure::transient("no token could be had")),
        Err(error) => Err(of_credentials(&error)),
    }
}

/// Tokens that a service account signs itself: no other server is asked, whatever the key's JSON says of one.
fn credentials(account: Option<&SecretString>) -> Result<Credentials, Failure> {
    let Some(account) = account else { return Ok(anonymous::Builder::new().build()) };
    // serde_json's own message could quote the key.
    let unusable = || Failure::permanent("the credentials are not a service account's key");
    let mut account: Map<String, Value> = serde_json::from_str(account.expose_secret()).map_err(|_| unusable())?;
    for name in ["private_key_id", "project_id"] {
        // Google's library wants them there; what they say is between the token and the store.
        account.entry(name).or_insert_with(|| Value::String(String::new()));
    }
    service_account::Builder::new(Value::Object(account))
        .with_access_specifier(service_account::AccessSpecifier::from_scopes([SCOPE]))
        .build()
        .map_err(|_| unusable())
}

/// The answer if it is a good one, else what it says, cut where no honest one goes on.
async fn confirm(mut response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let mut body = Vec::new();
    // If the connection breaks, the status says enough.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    Err(Failure::of_status(status.as_u16(), &words(&body)))
}

/// The store's own words: JSON from the API, plain text from the servers before it. A page is nobody's we know.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        message: String,
    }
    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer.error.message,
        Err(_) if body.trim_ascii_start().starts_with(b"<") => unreadable(Some("a page"), body),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

fn of_credentials(error: &CredentialsError) -> Failure {
    if error.is_transient() {
        Failure::transient(ErrorChain(error).to_string())
    } else {
        Failure::permanent(ErrorChain(error).to_string())
    }
}

/// No answer came: connections, TLS and time-outs may pass, a request that can't be built won't.
fn of_transport(error: reqwest::Error) -> Failure {
    let is_builder = error.is_builder();
    let words = ErrorChain(&error.without_url()).to_string();
    if is_builder { Failure::permanent(words) } else { Failure::transient(words) }
}
