//! A client that is made from the description compiles, and uploads.

use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};

/// What an application would write.
const CLIENT: &str = include_str!("client.ts");

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_description_compiles_and_uploads() {
    let Some(node) = require(Tool::Node, program("node")) else { return };
    let app = TestApp::start().await;
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/node/node_modules");
    let dir = TempDir::new().expect("a temporary directory");
    std::os::unix::fs::symlink(&packages, dir.path().join("node_modules")).expect("linked");
    for (name, bytes) in [
        ("client.ts", CLIENT.as_bytes().to_vec()),
        ("package.json", br#"{"type": "module"}"#.to_vec()),
        ("openapi.json", app.get("/openapi.json").await.bytes().await.expect("a body").to_vec()),
    ] {
        let mut file = std::fs::File::create(dir.path().join(name)).expect("created");
        std::io::Write::write_all(&mut file, &bytes).expect("written");
    }
    let run = async |script: &str, arguments: &[&str], order: Value| {
        let mut child = Command::new(&node);
        let child =
            child.arg(packages.join(script)).args(arguments).current_dir(dir.path()).env("ORDER", order.to_string());
        let output =
            child.stdin(Stdio::null()).output().await.expect("node runs: `make test-servers` installs the rest");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    run("openapi-typescript/bin/cli.js", &["openapi.json", "--output", "pixerve.d.ts"], json!(null)).await;
    let strict = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "client.ts"];
    run("typescript/bin/tsc", &strict, json!(null)).await;

    let job = json!({ "directHost": true, "formats": small_job()["formats"] });
    let token = Claims::of("typed").job(job).sign();
    let order = json!({
        "base": format!("http://{}", app.addr()), "token": token, "picture": STANDARD.encode(jpeg(40, 30, 1))
    });
    let said = run(dir.path().join("client.js").to_str().expect("UTF-8"), &[], order).await;
    let seen: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((&seen["state"], &seen["refused"]), (&json!("completed"), &json!("unauthorized")), "{seen}");
    assert_eq!(seen["files"], 1, "{seen}");
}
