//! What the bucket says when it can't, or won't.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pixerve::bucket::{Bucket, BucketError, StoreTimeouts};
use pixerve::clock::{Manual, SharedClock, System, Timestamp};
use url::Url;

use super::{bucket_of, connect, settings};
use crate::harness::stores;
use crate::writer::scripted::{Scripted, s3_error};

fn client(endpoint: &str, clock: SharedClock) -> Bucket {
    let timeouts = StoreTimeouts { connect_timeout: Duration::from_millis(500), idle_timeout: Duration::from_secs(5) };
    let endpoint = Url::parse(endpoint).expect("a URL");
    connect(&settings(&endpoint, "id", "canary-secret", "pixerve"), &timeouts, clock)
}

/// Every call, each of which must fail.
pub(crate) async fn failures_of(bucket: &Bucket) -> Vec<BucketError> {
    vec![
        bucket.put("a", Bytes::from_static(b"x")).await.expect_err("put"),
        bucket.get("a", 9).await.expect_err("get"),
        bucket.get_range("a", 0..1).await.expect_err("range"),
        bucket.head("a").await.expect_err("head"),
        bucket.list("", None).await.expect_err("list"),
        bucket.delete("a").await.expect_err("delete"),
        bucket.delete_all(&["a".to_owned()]).await.expect_err("delete"),
        bucket.copy("a", "b").await.expect_err("copy"),
        bucket.probe().await.expect_err("probe"),
    ]
}

#[tokio::test]
async fn a_bucket_that_is_not_there_or_refuses_is_never_taken_for_a_missing_object() {
    let server = stores::s3().await;
    server.create_bucket("pixerve");
    let clock: SharedClock = Arc::new(System::new());
    let stranger = client(server.endpoint.as_str(), clock);
    for bucket in [bucket_of(&server, "elsewhere"), stranger] {
        for error in failures_of(&bucket).await {
            assert!(matches!(error, BucketError::Refused { .. }) && !error.may_pass(), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("canary-secret"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_away_or_overloaded_may_come_back() {
    let overloaded = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let clock: SharedClock = Arc::new(System::new());
    for endpoint in [overloaded.endpoint.clone(), format!("http://{nobody}")] {
        for error in failures_of(&client(&endpoint, Arc::clone(&clock))).await {
            assert!(matches!(error, BucketError::Unavailable { .. }) && error.may_pass(), "{error:?}");
        }
    }
}

#[tokio::test]
async fn the_last_probe_is_told_with_its_age_and_without_asking() {
    let server = stores::s3().await;
    server.create_bucket("pixerve");
    let clock = Arc::new(Manual::at(Timestamp::from_millis(1_750_000_000_000)));
    let connection = settings(&server.endpoint, &server.access_key, &server.secret, "pixerve");
    let bucket = connect(&connection, &StoreTimeouts::default(), clock.clone());
    assert!(bucket.last_probe().is_none());
    bucket.probe().await.expect("well");
    clock.advance(Duration::from_secs(20));
    server.stop().await;
    let last = bucket.last_probe().expect("probed");
    assert_eq!((last.has_failed, last.age), (false, Duration::from_secs(20)));
    bucket.probe().await.expect_err("nobody is there");
    let last = bucket.last_probe().expect("probed");
    assert!(last.has_failed && last.age.is_zero(), "{last:?}");
}
