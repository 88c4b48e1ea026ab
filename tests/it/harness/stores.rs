//! Stores to write to: an S3 server in this process, and one Google Cloud Storage emulator for the whole test run.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_s3::operation::get_object::GetObjectError;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use super::app::poll_delay;
use super::tool::{Tool, require};

/// An object as its store shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredObject {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<String>,
}

/// An S3 server on a loopback port, with its buckets in a temporary directory. It ends when it is dropped.
pub(crate) struct S3Server {
    client: S3Client,
    root: TempDir,
    serving: JoinHandle<()>,
}

/// Settings under which a store that can't be reached, or refuses, is soon given up.
pub(crate) const GIVES_UP_SOON: [(&str, &str); 2] =
    [("PIXERVE_STORES_GIVE_UP_AFTER", "1s"), ("PIXERVE_STORES_REFUSED_GIVE_UP_AFTER", "0s")];

impl Deref for S3Server {
    type Target = S3Client;

    fn deref(&self) -> &S3Client {
        &self.client
    }
}

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
    let service = {
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root.path()).expect("file system"));
        builder.set_auth(SimpleAuth::from_single(access_key, secret));
        builder.set_access(BucketsMustExist(root.path().to_owned()));
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
    S3Server { client: S3Client::new(endpoint, access_key, secret), root, serving }
}

/// The server itself would make a bucket of the first key written to it; S3 never does.
struct BucketsMustExist(PathBuf);

#[async_trait]
impl S3Access for BucketsMustExist {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        match cx.s3_path().get_bucket_name() {
            Some(bucket) if !self.0.join(bucket).is_dir() => {
                Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"))
            }
            _ => Ok(()),
        }
    }
}

impl S3Server {
    pub(crate) fn create_bucket(&self, bucket: &str) {
        std::fs::create_dir(self.root.path().join(bucket)).expect("bucket");
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
        let bytes = answer.body.collect().await.expect("body").to_vec();
        Some(StoredObject { bytes, content_type })
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

/// A store at an address where nobody listens.
pub(crate) fn dead_store() -> Value {
    json!({
        "type": "s3", "bucket": "nowhere", "region": "us-east-1", "endpoint": "http://127.0.0.1:9",
        "access_key_id": "id", "secret_access_key": "secret"
    })
}

/// An emulator of Google Cloud Storage. Tests that share one make a bucket each.
#[derive(Clone)]
pub(crate) struct GcsServer {
    pub(crate) endpoint: Url,
    http: reqwest::Client,
}

/// The emulator, started by the first test that asks for it.
pub(crate) async fn gcs() -> GcsServer {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    let port = tokio::task::spawn_blocking(|| EMULATOR.get_or_init(Emulator::start).port).await.expect("started");
    GcsServer {
        endpoint: Url::parse(&format!("http://127.0.0.1:{port}")).expect("URL"),
        http: reqwest::Client::builder().no_proxy().build().expect("client"),
    }
}

/// The other emulator, written in Go, for one test; none where it isn't installed.
pub(crate) async fn fake_gcs() -> Option<(GcsServer, Emulator)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/fake-gcs/fake-gcs-server");
    let program = require(Tool::FakeGcs, program.is_file().then_some(program))?;
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    // It ends with its standard input, however that comes about: when this is dropped, or the tests end.
    let process = Command::new("sh")
        .args(["-c", r#""$@" & cat >/dev/null; kill $!"#, "sh"])
        .arg(program)
        .args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "error", "-port"])
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs");
    let endpoint = Url::parse(&format!("http://127.0.0.1:{port}")).expect("URL");
    let http = reqwest::Client::builder().no_proxy().build().expect("client");
    while http.get(endpoint.join("storage/v1/b").expect("URL")).send().await.is_err() {
        poll_delay().await;
    }
    Some((GcsServer { endpoint, http }, Emulator { port, _process: process }))
}

/// The emulator's process. A static is never dropped, so it ends by itself when this process and with it the other end
/// of its standard input is gone, however that came about.
pub(crate) struct Emulator {
    port: u16,
    _process: Child,
}

impl Emulator {
    fn start() -> Self {
        let python = environment().join("bin/python");
        assert!(python.exists(), "{} is missing: run `make test-servers` first", python.display());
        let mut process = Command::new(&python)
            .args(["-c", include_str!("gcs_emulator.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        let port = line.trim().parse().unwrap_or_else(|_| {
            panic!("the GCS emulator in {} does not start: run `make test-servers` again", environment().display())
        });
        Self { port, _process: process }
    }
}

/// The Python environment that holds the emulator.
#[expect(clippy::disallowed_methods, reason = "where the test servers are is the environment's to say")]
fn environment() -> PathBuf {
    std::env::var("PIXERVE_TEST_GCS_EMULATOR")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/venv"), PathBuf::from)
}

impl GcsServer {
    pub(crate) async fn create_bucket(&self, bucket: &str) {
        let url = self.url(&["b"]);
        let body = json!({"name": bucket}).to_string();
        let request = self.http.post(url).header("content-type", "application/json").body(body);
        let answer = request.send().await.expect("answer");
        assert!(answer.status().is_success(), "create {bucket}: {}", answer.status());
    }

    /// A body for `/register`.
    pub(crate) fn registration(&self, bucket: &str) -> Value {
        json!({"type": "gcs", "bucket": bucket, "endpoint": self.endpoint})
    }

    /// The object, if it is there, as a client of the store gets it.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        let url = self.url(&["b", bucket, "o", key]);
        let description = self.http.get(url.clone()).send().await.expect("answer");
        if description.status() == http::StatusCode::NOT_FOUND {
            return None;
        }
        let description: Value =
            serde_json::from_slice(&description.bytes().await.expect("description")).expect("JSON");
        let media = self.http.get(url).query(&[("alt", "media")]).send().await.expect("answer");
        assert!(media.status().is_success(), "get {key}: {}", media.status());
        let bytes = media.bytes().await.expect("bytes").to_vec();
        Some(StoredObject { bytes, content_type: description["contentType"].as_str().map(str::to_owned) })
    }

    /// Every key of the bucket, sorted.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let answer = self.http.get(self.url(&["b", bucket, "o"])).send().await.expect("answer");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.expect("listing")).expect("JSON");
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        let mut keys: Vec<_> = items.iter().filter_map(|o| o["name"].as_str().map(str::to_owned)).collect();
        keys.sort();
        keys
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("a web address").pop_if_empty().extend(["storage", "v1"]).extend(segments);
        url
    }
}
