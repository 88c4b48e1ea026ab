//! Callbacks are signed so that a receiver can tell: the published libraries of three languages say whether they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::time::timeout;

use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::{Call, Receiver};
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};

const NODE: &str = "const { Webhook } = require('standardwebhooks'); const { readFileSync } = require('fs');
const { secret, body, headers } = JSON.parse(readFileSync(0)); new Webhook(secret).verify(body, headers);";
const PYTHON: &str = "import json, sys
from standardwebhooks.webhooks import Webhook
call = json.load(sys.stdin)
Webhook(call['secret']).verify(call['body'], call['headers'])";

fn servers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers")
}

/// Whether a program that is told the call on its standard input ends well.
fn accepts(mut program: Command, call: &Value) -> bool {
    use std::io::Write;
    use std::process::Stdio;
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(call.to_string().as_bytes()).expect("written");
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() || said.contains("WebhookVerificationError") || said.contains("No matching"),
        "{said}"
    );
    ended.status.success()
}

/// Whether a receiver that has this secret takes the call for ours: all three libraries say the same.
fn is_verified(call: &Call, secret: &str) -> Option<bool> {
    let node = require(Tool::Node, program("node"))?;
    let python = servers().join("venv/bin/python");
    let rust = Webhook::new(secret).expect("a secret").verify(&call.bytes, &call.headers).is_ok();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.into_iter().map(|name| (name.to_owned(), json!(call.headers[name].to_str().expect("text")))).collect();
    let told = json!({ "secret": secret, "body": std::str::from_utf8(&call.bytes).expect("text"), "headers": headers });
    let mut in_node = Command::new(node);
    in_node.args(["-e", NODE]).current_dir(servers().join("node"));
    let mut in_python = Command::new(python);
    in_python.args(["-c", PYTHON]);
    assert_eq!([accepts(in_node, &told), accepts(in_python, &told)], [rust; 2]);
    Some(rust)
}

