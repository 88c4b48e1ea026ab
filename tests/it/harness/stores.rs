//! Stores to write to: an S3 server in this process, and one Google Cloud Storage emulator for the whole test run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use url::Url;

use super::app::poll_delay;
pub(crate) use super::s3::{S3Client, S3Server, StoredObject, s3, s3_at};
use super::tool::{Tool, require};

/// Settings under which a store that can't be reached, or refuses, is soon given up.
pub(crate) const GIVES_UP_SOON: [(&str, &str); 2] =
    [("PIXERVE_STORES_GIVE_UP_AFTER", "1s"), ("PIXERVE_STORES_REFUSED_GIVE_UP_AFTER", "0s")];

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

    /// Has a bucket let go at once of what is deleted; a new one keeps it for a week.
    pub(crate) async fn forget_deleted(&self, bucket: &str) {
        let body = json!({"softDeletePolicy": {"retentionDurationSeconds": "0"}}).to_string();
        let request = self.http.patch(self.url(&["b", bucket])).header("content-type", "application/json").body(body);
        let answer = request.send().await.expect("answer");
        assert!(answer.status().is_success(), "change {bucket}: {}", answer.status());
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
        let [content_type, cache_control] =
            ["contentType", "cacheControl"].map(|field| description[field].as_str().map(str::to_owned));
        Some(StoredObject { bytes, content_type, cache_control })
    }

    /// Removes an object.
    pub(crate) async fn remove(&self, bucket: &str, key: &str) {
        let answer = self.http.delete(self.url(&["b", bucket, "o", key])).send().await.expect("answer");
        assert!(answer.status().is_success(), "remove {key}: {}", answer.status());
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
