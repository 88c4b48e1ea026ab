//! Stores that are nobody's imitation for tests: Ceph's S3 gateway, which checks signatures, policies and quotas by code of
//! its own, and the second emulator of Google Cloud Storage. What every store must do is tried on each; then what only such a
//! one does: it refuses for reasons of its own, freezes, dies and comes back.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, RgbImage};
use pixerve::bucket::BucketError;
use pixerve::clock::System;
use pixerve::job::{ContentHash, ServedArea, SubDir};
use pixerve::register::BucketRecords;
use pixerve::writer::{Body, Object, ProbeOutcome, StorageSettings, StoreTimeouts, WriterBackend};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::figure;
use crate::bucket::{self, bucket_of};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::ceph::Ceph;
use crate::harness::picture::jpeg;
use crate::harness::stores::{S3Client, fake_gcs};
use crate::register::records::keeps_its_promises;
use crate::writer::conformance::{Gcs, S3, assert_conforms, the_content_type_is_kept};

/// A store that is away is noticed soon, and tried again soon.
const QUICK: [(&str, &str); 4] = [
    ("PIXERVE_STORES_BACKOFF_MIN", "50ms"),
    ("PIXERVE_STORES_BACKOFF_MAX", "500ms"),
    ("PIXERVE_STORES_CONNECT_TIMEOUT", "1s"),
    ("PIXERVE_STORES_IDLE_TIMEOUT", "2s"),
];

fn writer_of(registration: &Value) -> Arc<dyn WriterBackend> {
    let seconds = Duration::from_secs;
    let timeouts = StoreTimeouts { connect_timeout: seconds(1), idle_timeout: seconds(2) };
    StorageSettings::from_request(registration).expect("valid").connect(&timeouts).expect("a client")
}

fn small_object(name: &str) -> Object {
    let bytes = b"a few bytes";
    Object {
        area: ServedArea::Public,
        sub_dir: SubDir::default(),
        name: name.to_owned(),
        media_type: "image/jpeg",
        sha256: ContentHash::of(bytes),
        body: Body::Bytes(bytes.as_slice().into()),
        trace: None,
    }
}

/// A picture of 30 MB, of pixels that nothing makes smaller.
fn large_picture() -> Vec<u8> {
    let mut state = 1_u32;
    let pixels = RgbImage::from_fn(3600, 2800, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, r, g, b] = state.to_be_bytes();
        image::Rgb([r, g, b])
    });
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(pixels).write_to(&mut file, ImageFormat::Bmp).expect("written");
    file.into_inner()
}

