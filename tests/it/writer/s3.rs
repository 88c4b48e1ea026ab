//! What is S3's alone.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use md5::{Digest, Md5};
use pixerve::job::ContentHash;
use pixerve::writer::{
    Deletion, ProbeOutcome, StorageSettings, StoreTimeouts, WriteError, WriteErrorKind, WriterBackend,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scripted::{Request, Scripted, s3_error, s3_yes};
use super::{TRACEPARENT, noise, object, object_in_file, traced};
use crate::harness::fault_proxy::{Asked, Fault, FaultProxy};
use crate::harness::stores;

const SECRET: &str = "canary-secret-9876543210";

fn writer_at(endpoint: &str) -> Arc<dyn WriterBackend> {
    let body = json!({
        "type": "s3", "bucket": "pics", "region": "test-1", "access_key_id": "id", "secret_access_key": SECRET,
        "endpoint": endpoint, "cache_control": "max-age=60"
    });
    StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client")
}

fn md5_of(request: &Request) -> String {
    hex::encode(Md5::digest(&request.body))
}

#[tokio::test]
async fn wrong_credentials_are_final_and_in_the_stores_words() {
    let server = stores::s3().await;
    server.create_bucket("pics");
    for (id, secret, words) in [
        (&*server.access_key, SECRET, "SignatureDoesNotMatch"),
        ("somebody-else", &*server.secret, "InvalidAccessKeyId"),
    ] {
        let mut body = server.registration("pics");
        body["access_key_id"] = json!(id);
        body["secret_access_key"] = json!(secret);
        let writer =
            StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client");
        for error in [
            writer.put(&object("", "a.jpg", "x")).await.expect_err("refused"),
            writer.probe().await.expect_err("refused"),
        ] {
            assert!(!error.is_transient() && error.detail.contains(words) && error.detail.contains("403"), "{error}");
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}

#[tokio::test]
async fn the_hash_of_the_body_is_signed_and_no_newer_checksum_is_sent() {
    let server = Scripted::start(|_, request| s3_yes(&md5_of(request))).await;
    let bytes = noise(300_000);
    writer_at(&server.endpoint).put(&object("t", "a.jpg", bytes.clone())).await.expect("stored");
    let asked = server.asked();
    let [request] = asked.as_slice() else { panic!("{} requests", asked.len()) };
    assert_eq!((request.method.as_str(), request.uri.path()), ("PUT", "/pics/t/a.jpg"));
    assert_eq!(request.body, bytes);
    assert_eq!(request.header("content-type"), Some("image/jpeg"));
    assert_eq!(request.header("x-amz-content-sha256"), Some(ContentHash::of(&bytes).to_string().as_str()));
    assert!(request.header("authorization").is_some_and(|v| v.starts_with("AWS4-HMAC-SHA256")));
    for (name, value) in &request.headers {
        let name = name.as_str();
        assert!(
            !name.contains("checksum") && name != "x-amz-trailer" && name != "content-encoding",
            "{name}: {value:?}"
        );
        assert!(!value.to_str().expect("ASCII").contains(SECRET), "{name}");
    }
}

#[tokio::test]
async fn the_longest_key_arrives_as_it_is() {
    let server = Scripted::start(|_, request| s3_yes(&md5_of(request))).await;
    let (sub_dir, name) = (["d".repeat(64), "e".repeat(64)].join("/"), super::longest_name());
    writer_at(&server.endpoint).put(&object(&sub_dir, &name, "x")).await.expect("stored");
    assert_eq!(server.asked()[0].uri.path(), format!("/pics/{sub_dir}/{name}"));
}

#[tokio::test]
async fn a_success_with_another_md5_is_an_error() {
    let server = Scripted::start(|_, _| s3_yes("00000000000000000000000000000000")).await;
    let error = writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(error.is_transient() && error.detail.contains("MD5"), "{error}");
}

#[tokio::test]
async fn an_etag_that_is_no_md5_is_not_compared() {
    for etag in ["0x8DCAFE", "00000000000000000000000000000000-1"] {
        let server = Scripted::start(move |_, _| s3_yes(etag)).await;
        writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect("stored");
    }
}

#[tokio::test]
async fn each_answer_is_final_or_transient_as_s3_means_it() {
    for (status, code, transient) in [
        (400, "InvalidArgument", false),
        (400, "RequestTimeout", true),
        (400, "BadDigest", true),
        (301, "PermanentRedirect", false),
        (403, "AccessDenied", false),
        (403, "RequestTimeTooSkewed", true),
        (404, "NoSuchBucket", false),
        (408, "Whatever", true),
        (409, "OperationAborted", true),
        (429, "TooManyRequests", true),
        (500, "InternalError", true),
        (503, "SlowDown", true),
    ] {
        let server = Scripted::start(move |_, _| s3_error(status, code, "its own words")).await;
        let error = writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect_err("refused");
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.detail.starts_with(&format!("{code}: its own words")), "{error}");
        assert!(error.detail.ends_with(&format!("(HTTP {status})")), "{error}");
        assert_eq!(server.asked().len(), 1, "the SDK itself tries once");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_s3s_is_told_by_its_status() {
    use axum::response::IntoResponse;
    for (status, transient) in [(403, false), (502, true)] {
        let page = format!("<html>{}</html>", "x".repeat(5000));
        let server = Scripted::start(move |_, _| {
            (http::StatusCode::from_u16(status).expect("a status"), page.clone()).into_response()
        })
        .await;
        let error = writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect_err("refused");
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.detail.contains(&status.to_string()) && error.detail.len() < 600, "{error}");
        assert!(error.detail.contains("unreadable answer") && error.detail.contains("<html>xxx"), "{error}");
    }
}

#[tokio::test]
async fn clocks_that_differ_are_both_told() {
    use axum::response::IntoResponse;
    let theirs = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Scripted::start(move |_, _| {
        let refusal = s3_error(403, "RequestTimeTooSkewed", "The difference is too large.");
        ([("date", theirs)], refusal).into_response()
    })
    .await;
    let error = writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(error.detail.contains(theirs) && error.detail.contains("this machine's clock says 2"), "{error}");
}

#[tokio::test]
async fn an_endpoint_may_have_a_path_with_or_without_a_final_slash() {
    for path in ["", "/", "/behind/here", "/behind/here/"] {
        let server = Scripted::start(|_, request| s3_yes(&md5_of(request))).await;
        let writer = writer_at(&format!("{}{path}", server.endpoint));
        writer.put(&object("t", "a.jpg", "x")).await.expect("stored");
        assert_eq!(server.asked()[0].uri.path(), format!("{}/pics/t/a.jpg", path.trim_end_matches('/')));
    }
}

type Probed = Result<ProbeOutcome, WriteError>;

/// A store that answers a probe's write, and its deletions, in this way: what comes of the probe, and what was asked.
async fn probed(answer: impl Fn(&Request, usize) -> Response + Send + Sync + 'static) -> (Probed, Vec<String>) {
    let server = Scripted::start(move |before, request| answer(request, before)).await;
    let outcome = writer_at(&server.endpoint).probe().await;
    let asked = server.asked();
    assert!(asked.iter().all(|request| request.uri.path() == asked[0].uri.path()), "one probe alone");
    (outcome, asked.iter().map(|request| request.method.to_string()).collect())
}

#[tokio::test]
async fn a_probe_says_which_of_writing_and_deleting_failed() {
    let (outcome, asked) = probed(|_, _| s3_error(403, "AccessDenied", "no")).await;
    let error = outcome.expect_err("refused");
    assert!(error.what.starts_with("write `pixerve-probe-") && error.detail.contains("AccessDenied"), "{error}");
    assert_eq!(asked, ["PUT"]);

    let (outcome, _) = probed(|request, _| match request.method.as_str() {
        "PUT" => s3_yes(&md5_of(request)),
        _ => s3_error(400, "InvalidArgument", "no"),
    })
    .await;
    let error = outcome.expect_err("refused");
    assert!(error.what.starts_with("delete `pixerve-probe-") && error.detail.contains("InvalidArgument"), "{error}");
}

#[tokio::test]
async fn a_key_that_may_only_write_is_good_enough() {
    let (outcome, asked) = probed(|request, _| match request.method.as_str() {
        "PUT" => s3_yes(&md5_of(request)),
        _ => s3_error(403, "AccessDenied", "no deleting here"),
    })
    .await;
    let Ok(ProbeOutcome::Kept(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.detail.contains("no deleting here"), "{why}");
    assert_eq!(asked, ["PUT", "DELETE"]);
}

#[tokio::test]
async fn a_probe_leaves_nothing_where_it_may_delete() {
    use axum::response::IntoResponse;
    // A deletion that fails for now is tried again,
    let (outcome, asked) = probed(|request, before| match (request.method.as_str(), before) {
        ("PUT", _) => s3_yes(&md5_of(request)),
        (_, 1) => s3_error(503, "SlowDown", "later"),
        _ => http::StatusCode::NO_CONTENT.into_response(),
    })
    .await;
    assert!(matches!(outcome, Ok(ProbeOutcome::Deleted)), "{outcome:?}");
    assert_eq!(asked, ["PUT", "DELETE", "DELETE"]);
    // and what may have arrived although its write failed is deleted too.
    for answer in [|| s3_error(500, "InternalError", "no"), || s3_yes("00000000000000000000000000000000")] {
        let (outcome, asked) = probed(move |request, _| match request.method.as_str() {
            "PUT" => answer(),
            _ => http::StatusCode::NO_CONTENT.into_response(),
        })
        .await;
        assert!(outcome.expect_err("not written").what.starts_with("write `"));
        assert_eq!(asked, ["PUT", "DELETE"]);
    }
}

#[tokio::test]
async fn a_success_without_an_etag_is_none() {
    use axum::response::IntoResponse;
    let server = Scripted::start(|_, _| "<html>Welcome to our network</html>".into_response()).await;
    let error = writer_at(&server.endpoint).put(&object("", "a.jpg", "x")).await.expect_err("no success");
    assert!(error.is_transient() && error.detail.contains("without the ETag"), "{error}");

    let dir = tempfile::tempdir().expect("temporary directory");
    let object = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(17 * 1024 * 1024));
    for (completed, words) in [
        ("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>", "without the ETag"),
        ("<html>Welcome to our network</html>", ""),
        ("", ""),
        (
            r#"<?xml version="1.0"?><Error><Code>InternalError</Code><Message>late</Message></Error>"#,
            "InternalError: late",
        ),
    ] {
        let server = multipart_completed(99, completed).await;
        let error = writer_at(&server.endpoint).put(&object).await.expect_err("no success");
        assert!(error.is_transient() && error.detail.contains(words), "{completed}: {error}");
        let last = server.asked().last().expect("asked").method.clone();
        assert_eq!(last, "DELETE", "aborted, since it may not have been completed");
    }
    // As Ceph says it.
    let empty = "<CompleteMultipartUploadResult><Key>a.jpg</Key><ETag></ETag></CompleteMultipartUploadResult>";
    let server = multipart_completed(99, empty).await;
    writer_at(&server.endpoint).put(&object).await.expect("stored");
}

/// Plays a whole multipart upload, but for the part numbers `refused`.
async fn multipart(refused: u32) -> Scripted {
    multipart_completed(refused, "<CompleteMultipartUploadResult><ETag>x-3</ETag></CompleteMultipartUploadResult>")
        .await
}

/// The same, with this answer to its completion.
async fn multipart_completed(refused: u32, completed: &'static str) -> Scripted {
    use axum::response::IntoResponse;
    Scripted::start(move |_, request| {
        let query = request.query();
        if query.contains("uploads") {
            return "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
                .into_response();
        }
        if query.contains(&format!("partNumber={refused}&")) || query.ends_with(&format!("partNumber={refused}")) {
            return s3_error(500, "InternalError", "not this one");
        }
        if request.method == "PUT" {
            return s3_yes(&md5_of(request));
        }
        completed.into_response()
    })
    .await
}

#[tokio::test]
async fn a_large_object_goes_in_parts_that_add_up() {
    let server = multipart(99).await;
    let dir = tempfile::tempdir().expect("temporary directory");
    let bytes = noise(20 * 1024 * 1024 + 7);
    let object = object_in_file(&dir.path().join("original"), "", "a.jpg", &bytes);
    writer_at(&server.endpoint).put(&object).await.expect("stored");
    let asked = server.asked();
    let begun = asked.first().expect("asked");
    assert_eq!((begun.method.as_str(), begun.header("content-type")), ("POST", Some("image/jpeg")));
    assert_eq!(begun.header("cache-control"), Some("max-age=60"), "as one that goes whole");
    let parts: Vec<_> = asked.iter().filter(|r| r.query().contains("partNumber")).collect();
    assert_eq!(parts.iter().map(|r| r.body.len() >> 20).collect::<Vec<_>>(), [8, 8, 4]);
    assert_eq!(parts.iter().flat_map(|r| r.body.to_vec()).collect::<Vec<_>>(), bytes);
    assert!(parts.iter().all(|r| r.header("x-amz-content-sha256") == Some(&*ContentHash::of(&r.body).to_string())));
    let completed = String::from_utf8(asked.last().expect("asked").body.to_vec()).expect("XML");
    assert!(parts.iter().all(|r| completed.contains(&md5_of(r))), "{completed}");
}

#[tokio::test]
async fn every_request_of_an_upload_tells_its_trace_beside_what_is_signed() {
    let (dir, server) = (tempfile::tempdir().expect("temporary directory"), multipart(3).await);
    let large = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(20 * 1024 * 1024));
    for object in [object("", "a.jpg", "x"), large] {
        // Of the large one, the third part is refused: it is begun, sent and aborted.
        let _ = writer_at(&server.endpoint).put(&traced(object)).await;
    }
    let asked = server.asked();
    let methods: Vec<_> = asked.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "POST", "PUT", "PUT", "PUT", "DELETE"]);
    for request in asked {
        assert_eq!(request.header("traceparent"), Some(TRACEPARENT), "{request:?}");
        assert_eq!(request.header("tracestate"), Some("shop=17"), "{request:?}");
        let signed = request.header("authorization").expect("signed");
        assert!(signed.contains("SignedHeaders=") && !signed.contains("trace"), "{signed}");
    }
}

