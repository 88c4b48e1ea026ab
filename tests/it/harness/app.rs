//! A whole server inside the test process, on a port of its own, with directories of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pixerve::app::App;
use pixerve::config::{Config, Sources};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::token::{Claims, SECRET};

/// The longest that anything a test waits for may take. Generous: it only ends tests that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A running server and a client for it.
pub(crate) struct TestApp {
    app: Option<App>,
    base: String,
    client: Client,
    settings: Vec<(String, String)>,
    dirs: TempDir,
}

impl TestApp {
    /// A server with defaults, but for directories, port, key, and callbacks to loopback being allowed.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further settings, by their environment variables.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dirs = tempfile::tempdir().expect("a temporary directory");
        let mut all: Vec<(String, String)> = [
            ("PIXERVE_ADDR", "127.0.0.1:0"),
            ("PIXERVE_JWT_SECRET", SECRET),
            ("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8"),
            ("PIXERVE_STORAGE_FREE_DISK_MIN", "0"),
        ]
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        for (name, dir) in [("PIXERVE_DATA_DIR", "data"), ("PIXERVE_SERVE_DIR", "serve")] {
            all.push((name.to_owned(), dirs.path().join(dir).display().to_string()));
        }
        let mut test = Self { app: None, base: String::new(), client: client(), settings: all, dirs };
        test.boot().await;
        test
    }

    async fn boot(&mut self) {
        let app = App::start(self.config()).await.expect("the server starts");
        self.base = format!("http://{}", app.addr());
        self.app = Some(app);
    }

    /// The settings it runs with.
    pub(crate) fn config(&self) -> Config {
        let env = self.settings.clone();
        Config::load(Sources { env, ..Sources::default() }).expect("the test's settings are good").0
    }

    /// Stops it as SIGTERM would, with this much patience for running jobs.
    pub(crate) async fn stop(&mut self, patience: Duration) {
        self.app.take().expect("it runs").stop(patience).await;
    }

    /// Starts it again on the same directories.
    pub(crate) async fn restart(&mut self) {
        if self.app.is_some() {
            self.stop(Duration::ZERO).await;
        }
        self.boot().await;
    }

    /// The running parts.
    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().expect("it runs")
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.app().addr()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dirs.path().join("data")
    }

    pub(crate) fn serve_dir(&self) -> PathBuf {
        self.dirs.path().join("serve")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// A request as admin.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path).bearer_auth(Claims::of("operator").admin().sign());
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    }

    /// Uploads `bytes` under `name` with this token.
    pub(crate) async fn upload(&self, token: &str, name: &str, bytes: Vec<u8>) -> Response {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
        self.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await.expect("an answer")
    }

    /// Uploads for `sub` what must be accepted: the answer.
    pub(crate) async fn accepted(&self, sub: &str, job: Value, name: &str, bytes: Vec<u8>) -> Value {
        let response = self.upload(&Claims::of(sub).job(job).sign(), name, bytes).await;
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// Uploads, and waits for the end: the job's status then.
    pub(crate) async fn done(&self, sub: &str, job: Value, name: &str, bytes: Vec<u8>) -> Value {
        let accepted = self.accepted(sub, job, name, bytes).await;
        self.ended(&accepted).await
    }

    /// Waits until the accepted job has ended: its status.
    pub(crate) async fn ended(&self, accepted: &Value) -> Value {
        let of = |status: &Value| matches!(status["state"].as_str(), Some("completed" | "failed" | "cancelled"));
        self.wait_for(accepted, "to end", of).await
    }

    /// Waits until a worker has the accepted job.
    pub(crate) async fn processing(&self, accepted: &Value) -> Value {
        self.wait_for(accepted, "to be processed", |status| status["state"] != "pending").await
    }

    /// Waits until the accepted job's status is as wanted.
    pub(crate) async fn wait_for(&self, accepted: &Value, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let url = accepted["status_url"].as_str().expect("a status_url").to_owned();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = self.get_json(&url).await;
            if wanted(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited too long for a job {what}: {status}");
            breathe().await;
        }
    }

    /// A stored file, as a browser gets it.
    pub(crate) async fn file(&self, location: &str) -> Vec<u8> {
        let response = self.get(location).await;
        assert_eq!(response.status(), StatusCode::OK, "{location}");
        response.bytes().await.expect("a body").to_vec()
    }

    /// Registers a store: its access key.
    pub(crate) async fn register(&self, store: Value) -> String {
        let response = self.admin(Method::POST, "/register", Some(store)).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let body: Value = response.json().await.expect("JSON");
        body["access_key"].as_str().expect("an access_key").to_owned()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // What still runs ends with the test's runtime.
        drop(self.app.take());
    }
}

fn client() -> Client {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// Between two looks at something that announces itself to nobody. The one place in the tests that sleeps.
pub(crate) async fn breathe() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A small job, directly hosted.
pub(crate) fn small_job() -> Value {
    json!({ "directHost": true, "formats": { "jpg": { "sizes": [[64]] } } })
}

/// What a refusal must look like: the status, `application/problem+json`, and the code.
pub(crate) async fn assert_problem(response: Response, status: u16, code: &str) -> Value {
    let (found, kind) = (response.status().as_u16(), response.headers().get("content-type").cloned());
    let retry_after = response.headers().contains_key("retry-after");
    let challenge = response.headers().contains_key("www-authenticate");
    let body: Value = response.json().await.expect("a JSON body");
    assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(kind.expect("a content type"), "application/problem+json");
    assert_eq!(body["status"], status);
    for field in ["type", "title", "detail", "instance"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {body}");
    }
    assert_eq!(challenge, status == 401, "{body}");
    assert_eq!(retry_after, matches!(status, 429 | 503 | 507), "{body}");
    body
}

/// Every file below `dir`, as relative paths, sorted.
pub(crate) fn files_below(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.push(path.strip_prefix(root).expect("below").display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}
