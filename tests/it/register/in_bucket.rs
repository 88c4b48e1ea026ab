//! The register in a bucket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use pixerve::app::webhook_secret;
use pixerve::auth::UserKeys;
use pixerve::bucket::{Bucket, StoreTimeouts};
use pixerve::clock::{Clock, Manual, SharedClock, System, Timestamp};
use pixerve::config::Config;
use pixerve::job::{BackendKind, SealedText};
use pixerve::register::{
    BucketRecords, BucketSecrets, KeptWebhookSecret, KnownVersions, RegisterError, SealedRecords, Sealer,
};
use secrecy::ExposeSecret;
use url::Url;

use super::records::{keeps_its_promises, keeps_secrets};
use super::shared::{
    Shared, a_deregistered_key_is_refused_by_every_node, a_name_is_given_away_once,
    what_one_node_changes_the_others_know,
};
use super::{CANARY, bucket};
use crate::bucket::{bucket_of, connect, settings};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::stores::{self, S3Client, S3Server};
use crate::writer::scripted::Scripted;

const BUCKET: &str = "pixerve";

/// A bucket that is waited for as long as a test may.
fn impatient(user: &S3Client, endpoint: &str) -> Arc<Bucket> {
    let timeouts = StoreTimeouts { connect_timeout: Duration::from_secs(2), idle_timeout: Duration::from_secs(5) };
    let settings = settings(&Url::parse(endpoint).expect("a URL"), &user.access_key, &user.secret, BUCKET);
    Arc::new(connect(&settings, &timeouts, Arc::new(System::new())))
}

async fn server() -> S3Server {
    let server = stores::s3().await;
    server.create_bucket(BUCKET);
    server
}

