//! The credentials of the bucket, from where AWS has them. Each place is played by a server on loopback, and each node runs in
//! a process of its own: variables are a process'.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use pixerve::clock::{Clock, System};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::small_job;
use crate::harness::app::{WAIT_MAX, assert_problem};
use crate::harness::cluster::Cluster;
use crate::harness::picture;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::stores::S3Server;
use crate::harness::token::Claims;
use crate::writer::scripted::{Request, Scripted};

/// Nobody is there who gives any: without this a test would ask the machine that it runs on.
const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

/// Credentials as a service of AWS gives them.
#[derive(Clone, Copy)]
struct Given {
    access_key: &'static str,
    secret: &'static str,
    token: &'static str,
    valid_for: Duration,
}

const LASTING: Given = Given {
    access_key: "ASIALASTING",
    secret: "canary-secret-lasting",
    token: "token-of-the-lasting",
    valid_for: Duration::from_hours(1),
};

/// Those that are renewed before the next request.
const EXPIRING: Given = Given {
    access_key: "ASIAEXPIRING",
    secret: "canary-secret-expiring",
    token: "token-of-the-expiring",
    valid_for: Duration::from_secs(1),
};

impl Given {
    /// When they expire if they are given now.
    fn expiration(self) -> String {
        System::new().now().after(self.valid_for).rfc3339()
    }

    /// As containers and instances are given them.
    fn json(self) -> Response {
        let body = json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": self.access_key, "SecretAccessKey": self.secret,
            "Token": self.token, "Expiration": self.expiration()
        });
        axum::Json(body).into_response()
    }

    /// As a web identity is exchanged for them.
    fn xml(self) -> Response {
        let body = format!(
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <Credentials>
      <AccessKeyId>{}</AccessKeyId>
      <SecretAccessKey>{}</SecretAccessKey>
      <SessionToken>{}</SessionToken>
      <Expiration>{}</Expiration>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"#,
            self.access_key,
            self.secret,
            self.token,
            self.expiration()
        );
        ([("content-type", "text/xml")], body).into_response()
    }

    /// Whether a request to the bucket was signed with these, token and all.
    fn were_used(self, s3: &S3Server) -> bool {
        used(s3, self.access_key) && s3.asked_with("x-amz-security-token").iter().any(|token| token == self.token)
    }
}

/// Whether a request to the bucket was signed by this access key, for this region if one is named.
fn used(s3: &S3Server, credential: &str) -> bool {
    s3.asked_with("authorization").iter().any(|header| header.contains(&format!("Credential={credential}/")))
}

fn was_signed_for(s3: &S3Server, region: &str) -> bool {
    s3.asked_with("authorization").iter().any(|header| header.contains(&format!("/{region}/s3/")))
}

