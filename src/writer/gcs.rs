//! Google Cloud Storage, by its JSON API.
//!
//! Spoken directly: writing an object is one request, and so is deleting one. Google's own storage client sets no
//! time limits on connections and bodies, takes proxies from the environment, follows redirects, and deletes by gRPC
//! only, which no emulator speaks. The tokens come from Google's library.

mod upload;

use async_trait::async_trait;
use google_cloud_auth::credentials::{CacheableResource, Credentials, service_account};
use http::{Extensions, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use self::upload::Movement;
use super::{Body, Failure, GcsSettings, KeyPrefix, Object, StoreTimeouts, WriteError, WriterBackend, chain};
use crate::job::{ContentHash, Stored, SubDir};

const HOME: &str = "https://storage.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Bytes of an answer that are read: an object's description is about 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A bucket.
pub struct Gcs {
    http: reqwest::Client,
    /// None for an emulator.
    credentials: Option<Credentials>,
    endpoint: Url,
    bucket: String,
    prefix: KeyPrefix,
}

impl Gcs {
    /// A client for the bucket. Nothing is sent yet, and nothing is taken from the environment.
    ///
    /// # Errors
    /// If the service account's key can't be used or TLS can't be set up.
    pub fn connect(settings: &GcsSettings, timeouts: &StoreTimeouts) -> Result<Self, WriteError> {
        let what = || format!("set up a client for the bucket `{}`", settings.bucket);
        let http = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Failure::lasting(chain(&error)).on(what()))?;
        let credentials = settings.credentials.as_ref().map(credentials).transpose();
        let endpoint = settings.endpoint.clone().map_or_else(|| Url::parse(HOME), Ok);
        Ok(Self {
            http,
            credentials: credentials.map_err(|failure| failure.on(what()))?,
            endpoint: endpoint.expect("INVARIANT: a constant URL parses"),
            bucket: settings.bucket.clone(),
            prefix: settings.prefix.clone(),
        })
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let url = self.url(&["storage", "v1", "b", &self.bucket, "o", key]);
        self.send(self.http.delete(url), Movement::none()).await?;
        Ok(())
    }

    /// Sends `request` as whom we are, and waits as long as something moves.
    async fn send(&self, request: RequestBuilder, movement: Movement) -> Result<Vec<u8>, Failure> {
        let request = request.headers(self.authorization().await?);
        let exchange = async {
            let response = request.send().await.map_err(of_transport)?;
            read(response).await
        };
        movement.watch(exchange).await
    }

    async fn authorization(&self) -> Result<HeaderMap, Failure> {
        let Some(credentials) = &self.credentials else { return Ok(HeaderMap::new()) };
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            // Only said to who shows what it has cached already.
            Ok(CacheableResource::NotModified) => Err(Failure::passing("no token could be had")),
            Err(error) if error.is_transient() => Err(Failure::passing(chain(&error))),
            Err(error) => Err(Failure::lasting(chain(&error))),
        }
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
        let key = self.prefix.key(object);
        self.upload(&key, object).await.map_err(|failure| failure.on(self.what("put", &key)))?;
        Ok(Stored { backend: self.name().to_owned(), location: format!("gs://{}/{key}", self.bucket) })
    }

    async fn probe(&self) -> Result<(), WriteError> {
        let object = probe_object();
        let key = self.prefix.key(&object);
        let result = match self.upload(&key, &object).await {
            Ok(()) => self.delete(&key).await,
            Err(failure) => Err(failure),
        };
        result.map_err(|failure| failure.on(self.what("write and delete", &key)))
    }
}

fn probe_object() -> Object {
    let bytes = b"Pixerve was here.\n";
    Object {
        sub_dir: SubDir::default(),
        name: format!("pixerve-probe-{}", Uuid::new_v4().simple()),
        media_type: "text/plain",
        sha256: ContentHash::of(bytes),
        body: Body::Bytes(bytes.as_slice().into()),
    }
}

/// Tokens that a service account signs itself: no other server is asked, whatever the key's JSON says of one.
fn credentials(account: &SecretString) -> Result<Credentials, Failure> {
    // serde_json's own message could quote the key.
    let unusable = || Failure::lasting("the credentials are not a service account's key");
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

/// The body of a good answer, cut where no honest one goes on.
async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let status = response.status();
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // The status says enough, if it was an error.
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(of_transport(error)),
        }
    }
    if status.is_success() { Ok(body) } else { Err(Failure::of_status(status.as_u16(), &words(&body))) }
}

/// The store's own words: JSON from the API, plain text from the servers before it.
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
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// No answer came: connections, TLS and time-outs may pass, a request that can't be built won't.
fn of_transport(error: reqwest::Error) -> Failure {
    let is_builder = error.is_builder();
    let words = chain(&error.without_url());
    if is_builder { Failure::lasting(words) } else { Failure::passing(words) }
}