#[tokio::test]
async fn an_upload_that_fails_half_way_is_aborted() {
    let server = multipart(2).await;
    let dir = tempfile::tempdir().expect("temporary directory");
    let object = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(20 * 1024 * 1024));
    let error = writer_at(&server.endpoint).put(&object).await.expect_err("refused");
    assert!(error.is_transient() && error.detail.contains("not this one"), "{error}");
    let asked: Vec<_> = server.asked().iter().map(|r| (r.method.to_string(), r.query().to_owned())).collect();
    let last = asked.last().expect("asked");
    assert!(last.0 == "DELETE" && last.1.contains("uploadId=u1"), "{asked:?}");
    assert_eq!(asked.iter().filter(|(method, _)| method == "POST").count(), 1, "begun, never completed: {asked:?}");
}

#[tokio::test]
async fn a_large_body_that_is_not_what_it_says_is_aborted() {
    let server = multipart(99).await;
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut object = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(17 * 1024 * 1024));
    object.sha256 = ContentHash::of(b"something else");
    let error = writer_at(&server.endpoint).put(&object).await.expect_err("refused");
    assert!(!error.is_transient(), "{error}");
    assert_eq!(server.asked().last().expect("asked").method, "DELETE");
}

/// A multipart upload of which the request that `stalls` is never answered, cancelled as soon as it is asked for: how
/// long that took, and what else was asked.
async fn cancelled_at(stalls: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> (Duration, Vec<String>) {
    let server = multipart(99).await;
    let proxy = FaultProxy::start(server.endpoint[7..].parse().expect("an address")).await;
    let stop = CancellationToken::new();
    let fired = stop.clone();
    proxy.script(move |asked| {
        if stalls(asked) {
            fired.cancel();
            return Fault::StallReplyAfter(0);
        }
        Fault::Pass
    });
    let dir = tempfile::tempdir().expect("temporary directory");
    let object = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(20 * 1024 * 1024));
    let writer = writer_at(&proxy.endpoint());
    let began = Instant::now();
    let error = writer.put_until(&object, &stop).await.expect_err("cancelled");
    assert!(error.is_transient() && error.detail.contains("cancelled"), "{error}");
    (began.elapsed(), server.asked().iter().map(|r| format!("{} {}", r.method, r.query())).collect())
}