fn job(receiver: &Receiver) -> Value {
    json!({
        "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[32]] } }
    })
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn register(app: &TestApp, path: &str, body: Value) -> Value {
    let response = app.admin(Method::POST, path, Some(body)).await;
    assert_eq!(response.status(), 201);
    response.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_callbacks_are_signed_with_its_secret_and_during_a_rotation_with_both() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let user = register(&app, "/register", json!({ "user": "shop" })).await;
    let (access_key, first) = (text(&user["access_key"]), text(&user["webhook_secret"]));
    let upload = async |n| {
        let token = Claims::of("me").job(job(&receiver)).by(access_key, text(&user["secret"])).sign();
        assert_eq!(app.upload(&token, "a.jpg", jpeg(40, 30, n)).await.status(), 200);
        receiver.call().await
    };
    let call = upload(1).await;
    let stranger = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let Some(verified) = is_verified(&call, first) else { return };
    assert!(verified);
    assert_eq!(is_verified(&call, stranger), Some(false));
    let mut changed = call.clone();
    changed.bytes = [&call.bytes[..call.bytes.len() - 1], b" }"].concat().into();
    assert_eq!(is_verified(&changed, first), Some(false));

    let second = register(&app, "/register/webhook-secret", json!({ "access_key": access_key })).await;
    let second = text(&second["webhook_secret"]).to_owned();
    let call = upload(2).await;
    assert_eq!(
        [first, &second, stranger].map(|secret| is_verified(&call, secret)),
        [Some(true), Some(true), Some(false)]
    );
    let third = register(&app, "/register/webhook-secret", json!({ "access_key": access_key })).await;
    let third = text(&third["webhook_secret"]).to_owned();
    let call = upload(3).await;
    let verified = [first, &second, &third].map(|secret| is_verified(&call, secret));
    assert_eq!(verified, [Some(false), Some(true), Some(true)], "the newest two");
    assert!(call.headers["webhook-signature"].to_str().expect("text").starts_with("v1,"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_outlive_a_restart_and_are_in_no_answer_but_the_first() {
    let (mut app, receiver) = (TestApp::start().await, Receiver::start().await);
    let user = register(&app, "/register", json!({ "user": "shop" })).await;
    let secret = text(&user["webhook_secret"]).to_owned();
    app.restart().await;
    let token = Claims::of("me").job(job(&receiver)).by(text(&user["access_key"]), text(&user["secret"])).sign();
    assert_eq!(app.upload(&token, "a.jpg", jpeg(40, 30, 1)).await.status(), 200);
    if let Some(verified) = is_verified(&receiver.call().await, &secret) {
        assert!(verified);
    }
    let listed = app.admin(Method::GET, "/register", None).await.text().await.expect("text");
    assert!(!listed.contains("whsec_") && !listed.contains("webhook"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewing_a_webhook_secret_takes_an_admin_and_a_user() {
    let app = TestApp::start().await;
    let path = "/register/webhook-secret";
    let unknown = app.admin(Method::POST, path, Some(json!({ "access_key": "pxu_nobody" }))).await;
    assert_problem(unknown, 404, "not_found").await;
    for body in [json!({}), json!({ "access_key": "a", "user": "b" }), json!({ "access_key": 7 })] {
        assert_problem(app.admin(Method::POST, path, Some(body)).await, 422, "invalid_fields").await;
    }
    let request =
        app.request(Method::POST, path).bearer_auth(Claims::of("me").sign()).json(&json!({ "access_key": "a" }));
    assert_problem(request.send().await.expect("an answer"), 403, "forbidden").await;
}

/// What the command prints, run beside the server of `home`.
fn command(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_of_the_servers_own_keys_are_signed_with_what_the_command_prints_and_rotates() {
    let home = Home::new(&[("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8")]);
    let (server, receiver) = (home.start().await, Receiver::start().await);
    let first = command(&home, &["webhook-secret"]);
    assert_eq!(command(&home, &["webhook-secret"]), first);
    let mut n = 0;
    let mut next_call = async || {
        n += 1;
        server.accepted("me", job(&receiver), "a.jpg", jpeg(40, 30, n)).await;
        receiver.call().await
    };
    let call = next_call().await;
    let Some(verified) = is_verified(&call, &first) else { return };
    assert!(verified);
    let second = command(&home, &["webhook-secret", "--rotate"]);
    assert_ne!(second, first);
    let is_taken_up = |call: &Call| call.headers["webhook-signature"].to_str().is_ok_and(|text| text.contains(' '));
    let taken_up = async {
        loop {
            let call = next_call().await;
            if is_taken_up(&call) {
                return call;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // A minute, and as much for a machine that is busy.
    let call = timeout(Duration::from_mins(2), taken_up).await.expect("it is taken up within a minute");
    assert_eq!([&first, &second].map(|secret| is_verified(&call, secret)), [Some(true); 2]);
    assert!(!home.log().contains("whsec_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_set_signs_and_a_bad_one_is_an_error_that_does_not_quote_it() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let app = TestApp::start_with(&[("PIXERVE_CALLBACK_SECRET", secret)]).await;
    let receiver = Receiver::start().await;
    app.done("me", job(&receiver), "a.jpg", jpeg(40, 30, 1)).await;
    if let Some(verified) = is_verified(&receiver.call().await, secret) {
        assert!(verified);
    }
    assert!(!app.data_dir().join("callback.secret").exists());
    let env = vec![("PIXERVE_CALLBACK_SECRET".to_owned(), "whsec_c2hvcnQ=".to_owned())];
    let sources = pixerve::config::Sources { env, ..pixerve::config::Sources::default() };
    let error = pixerve::config::Config::load(sources).expect_err("too short").to_string();
    assert!(error.contains("PIXERVE_CALLBACK_SECRET") && !error.contains("c2hvcnQ"), "{error}");
}
