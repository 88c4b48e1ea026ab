//! A whole server inside the test process, on a port of its own, with directories of its own.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pixerve::app::{App, ServeOptions};
use pixerve::config::{Config, Sources};
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::Api;
use super::token::SECRET;

/// The longest that a test waits for an event. Generous: it only ends tests that would hang.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(2);

/// A running server and, by `Deref`, a client for it.
pub(crate) struct TestApp {
    app: Option<App>,
    api: Api,
    settings: Vec<(String, String)>,
    options: ServeOptions,
    /// What works on pixels.
    program: PathBuf,
    dirs: TempDir,
}

impl TestApp {
    /// A server with defaults, but for directories, port, key, and callbacks to loopback being allowed.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further settings, by their environment variables.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(env!("CARGO_BIN_EXE_pixerve").into(), settings).await
    }

    /// The same as `pixerve serve --demo`.
    pub(crate) async fn start_demo(settings: &[(&str, &str)]) -> Self {
        Self::start_as(ServeOptions { demo: true }, env!("CARGO_BIN_EXE_pixerve").into(), settings).await
    }

    /// The same with another program for the children that work on pixels.
    pub(crate) async fn start_on(program: PathBuf, settings: &[(&str, &str)]) -> Self {
        Self::start_as(ServeOptions::default(), program, settings).await
    }

    async fn start_as(options: ServeOptions, program: PathBuf, settings: &[(&str, &str)]) -> Self {
        let dirs = tempfile::tempdir().expect("a temporary directory");
        // Some other program does one job and ends.
        let idle_timeout = if program.as_os_str() == env!("CARGO_BIN_EXE_pixerve") { "5s" } else { "0s" };
        let [data, serve, private] =
            ["data", "serve", "private"].map(|dir| dirs.path().join(dir).display().to_string());
        // Of two of one name the last counts.
        let all: Vec<(String, String)> = [
            ("PIXERVE_DATA_DIR", data.as_str()),
            ("PIXERVE_SERVE_DIR", serve.as_str()),
            ("PIXERVE_PRIVATE_DIR", private.as_str()),
            ("PIXERVE_ADDR", "127.0.0.1:0"),
            ("PIXERVE_JWT_SECRET", SECRET),
            ("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8"),
            ("PIXERVE_STORAGE_FREE_DISK_MIN", "0"),
            ("PIXERVE_WORKER_SANDBOX_IDLE_TIMEOUT", idle_timeout),
        ]
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        let mut test = Self { app: None, api: Api::default(), settings: all, options, program, dirs };
        test.boot().await;
        test
    }

    async fn boot(&mut self) {
        let app = App::start_with(self.config(), self.options, &self.program).await.expect("the server starts");
        self.api.at(app.addr());
        self.app = Some(app);
    }

    /// Changes a setting, for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// The settings it runs with.
    pub(crate) fn config(&self) -> Config {
        let env = self.settings.clone();
        Config::load(Sources { env, ..Sources::default() }).expect("the test's settings are good").0
    }

    /// Stops it as SIGTERM would, with this long for running jobs to finish.
    pub(crate) async fn stop(&mut self, drain_timeout: Duration) {
        self.app.take().expect("it runs").stop(drain_timeout).await;
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

    pub(crate) fn private_dir(&self) -> PathBuf {
        self.dirs.path().join("private")
    }
}

impl Deref for TestApp {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // What still runs ends with the test's runtime.
        drop(self.app.take());
    }
}

/// Waits before the next poll of what can't be awaited. The one place in the tests that sleeps.
pub(crate) async fn poll_delay() {
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
    assert_eq!(challenge, status == 401 || code == "forbidden", "{body}");
    assert_eq!(
        retry_after,
        matches!(status, 429 | 503 | 507) || matches!(code, "idempotency_in_flight" | "not_ready"),
        "{body}"
    );
    body
}

/// What the spool in a data directory has of uploads: not the originals that are kept of failed and cancelled jobs.
pub(crate) fn spooled(data_dir: &Path) -> Vec<String> {
    let mut files = files_below(&data_dir.join("spool"));
    files.retain(|file| !file.starts_with("kept/"));
    files
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
