//! Schemathesis invents requests after the description, good ones and bad ones, and finds no answer that isn't described.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::app::{TestApp, small_job};
use crate::harness::token::Claims;

/// Whose requests they are.
const IDENTITIES: [&str; 4] = ["nobody", "uploader", "user", "admin"];

/// How much is tried.
struct Effort {
    /// Requests invented for an operation and phase.
    examples: u32,
    /// Whether the same is tried each time.
    is_repeatable: bool,
    /// Which phases: `coverage` goes through the bounds of every schema, `fuzzing` invents, `stateful` puts requests in a row.
    phases: &'static str,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    pub(crate) operations: u64,
}

fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/venv/bin")
}

fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/description").join(file)
}

/// A server, and a token of each identity but nobody.
async fn server() -> (TestApp, Vec<(&'static str, Option<String>)>) {
    let app =
        TestApp::start_with(&[("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "10000"), ("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let user: Value =
        app.admin(Method::POST, "/register", Some(json!({ "user": "schemathesis" }))).await.json().await.expect("JSON");
    let text = |field: &str| user[field].as_str().expect("text").to_owned();
    let token = |identity: &str| match identity {
        "nobody" => None,
        "uploader" => Some(Claims::of("uploader").job(small_job()).sign()),
        "user" => Some(Claims::of("someone").job(small_job()).by(&text("access_key"), &text("secret")).sign()),
        _ => Some(Claims::of("operator").admin().sign()),
    };
    let tokens = IDENTITIES.into_iter().map(|identity| (identity, token(identity))).collect();
    (app, tokens)
}

/// Lets Schemathesis loose on `app` with this token, with all of its checks.
async fn run(app: &TestApp, token: Option<&str>, effort: &Effort) -> Result<Run, String> {
    let reports = TempDir::new().expect("a temporary directory");
    let report = reports.path().join("report.json");
    let mut schemathesis = Command::new(venv().join("schemathesis"));
    schemathesis
        .arg("--config-file")
        .arg(beside("schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(format!("http://{}/openapi.json", app.addr()))
        .args(["--checks", "all", "--phases", effort.phases, "--max-examples", &effort.examples.to_string()])
        .args(["--continue-on-failure", "--warnings", "off"])
        // How long an answer takes on a busy machine says nothing about the description.
        .args(["--max-response-time", "600"])
        .arg("--report-json-path")
        .arg(&report)
        .env("SCHEMATHESIS_HOOKS", "pictures")
        .env("PYTHONPATH", beside(""))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(reports.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // Either way nothing is kept from one run for the next.
    if effort.is_repeatable {
        schemathesis.arg("--generation-deterministic");
    } else {
        schemathesis.args(["--generation-database", "none"]);
    }
    if let Some(token) = token {
        schemathesis.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let output = schemathesis.output().await.expect("Schemathesis runs: `make test-servers` installs it");
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(said);
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
    let number = |pointer: &str| {
        report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {report}"))
    };
    assert_eq!(number("/operations/selected"), number("/operations/total"), "{report}");
    Ok(Run { requests: number("/test_cases/generated"), operations: number("/operations/tested") })
}

/// All at once: no two of them own anything in common.
async fn find_nothing(effort: &Effort) -> Vec<(&'static str, Run)> {
    let (app, tokens) = server().await;
    let runs = tokens.iter().map(async |(identity, token)| {
        let run = run(&app, token.as_deref(), effort).await;
        (*identity, run.unwrap_or_else(|said| panic!("{identity}: {said}")))
    });
    join_all(runs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_is_not_described_with_a_token_of_each_kind() {
    for (identity, run) in
        find_nothing(&Effort { examples: 5, is_repeatable: true, phases: "coverage,fuzzing,stateful" }).await
    {
        assert!(run.requests > 100 && run.operations > 15, "{identity}: {run:?}");
    }
}

/// All of it, for the battery: figures by identity.
pub(crate) async fn find_nothing_at_length() -> Vec<(&'static str, Run)> {
    find_nothing(&Effort { examples: 200, is_repeatable: false, phases: "examples,coverage,fuzzing,stateful" }).await
}

#[tokio::test]
async fn the_description_is_an_openapi_document_by_the_letter() {
    let app = TestApp::start().await;
    let dir = TempDir::new().expect("a temporary directory");
    let file = dir.path().join("openapi.json");
    let mut written = std::fs::File::create(&file).expect("created");
    std::io::Write::write_all(&mut written, &app.get("/openapi.json").await.bytes().await.expect("a body"))
        .expect("written");
    let validator = Command::new(venv().join("openapi-spec-validator")).arg(&file).output().await;
    let output = validator.expect("it runs: `make test-servers` installs it");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("OK"), "{said}");
}