#[tokio::test]
async fn a_cancelled_multipart_upload_is_aborted() {
    for stalls in [
        |asked: &Asked| asked.target.contains("partNumber=2"),
        |asked: &Asked| asked.method == "POST" && !asked.target.contains("uploads"),
    ] {
        let (took, asked) = cancelled_at(stalls).await;
        // Not last: what was on its way already may come in after it, and finds no upload any more.
        let aborted = asked.iter().any(|asked| asked.starts_with("DELETE") && asked.contains("uploadId=u1"));
        assert!(aborted, "{asked:?}");
        assert!(took < Duration::from_secs(20), "{took:?}, though a request may take 35 s");
    }
}

#[tokio::test]
async fn a_store_that_does_not_even_abort_is_not_waited_for() {
    for stalls in [|asked: &Asked| asked.number >= 2, |_: &Asked| true] {
        let (took, _) = cancelled_at(stalls).await;
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}

#[tokio::test]
async fn a_bucket_with_versions_says_so_and_is_given_no_second_mark() {
    let headers = |pairs: &[(&'static str, &'static str)], status: u16| {
        let mut response = axum::http::Response::builder().status(status);
        for (name, value) in pairs {
            response = response.header(*name, *value);
        }
        response.body(axum::body::Body::empty()).expect("a response")
    };
    let version = [("x-amz-version-id", "v1"), ("etag", "\"e\""), ("content-length", "1")];
    let marked = [("x-amz-version-id", "v2"), ("x-amz-delete-marker", "true")];
    let server = Scripted::start(move |before, request| match (before, request.method.as_str()) {
        (0, "HEAD") => headers(&version, 200),
        (1, "DELETE") => headers(&marked, 204),
        (2, "HEAD") => headers(&marked, 404),
        other => panic!("{other:?} was not to be asked"),
    })
    .await;
    let writer = writer_at(&server.endpoint);
    for was_there in [true, false] {
        let deleted = writer.delete("s3://pics/t/a.jpg").await.expect("deleted");
        assert_eq!(deleted, Deletion { was_there, keeps_versions: true });
    }
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn whoever_may_delete_but_not_look_can_delete() {
    let server = Scripted::start(|_, request| match request.method.as_str() {
        "HEAD" => s3_error(403, "AccessDenied", "no"),
        _ => StatusCode::NO_CONTENT.into_response(),
    })
    .await;
    let deleted = writer_at(&server.endpoint).delete("s3://pics/a.jpg").await.expect("deleted");
    assert_eq!(deleted, Deletion { was_there: true, keeps_versions: false });
}

#[tokio::test]
async fn what_is_not_deleted_is_an_error_that_says_whether_it_may_pass() {
    for (status, code, kind) in [
        (403, "AccessDenied", WriteErrorKind::Refused),
        (404, "NoSuchBucket", WriteErrorKind::Refused),
        (500, "InternalError", WriteErrorKind::Unavailable),
        (503, "SlowDown", WriteErrorKind::Unavailable),
    ] {
        let server = Scripted::start(move |_, _| s3_error(status, code, "on purpose")).await;
        let writer = writer_at(&server.endpoint);
        let error = writer.delete("s3://pics/t/a.jpg").await.expect_err(code);
        assert!(error.kind == kind && error.what.contains("delete `t/a.jpg`"), "{code}: {error:?}");
        let error = writer.get("s3://pics/t/a.jpg", 1).await.expect_err(code);
        assert!(error.kind == kind && error.what.contains("get `t/a.jpg`"), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn an_object_that_breaks_off_is_no_object() {
    let server = stores::s3().await;
    server.create_bucket("pics");
    let writer = |endpoint: &str| {
        let mut body = server.registration("pics");
        body["endpoint"] = json!(endpoint);
        StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client")
    };
    writer(server.endpoint.as_str()).put(&object("", "a.jpg", noise(300_000))).await.expect("stored");
    let upstream = server.endpoint.socket_addrs(|| None).expect("an address")[0];
    let proxy = FaultProxy::start(upstream).await;
    proxy.script(|_| Fault::ResetReplyAfter(100_000));
    let mut bytes = writer(&proxy.endpoint()).get("s3://pics/a.jpg", 1 << 20).await.expect("its head");
    let error = loop {
        match bytes.chunk().await {
            Ok(piece) => assert!(piece.is_some(), "it has no end"),
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error}");
}
