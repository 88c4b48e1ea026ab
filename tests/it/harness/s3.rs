//! An S3 server in this process, and a client that sees what is in it. The benchmarks use it too: it needs nothing else of
//! the harness.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_s3::operation::get_object::GetObjectError;
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::ListObjectsV2Input;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Request, S3Result, s3_error};
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

/// An object as its store shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredObject {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
    #[allow(dead_code, reason = "the benchmarks don't look at it")]
    pub(crate) cache_control: Option<String>,
}

/// An S3 server on a loopback port, with its buckets in a temporary directory. It ends when it is dropped.
pub(crate) struct S3Server {
    client: S3Client,
    users: Users,
    asked: Asked,
    root: TempDir,
    serving: JoinHandle<()>,
}

impl Deref for S3Server {
    type Target = S3Client;

    fn deref(&self) -> &S3Client {
        &self.client
    }
}

/// Whose signatures are good: secrets by access key. Clones are one.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<HashMap<String, String>>>);

#[async_trait]
impl S3Auth for Users {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.0.lock().get(access_key).cloned();
        let unknown = || s3_error!(InvalidAccessKeyId, "The access key Id you provided does not exist in our records.");
        secret.map(SecretKey::from).ok_or_else(unknown)
    }
}

/// The headers of what was asked with a good signature.
type Asked = Arc<Mutex<Vec<HeaderMap>>>;

/// A user of a store that speaks S3's protocol.
#[derive(Clone)]
pub(crate) struct S3Client {
    pub(crate) endpoint: Url,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    client: Client,
}

/// Starts an S3 server without buckets.
pub(crate) async fn s3() -> S3Server {
    s3_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &[]).await
}

/// Starts an S3 server at this address. It has its buckets before it answers.
pub(crate) async fn s3_at(address: SocketAddr, buckets: &[&str]) -> S3Server {
    let (access_key, secret) = ("pixerve-test", "s3-canary-secret-0123456789");
    let root = tempfile::tempdir().expect("temporary directory");
    for bucket in buckets {
        std::fs::create_dir(root.path().join(bucket)).expect("bucket");
    }
    let (users, asked) = (Users::default(), Asked::default());
    users.0.lock().insert(access_key.to_owned(), secret.to_owned());
    let service = {
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).expect("file system"));
        builder.set_auth(users.clone());
        builder.set_access(BucketsMustExist { root: root.path().to_owned(), asked: Arc::clone(&asked) });
        builder.build()
    };
    let listener = TcpListener::bind(address).await.expect("loopback port");
    let address = listener.local_addr().expect("address");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that hangs up is no business of the server's.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let endpoint = Url::parse(&format!("http://{address}")).expect("URL");
    S3Server { client: S3Client::new(endpoint, access_key, secret), users, asked, root, serving }
}

/// The server itself would make a bucket of the first key written to it; S3 never does.
struct BucketsMustExist {
    root: PathBuf,
    asked: Asked,
}

#[async_trait]
impl S3Access for BucketsMustExist {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        self.asked.lock().push(cx.headers().clone());
        match cx.s3_path().get_bucket_name() {
            Some(bucket) if !self.root.join(bucket).is_dir() => {
                Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"))
            }
            _ => Ok(()),
        }
    }

    /// Asked for a delimiter, the server passes over directories that the prefix leads past; else it walks through all of the
    /// bucket for each answer, which takes half a minute where thousands of objects are.
    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        request.input.delimiter.get_or_insert_with(|| IN_NO_KEY.to_owned());
        Ok(())
    }
}

const IN_NO_KEY: &str = "(in no key)";

impl S3Server {
    pub(crate) fn create_bucket(&self, bucket: &str) {
        std::fs::create_dir(self.root.path().join(bucket)).expect("bucket");
    }

    /// From now on this is a user too.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn let_in(&self, access_key: &str, secret: &str) {
        self.users.0.lock().insert(access_key.to_owned(), secret.to_owned());
    }

    /// From now on this is no user any more.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn shut_out(&self, access_key: &str) {
        self.users.0.lock().remove(access_key);
    }

    /// Has it say that an object was written so much earlier.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn age(&self, bucket: &str, key: &str, by: Duration) {
        let file =
            std::fs::File::options().write(true).open(self.root.path().join(bucket).join(key)).expect("an object");
        let modified = file.metadata().and_then(|meta| meta.modified()).expect("a time");
        file.set_modified(modified - by).expect("set");
    }

    /// The values of this header in what was asked of it, of each of one connection in order.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn asked_with(&self, header: &str) -> Vec<String> {
        let asked = self.asked.lock();
        let values = asked.iter().filter_map(|headers| headers.get(header)?.to_str().ok());
        values.map(str::to_owned).collect()
    }

    /// How much was asked of it with a good signature.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn asked_count(&self) -> usize {
        self.asked.lock().len()
    }

    /// Has it say that an object was written then.
    #[allow(dead_code, reason = "the benchmarks don't ask")]
    pub(crate) fn set_written(&self, bucket: &str, key: &str, at: SystemTime) {
        let path = self.root.path().join(bucket).join(key);
        let file = std::fs::File::options().write(true).open(path).expect("an object");
        file.set_modified(at).expect("set");
    }

    /// Ends it; when this returns, nobody listens there any more.
    pub(crate) async fn stop(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

impl S3Client {
    /// The user that these credentials stand for.
    pub(crate) fn new(endpoint: Url, access_key: &str, secret: &str) -> Self {
        let client = Client::from_conf(
            Config::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                // The SDK's own would ask the environment's proxy for a loopback address.
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .region(Region::new("test-1"))
                .credentials_provider(Credentials::new(access_key, secret, None, None, "test"))
                .endpoint_url(endpoint.as_str())
                .force_path_style(true)
                .build(),
        );
        Self { endpoint, access_key: access_key.to_owned(), secret: secret.to_owned(), client }
    }

    /// Makes a bucket by the store's own API.
    pub(crate) async fn make_bucket(&self, bucket: &str) {
        self.client.create_bucket().bucket(bucket).send().await.expect("made");
    }

    /// Sets who may do what in a bucket.
    pub(crate) async fn set_policy(&self, bucket: &str, policy: &Value) {
        self.client.put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await.expect("set");
    }

    /// A body for `/register`.
    pub(crate) fn registration(&self, bucket: &str) -> Value {
        json!({
            "type": "s3", "bucket": bucket, "region": "test-1", "access_key_id": self.access_key,
            "secret_access_key": self.secret, "endpoint": self.endpoint
        })
    }

    /// The object, if it is there, as a client of the store gets it.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let answer = match self.client.get_object().bucket(bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return None,
            Err(error) => panic!("get {key}: {error:?}"),
        };
        let content_type = answer.content_type().map(str::to_owned);
        let cache_control = answer.cache_control().map(str::to_owned);
        let bytes = answer.body.collect().await.expect("body").to_vec();
        Some(StoredObject { bytes, content_type, cache_control })
    }

    /// Puts an object in the place of what is there.
    #[allow(dead_code, reason = "the benchmarks don't")]
    pub(crate) async fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) {
        self.client.put_object().bucket(bucket).key(key).body(bytes.into()).send().await.expect("put");
    }

    /// Removes an object.
    #[allow(dead_code, reason = "the benchmarks don't")]
    pub(crate) async fn remove(&self, bucket: &str, key: &str) {
        self.client.delete_object().bucket(bucket).key(key).send().await.expect("removed");
    }

    /// Every key of the bucket, sorted.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(bucket).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.expect("listed").contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        }
        keys.sort();
        keys
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