/// A node whose settings name a bucket, and no credentials for it.
fn home(cluster: &Cluster, environment: &[(&str, &str)]) -> Home {
    let without = [("PIXERVE_SPOOL_ACCESS_KEY_ID", ""), ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", "")];
    cluster.home(&[&without, environment].concat())
}

/// Has it make a small job, from the upload to the files.
async fn works(node: &ServerProcess) {
    let status = node.done("somebody", small_job(), "photo.png", picture::png(300, 200, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
}

/// A file with this text in a directory of the test's.
fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::File::create(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .expect("written");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_of_the_environment_are_taken_for_the_bucket_and_for_no_store() {
    let Some(cluster) = Cluster::start().await else { return };
    let (key, secret) = (cluster.s3.access_key.clone(), cluster.s3.secret.clone());
    let environment = [("AWS_ACCESS_KEY_ID", &*key), ("AWS_SECRET_ACCESS_KEY", &secret), ("AWS_REGION", "eu-test-7")];
    let home = home(&cluster, &[&environment[..], &[NO_METADATA]].concat());
    let node = home.start().await;
    works(&node).await;
    assert!(used(&cluster.s3, &key) && was_signed_for(&cluster.s3, "eu-test-7"));
    let store = json!({ "type": "s3", "bucket": "nodes", "region": "eu-test-7", "endpoint": cluster.s3.endpoint });
    let refused = assert_problem(node.admin(Method::POST, "/register", Some(store)).await, 422, "invalid_fields");
    let named: Vec<_> = refused.await["errors"].as_array().expect("errors").clone();
    assert_eq!(
        named.iter().map(|error| &error["pointer"]).collect::<Vec<_>>(),
        ["/access_key_id", "/secret_access_key"]
    );
    drop(node);
    assert!(home.log().contains("bucket credentials are those of the AWS environment"), "{}", home.log());
    assert!(![home.log(), home.terminal()].concat().contains(&secret), "no log has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_gives_credentials_and_region() {
    let Some(cluster) = Cluster::start().await else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let credentials = format!(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n\n\
         [pixerve]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        cluster.s3.access_key, cluster.s3.secret
    );
    let credentials = file(dir.path(), "credentials", &credentials).display().to_string();
    let config = file(dir.path(), "config", "[profile pixerve]\nregion = eu-test-8\n").display().to_string();
    let environment = [
        ("AWS_PROFILE", "pixerve"),
        ("AWS_SHARED_CREDENTIALS_FILE", &*credentials),
        ("AWS_CONFIG_FILE", &config),
        NO_METADATA,
    ];
    let home = home(&cluster, &environment);
    works(&home.start().await).await;
    assert!(was_signed_for(&cluster.s3, "eu-test-8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_identity_is_exchanged_for_credentials() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.s3.let_in(LASTING.access_key, LASTING.secret);
    let dir = tempfile::tempdir().expect("a directory");
    let token = file(dir.path(), "token", "web-identity-of-the-pod").display().to_string();
    let sts = Scripted::start(|_, request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.contains("Action=AssumeRoleWithWebIdentity")
            && body.contains("WebIdentityToken=web-identity-of-the-pod")
        {
            LASTING.xml()
        } else {
            StatusCode::BAD_REQUEST.into_response()
        }
    })
    .await;
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pixerve"),
        ("AWS_ENDPOINT_URL_STS", &sts.endpoint),
        ("AWS_DEFAULT_REGION", "eu-test-9"),
        NO_METADATA,
    ];
    let home = home(&cluster, &environment);
    works(&home.start().await).await;
    assert!(LASTING.were_used(&cluster.s3) && was_signed_for(&cluster.s3, "eu-test-9"));
}

/// A container's service, which gives what `given` says to each request, told how many came before; none while it is away.
async fn container(given: impl Fn(usize) -> Option<Given> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |before, request| {
        if request.header("authorization") != Some("token-of-the-container") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        given(before).map_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response(), Given::json)
    })
    .await
}

fn of_container(url: &str) -> [(&str, &str); 3] {
    [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token-of-the-container"),
        NO_METADATA,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_a_container_are_renewed_before_they_expire() {
    let Some(cluster) = Cluster::start().await else { return };
    for Given { access_key, secret, .. } in [EXPIRING, LASTING] {
        cluster.s3.let_in(access_key, secret);
    }
    // The start asks once, and the first request to the bucket once more.
    let service = container(|before| Some(if before < 2 { EXPIRING } else { LASTING })).await;
    let url = format!("{}/credentials", service.endpoint);
    let home = home(&cluster, &of_container(&url));
    let node = home.start().await;
    assert!(EXPIRING.were_used(&cluster.s3), "{:?}", cluster.s3.asked_with("authorization"));
    works(&node).await;
    assert!(LASTING.were_used(&cluster.s3), "{:?}", cluster.s3.asked_with("authorization"));
    cluster.s3.shut_out(EXPIRING.access_key);
    works(&node).await;
    assert_eq!(service.asked().len(), 3, "those that last are not asked for at each request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_credentials_cannot_be_renewed_uploads_are_refused_for_now() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.s3.let_in(EXPIRING.access_key, EXPIRING.secret);
    let is_away = Arc::new(AtomicBool::new(false));
    let service = {
        let is_away = Arc::clone(&is_away);
        container(move |_| (!is_away.load(Ordering::Relaxed)).then_some(EXPIRING)).await
    };
    let url = format!("{}/credentials", service.endpoint);
    let home = home(&cluster, &of_container(&url));
    let node = home.start().await;
    is_away.store(true, Ordering::Relaxed);
    let token = Claims::of("somebody").job(small_job()).sign();
    let refused = node.upload(&token, "photo.png", picture::png(30, 20, 1)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    is_away.store(false, Ordering::Relaxed);
    works(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_asked_for_the_credentials_of_its_role() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.s3.let_in(LASTING.access_key, LASTING.secret);
    let asked_with_token = Arc::new(AtomicUsize::new(0));
    let metadata = {
        let asked_with_token = Arc::clone(&asked_with_token);
        Scripted::start(move |_, request| instance_metadata(request, &asked_with_token)).await
    };
    let home = home(&cluster, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint)]);
    works(&home.start().await).await;
    assert!(
        LASTING.were_used(&cluster.s3) && was_signed_for(&cluster.s3, "us-east-1"),
        "its region is not the store's"
    );
    assert!(asked_with_token.load(Ordering::Relaxed) > 0);
}

/// As version 2 of it answers: nothing without a token.
fn instance_metadata(request: &Request, asked_with_token: &AtomicUsize) -> Response {
    if (&request.method, request.uri.path()) == (&Method::PUT, "/latest/api/token") {
        return ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token-of-the-instance").into_response();
    }
    if request.header("x-aws-ec2-metadata-token") != Some("token-of-the-instance") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    asked_with_token.fetch_add(1, Ordering::Relaxed);
    match request.uri.path() {
        "/latest/meta-data/iam/security-credentials/" => "role-of-the-instance".into_response(),
        "/latest/meta-data/iam/security-credentials/role-of-the-instance" => LASTING.json(),
        "/latest/meta-data/placement/region" => "eu-test-10".into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_finds_no_credentials_ends_soon_and_says_where_it_looked() {
    let keys = tempfile::tempdir().expect("a directory");
    pixerve::app::keys(keys.path()).expect("keys are made");
    let sealing_keys = keys.path().join("vault.key").display().to_string();
    // Whoever connects is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback port");
    let silent = format!("http://{}", silent.local_addr().expect("address"));
    let home = Home::new(&[
        ("PIXERVE_QUEUE_URL", "redis://127.0.0.1:1"),
        ("PIXERVE_SPOOL_URL", "s3://nodes/spool"),
        ("PIXERVE_SPOOL_ENDPOINT", "http://127.0.0.1:1"),
        ("PIXERVE_VAULT_KEY_FILE", &sealing_keys),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &silent),
    ]);
    let began = Instant::now();
    let output = output(home.command(&["serve"])).await;
    assert!(began.elapsed() < WAIT_MAX, "it took {:?}", began.elapsed());
    let said = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat();
    assert!(!output.status.success(), "{said}");
    for word in [
        "spool.access_key_id",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "Environment",
        "Profile",
        "WebIdentityToken",
        "EcsContainer",
        "Ec2InstanceMetadata",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_runs_a_program_is_refused_in_words() {
    let Some(cluster) = Cluster::start().await else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let config = file(dir.path(), "config", "[default]\ncredential_process = /bin/false\n").display().to_string();
    let home = home(&cluster, &[("AWS_CONFIG_FILE", &config), NO_METADATA]);
    let output = output(home.command(&["serve"])).await;
    let said = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat();
    assert!(!output.status.success() && said.contains("credentials-process"), "{said}");
}
