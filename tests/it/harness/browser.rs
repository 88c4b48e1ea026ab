//! Chromium, driven by scripts. `.ci/browser.sh target/test-servers` installs both, and what pages use.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::tool::{Tool, program, require};

/// For all that one script does.
const WAIT_MAX: Duration = Duration::from_mins(4);

/// What opens pages.
pub(crate) struct Browser {
    node: PathBuf,
    chromium: PathBuf,
    /// The directory that holds what drives it, and the libraries of pages.
    driver: PathBuf,
}

impl Browser {
    /// None where there is none.
    pub(crate) fn find() -> Option<Self> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/browser");
        let has_driver = driver.join("node_modules/playwright-core").is_dir();
        Some(Self {
            node: require(Tool::Node, program("node"))?,
            chromium: require(Tool::Chromium, program("chromium"))?,
            driver: require(Tool::Playwright, has_driver.then_some(driver))?,
        })
    }

    /// Runs `script`, a module of Node's, which reads `order` from its standard input and writes its answer to the standard
    /// output. It finds there: `playwright`, `chromium` and `profile`, beside what the test has put in.
    pub(crate) async fn drive(&self, script: &str, mut order: Value) -> Value {
        let profile = tempfile::tempdir().expect("a temporary directory");
        order["playwright"] = json!(self.driver);
        order["chromium"] = json!(self.chromium);
        order["profile"] = json!(profile.path().join("profile"));
        let mut child = Command::new(&self.node)
            .args(["--input-type=module", "--eval", script])
            .current_dir(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut input = child.stdin.take().expect("piped");
        let sent = order.to_string();
        tokio::spawn(async move { input.write_all(sent.as_bytes()).await });
        let output = timeout(WAIT_MAX, child.wait_with_output()).await.expect("an end in time").expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}