fn shared_in(bucket: &Arc<Bucket>) -> Shared {
    let records = BucketRecords::new(Arc::clone(bucket), Arc::new(System::new()));
    Shared::with(Arc::new(records), Arc::new(BucketSecrets::new(Arc::clone(bucket))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_records_and_secrets() {
    let server = server().await;
    let bucket = Arc::new(bucket_of(&server, BUCKET));
    keeps_its_promises(&BucketRecords::new(Arc::clone(&bucket), Arc::new(System::new()))).await;
    keeps_secrets(&BucketSecrets::new(bucket)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_change_one_register_in_a_bucket_together() {
    let server = server().await;
    let shared = shared_in(&Arc::new(bucket_of(&server, BUCKET)));
    a_name_is_given_away_once(&shared).await;
    what_one_node_changes_the_others_know(&shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_deregistered_in_a_bucket_is_refused_by_every_node() {
    let server = server().await;
    a_deregistered_key_is_refused_by_every_node(&shared_in(&Arc::new(bucket_of(&server, BUCKET)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_has_an_object_each_and_nothing_in_the_clear() {
    let server = server().await;
    let shared = shared_in(&Arc::new(bucket_of(&server, BUCKET)));
    let a = shared.node("a").await.register;
    let user = a.register_user(CANARY).await.expect("registered").access_key;
    let store = a.register_store(bucket(Some(CANARY))).await.expect("registered");
    let keys: BTreeSet<_> = server.keys(BUCKET).await.into_iter().collect();
    let expected =
        [format!("register/{user}"), format!("register/{store}"), "register-secrets/installation".to_owned()];
    assert_eq!(keys, expected.map(|key| format!("px/test/{key}")).into());
    for key in keys {
        let object = server.object(BUCKET, &key).await.expect("listed");
        let text = String::from_utf8(object.bytes).expect("base64");
        assert!(!text.contains(CANARY) && !text.contains("shop"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_whose_bucket_is_away_serves_what_it_knew_and_refuses_changes() {
    let server = server().await;
    let upstream = *server.endpoint.socket_addrs(|| None).expect("an address").first().expect("one");
    let mut proxy = FaultProxy::start(upstream).await;
    let shared = shared_in(&impatient(&server, &proxy.endpoint()));
    let a = shared.node("a").await.register;
    let user = a.register_user("shop").await.expect("registered");
    let store = a.register_store(bucket(None)).await.expect("registered");
    proxy.refuse().await;
    for error in [
        a.register_user("other").await.expect_err("away"),
        a.deregister(&store).await.expect_err("away"),
        a.reload().await.expect_err("away"),
        a.find_usable("pxs_unknown", BackendKind::S3, None).await.map(|_| ()).expect_err("it can't be said"),
    ] {
        assert!(matches!(error, RegisterError::Bucket(_)), "{error}");
    }
    assert!(a.user_key(&user.access_key).is_some() && a.may_use(&store, BackendKind::S3, None));
    proxy.accept_again().await;
    assert!(a.deregister(&store).await.expect("it is back"));
    a.register_user("other").await.expect("it is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_bucket_does_not_answer_once_is_made_again() {
    let server = server().await;
    let upstream = *server.endpoint.socket_addrs(|| None).expect("an address").first().expect("one");
    let proxy = FaultProxy::start(upstream).await;
    let shared = shared_in(&impatient(&server, &proxy.endpoint()));
    proxy.script(|asked| match asked.number % 2 {
        0 => Fault::s3_error(503, "SlowDown"),
        _ => Fault::Pass,
    });
    let a = shared.node("a").await.register;
    let user = a.register_user("shop").await.expect("registered");
    assert!(a.deregister(&user.access_key).await.expect("no fault"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_and_renews_what_all_nodes_sign_with() {
    let server = server().await;
    let shared = shared_in(&Arc::new(bucket_of(&server, BUCKET)));
    let key_file = shared.keys.path().join("vault.key");
    let sealer = Arc::new(Sealer::open(&key_file).expect("keys"));
    let node = shared.peers.node("a");
    let secret =
        KeptWebhookSecret::open_or_make(Arc::clone(&shared.secrets), sealer, Some(&*node)).await.expect("made");
    let newest = || secret.good_at(System::new().now())[0].text().expose_secret().to_owned();

    let mut config = Config { vault_key_file: Some(key_file), ..Config::default() };
    config.spool.bucket = settings(&server.endpoint, &server.access_key, &server.secret, BUCKET);
    let shown = webhook_secret(&config, false).await.expect("there is one");
    assert_eq!(shown.expose_secret(), newest());
    let renewed = webhook_secret(&config, true).await.expect("renewed");
    secret.reload().await.expect("read again");
    assert_eq!(renewed.expose_secret(), newest());
    assert_ne!(renewed.expose_secret(), shown.expose_secret());
    assert_eq!(secret.good_at(System::new().now()).len(), 2, "both sign for a day");
}

/// A list in which the one record was written at `written`, when the bucket's clock says `now`.
fn listed(now: &str, written: &str) -> axum::response::Response {
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>px/test/register/pxu_a</Key>\
         <LastModified>{written}</LastModified><Size>4</Size></Contents></ListBucketResult>"
    );
    (StatusCode::OK, [("content-type", "application/xml"), ("date", now)], body).into_response()
}

#[tokio::test]
async fn a_record_is_read_again_only_if_it_may_have_been_written_since() {
    // Each list, and whether the record is read after it.
    let steps = [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:35.000Z", true),
        // It was so young that it may have been written again at once.
        ("Sun, 06 Nov 1994 08:50:37 GMT", "1994-11-06T08:49:35.000Z", true),
        ("Sun, 06 Nov 1994 08:51:37 GMT", "1994-11-06T08:49:35.000Z", false),
        ("Sun, 06 Nov 1994 08:52:37 GMT", "1994-11-06T08:51:59.000Z", true),
        ("Sun, 06 Nov 1994 08:53:37 GMT", "1994-11-06T08:51:59.000Z", false),
    ];
    let lists = Arc::new(std::sync::Mutex::new(Vec::from(steps)));
    let script = Arc::clone(&lists);
    let server = Scripted::start(move |_, request| {
        let lists = script.lock().expect("not poisoned");
        let (now, written, _) = lists[0];
        if request.query().contains("list-type=2") {
            return listed(now, written);
        }
        let headers = [("date", now), ("last-modified", "Sun, 06 Nov 1994 08:49:35 GMT"), ("etag", "\"e\"")];
        (StatusCode::OK, headers, "text").into_response()
    })
    .await;
    // Our own clock says something else, and goes as fast.
    let clock = Arc::new(Manual::at(Timestamp::from_millis(1_767_225_600_000)));
    let url = Url::parse(&server.endpoint).expect("a URL");
    let bucket = connect(&settings(&url, "id", "secret", BUCKET), &StoreTimeouts::default(), clock.clone());
    let records = BucketRecords::new(Arc::new(bucket), Arc::clone(&clock) as SharedClock);
    let mut seen = KnownVersions::new();
    for (step, (_, _, is_read)) in steps.into_iter().enumerate() {
        let before = server.asked().len();
        let changes = records.changes(&seen).await.expect("read");
        assert_eq!(server.asked().len() - before, 1 + usize::from(is_read), "step {step}");
        for record in changes.written {
            assert_eq!(record.text, SealedText("text".to_owned()));
            seen.insert(record.access_key, record.version);
        }
        clock.advance(Duration::from_mins(1));
        let mut lists = lists.lock().expect("not poisoned");
        if lists.len() > 1 {
            lists.remove(0);
        }
    }
}