/// Every file that the status names is in the bucket, byte for byte.
async fn assert_whole(store: &S3Client, bucket: &str, status: &Value) -> usize {
    assert_eq!(status["state"], "completed", "{status}");
    let files = status["files"].as_array().expect("files");
    for file in files {
        let name = file["name"].as_str().expect("a name");
        let object = store.object(bucket, name).await.unwrap_or_else(|| panic!("{name} is not there: {status}"));
        assert_eq!(file["sha256"], ContentHash::of(&object.bytes).to_string(), "{name}");
    }
    files.len()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn ceph_does_what_every_store_must_and_refuses_in_its_own_words() {
    let Some(mut ceph) = Ceph::start().await else { return };
    let owner = ceph.create_user("owner", None);
    assert_conforms(async || S3::of(owner.clone()).await).await;
    the_content_type_is_kept(&S3::of(owner.clone()).await).await;
    owner.make_bucket("register").await;
    let records = BucketRecords::new(Arc::new(bucket_of(&owner, "register")), Arc::new(System::new()));
    keeps_its_promises(&records).await;

    // Signatures.
    owner.make_bucket("pictures").await;
    for (field, value, words) in [
        ("secret_access_key", "wrong-canary", "SignatureDoesNotMatch"),
        ("access_key_id", "nobody", "InvalidAccessKeyId"),
        ("bucket", "not-here", "NoSuchBucket"),
    ] {
        let mut registration = owner.registration("pictures");
        registration[field] = json!(value);
        let error = writer_of(&registration).put(&small_object("a.jpg")).await.expect_err("refused");
        assert!(error.detail.contains(words), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    // Policies: a guest that may write and not delete, then one that may do nothing.
    let guest = ceph.create_user("guest", None);
    let allow = |action: &str| {
        json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": ["arn:aws:iam:::user/guest"] }, "Action": [action],
            "Resource": ["arn:aws:s3:::pictures/*"]
        }] })
    };
    owner.set_policy("pictures", &allow("s3:PutObject")).await;
    let app = TestApp::start_with(&QUICK).await;
    let answer = app.admin(Method::POST, "/register?verify=true", Some(guest.registration("pictures"))).await;
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.expect("JSON");
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("AccessDenied")), "{answer}");
    owner.set_policy("pictures", &allow("s3:GetObject")).await;
    let refused = app.admin(Method::POST, "/register?verify=true", Some(guest.registration("pictures"))).await;
    let refused = assert_problem(refused, 422, "store_refused").await;
    let detail = refused["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("write `pixerve-probe-") && detail.contains("AccessDenied"), "{detail}");
    let outcome = writer_of(&owner.registration("pictures")).probe().await.expect("the owner may");
    assert!(matches!(outcome, ProbeOutcome::Deleted), "{outcome:?}");

    // A quota.
    let small = ceph.create_user("small", Some(2));
    small.make_bucket("full").await;
    let writer = writer_of(&small.registration("full"));
    for name in ["a.jpg", "b.jpg"] {
        writer.put(&small_object(name)).await.expect("there is room");
    }
    let error = writer.put(&small_object("c.jpg")).await.expect_err("full");
    assert!(error.detail.contains("QuotaExceeded"), "{error}");

    // A whole server, and an upload in parts.
    let original = large_picture();
    let key = app.register(owner.registration("pictures")).await;
    let job =
        json!({ "storageKeys": { "s3": key }, "keepOriginal": true, "formats": { "jpg": { "sizes": [[800], [80]] } } });
    let status = app.done("me", job, "large.bmp", original.clone()).await;
    assert_eq!(assert_whole(&owner, "pictures", &status).await, 3);
    figure(
        "real stores",
        format!(
            "Ceph: 11 of 11 facts, 6 refusals in its own words, an original of {} MB in parts",
            original.len() / 1_000_000
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn ceph_holds_the_bucket_of_many_nodes() {
    let Some(mut ceph) = Ceph::start().await else { return };
    let owner = ceph.create_user("owner", None);
    owner.make_bucket("pixerve").await;
    bucket::conformance::keeps_its_promises(&bucket::bucket_of(&owner, "pixerve")).await;
    let elsewhere = bucket::bucket_of(&owner, "not-here");
    for error in bucket::refusals::failures_of(&elsewhere).await {
        assert!(matches!(error, BucketError::Refused { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn jobs_outlast_a_ceph_that_freezes_or_dies() {
    let Some(mut ceph) = Ceph::start().await else { return };
    let owner = ceph.create_user("owner", None);
    owner.make_bucket("pictures").await;
    let app = TestApp::start_with(&QUICK).await;
    let key = app.register(owner.registration("pictures")).await;
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[60], [40], [20]] } } });
    let writer = writer_of(&owner.registration("pictures"));
    let mut files = 0;
    for (seed, signal) in [(1, Signal::STOP), (2, Signal::KILL)] {
        ceph.signal(signal);
        let accepted = app.accepted("me", job.clone(), "a.jpg", jpeg(80, 60, seed)).await;
        app.processing(&accepted).await;
        // The same store by our own client: away, for as long as its answer may take.
        writer.put(&small_object("probe.jpg")).await.expect_err("nobody answers");
        match signal {
            Signal::STOP => ceph.signal(Signal::CONT),
            _ => ceph.start_gateway().await,
        }
        files += assert_whole(&owner, "pictures", &app.ended(&accepted).await).await;
    }
    assert_eq!(files, 6);
    figure("real stores", "Ceph frozen, and killed and started again: 2 of 2 jobs completed, 6 files whole");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn the_emulator_in_go_does_what_every_store_must() {
    let Some((server, _running)) = fake_gcs().await else { return };
    assert_conforms(async || Gcs::of(server.clone()).await).await;
    figure("real stores", "fake-gcs-server: 10 of 10 facts");
}
