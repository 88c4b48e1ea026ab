//! What is the served bucket's alone: it is the operator's, so that no job is to blame for it.

use std::sync::Arc;

use pixerve::bucket::StoreTimeouts;
use pixerve::clock::System;
use pixerve::writer::{BucketServe, WriteErrorKind, WriterBackend};
use url::Url;

use super::object;
use super::scripted::{Scripted, s3_error};
use crate::bucket::{connect, settings};
use crate::harness::stores;

fn writer(endpoint: &Url, id: &str, secret: &str, bucket: &str) -> BucketServe {
    let settings = settings(endpoint, id, secret, bucket);
    BucketServe::new(&connect(&settings, &StoreTimeouts::default(), Arc::new(System::new())))
}

#[tokio::test]
async fn whatever_the_bucket_refuses_may_pass() {
    let server = stores::s3().await;
    server.create_bucket("pixerve");
    let (id, secret, endpoint) = (&server.access_key, &server.secret, &server.endpoint);
    for writer in [
        writer(endpoint, id, secret, "elsewhere"),
        writer(endpoint, "stranger", secret, "pixerve"),
        writer(endpoint, id, "canary-secret", "pixerve"),
    ] {
        for error in [
            writer.put(&object("", "a.jpg", "x")).await.expect_err("refused"),
            writer.probe().await.expect_err("refused"),
        ] {
            assert_eq!(error.kind, WriteErrorKind::Unavailable, "{error}");
            assert!(!format!("{error:?}").contains("canary-secret"), "{error:?}");
        }
    }
    for (status, code) in [(400, "InvalidRequest"), (404, "NoSuchBucket"), (405, "MethodNotAllowed"), (503, "SlowDown")]
    {
        let scripted = Scripted::start(move |_, _| s3_error(status, code, "on purpose")).await;
        let endpoint = Url::parse(&scripted.endpoint).expect("a URL");
        let error = writer(&endpoint, "id", "secret", "pixerve").put(&object("", "a.jpg", "x")).await.expect_err(code);
        assert_eq!(error.kind, WriteErrorKind::Unavailable, "{error}");
        assert!(error.what.contains("px/test/serve/a.jpg") && error.detail.contains("on purpose"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_served_is_not_stored() {
    let scripted = Scripted::start(|_, _| s3_error(500, "InternalError", "not to be asked")).await;
    let endpoint = Url::parse(&scripted.endpoint).expect("a URL");
    let writer = writer(&endpoint, "id", "secret", "pixerve");
    for name in [".hidden.jpg", "..", "a b.jpg", "a/b.jpg", ""] {
        let error = writer.put(&object("a", name, "x")).await.expect_err("refused");
        assert_eq!(error.kind, WriteErrorKind::Invalid, "{name}: {error}");
    }
    assert!(scripted.asked().is_empty());
}

#[tokio::test]
async fn files_lie_below_serve_with_their_type() {
    let server = stores::s3().await;
    server.create_bucket("pixerve");
    let writer = writer(&server.endpoint, &server.access_key, &server.secret, "pixerve");
    let stored = writer.put(&object("tenant/a", "b.jpg", "x")).await.expect("stored");
    assert_eq!((stored.backend.as_str(), stored.location.as_str()), ("directHost", "/files/tenant/a/b.jpg"));
    let found = server.object("pixerve", "px/test/serve/tenant/a/b.jpg").await.expect("there");
    assert_eq!((&found.bytes[..], found.content_type.as_deref()), (&b"x"[..], Some("image/jpeg")));
}
