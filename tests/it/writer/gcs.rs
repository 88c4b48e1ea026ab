//! What is Google Cloud Storage's alone.

use std::convert::Infallible;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::StatusCode;
use pixerve::job::ContentHash;
use pixerve::writer::{Deletion, ProbeOutcome, StorageSettings, StoreTimeouts, WriteErrorKind, WriterBackend};
use serde_json::{Value, json};

use super::scripted::{Request, Scripted};
use super::{TRACEPARENT, noise, object, object_in_file, traced};

const ADDRESS: &str = "pixerve@test.iam.gserviceaccount.com";

fn service_account() -> Value {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = key.as_der().expect("PKCS#8");
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()));
    // No one may be asked for a token: `token_uri` leads nowhere.
    json!({
        "type": "service_account", "client_email": ADDRESS, "private_key_id": "key-1", "project_id": "test",
        "private_key": pem, "token_uri": "http://127.0.0.1:1/token"
    })
}

fn writer_at(endpoint: &str, credentials: &Value) -> Arc<dyn WriterBackend> {
    let body = json!({"type": "gcs", "bucket": "pics", "endpoint": endpoint, "credentials": credentials});
    StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client")
}

fn google_error(status: u16, message: &str) -> Response {
    let body = json!({"error": {"code": status, "message": message, "errors": [{"reason": "x"}]}}).to_string();
    (StatusCode::from_u16(status).expect("a status"), body).into_response()
}

/// The parts of an upload.
async fn parts(request: &Request) -> Vec<Bytes> {
    let content_type = request.header("content-type").expect("a content type");
    let boundary = content_type.strip_prefix("multipart/related; boundary=").expect("parts");
    let body = futures_util::stream::iter([Ok::<_, Infallible>(request.body.clone())]);
    let mut form = multer::Multipart::new(body, boundary);
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().await.expect("a part") {
        parts.push(part.bytes().await.expect("its bytes"));
    }
    parts
}

#[tokio::test]
async fn wrong_credentials_are_final_and_in_the_stores_words() {
    let server = Scripted::start(|_, _| google_error(401, "Invalid Credentials")).await;
    let account = service_account();
    let error = writer_at(&server.endpoint, &account).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(!error.is_transient(), "{error}");
    assert_eq!(error.detail, "Invalid Credentials (HTTP 401)");

    let asked = server.asked();
    let token = asked[0].header("authorization").and_then(|v| v.strip_prefix("Bearer ")).expect("a bearer token");
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    assert_eq!(claims["iss"], ADDRESS);
    assert!(claims["scope"].as_str().is_some_and(|s| s.ends_with("devstorage.read_write")));
    let shown = format!("{error} {error:?}");
    for secret in [token, &account["private_key"].as_str().expect("PEM")[30..60]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_final_and_not_shown() {
    let server = Scripted::start(|_, _| StatusCode::OK.into_response()).await;
    let mut account = service_account();
    account["private_key"] = json!("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n");
    let error = writer_at(&server.endpoint, &account).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(!error.is_transient(), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn each_answer_is_final_or_transient_as_google_means_it() {
    for (status, transient) in
        [(400, false), (302, false), (403, false), (404, false), (408, true), (429, true), (503, true)]
    {
        let server = Scripted::start(move |_, _| google_error(status, "its own words")).await;
        let error =
            writer_at(&server.endpoint, &Value::Null).put(&object("", "a.jpg", "x")).await.expect_err("refused");
        assert_eq!(error.is_transient(), transient, "{error}");
        assert_eq!(error.detail, format!("its own words (HTTP {status})"));
        let asked = server.asked();
        assert_eq!(asked.len(), 1, "one try, no redirect followed");
        assert_eq!(asked[0].header("authorization"), None, "nobody's token for an emulator");
    }
}

#[tokio::test]
async fn a_success_with_another_checksum_is_an_error() {
    for (answer, words) in [(json!({"crc32c": "AAAAAA=="}).to_string(), "other bytes"), ("<html>".to_owned(), "")] {
        let server = Scripted::start(move |_, _| answer.clone().into_response()).await;
        let error =
            writer_at(&server.endpoint, &Value::Null).put(&object("", "a.jpg", "x")).await.expect_err("refused");
        assert!(error.is_transient() && error.detail.contains(words), "{error}");
        assert_eq!(server.asked().len(), 1, "the client itself tries once");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_googles_is_told_by_its_status() {
    for (status, transient) in [(403, false), (502, true)] {
        let server = Scripted::start(move |_, _| {
            (StatusCode::from_u16(status).expect("a status"), "<html>nothing here</html>").into_response()
        })
        .await;
        let error =
            writer_at(&server.endpoint, &Value::Null).put(&object("", "a.jpg", "x")).await.expect_err("refused");
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.detail.starts_with("an unreadable answer"), "{error}");
        assert!(error.detail.ends_with(&format!("<html>nothing here</html> (HTTP {status})")), "{error}");
    }
}

#[tokio::test]
async fn the_store_is_told_name_type_and_hash_before_the_bytes() {
    let server = Scripted::start(|_, _| json!({}).to_string().into_response()).await;
    writer_at(&server.endpoint, &Value::Null).put(&object("t", "a.jpg", "x")).await.expect("stored");
    let asked = server.asked();
    assert_eq!(asked[0].uri.path(), "/upload/storage/v1/b/pics/o");
    assert_eq!(asked[0].query(), "uploadType=multipart&name=t%2Fa.jpg");
    let parts = parts(&asked[0]).await;
    assert_eq!(parts.len(), 2, "emulators know no third one");
    let metadata: Value = serde_json::from_slice(&parts[0]).expect("JSON");
    assert_eq!(metadata, json!({"contentType": "image/jpeg", "crc32c": "qTxfkw=="}));
    assert_eq!(parts[1], "x");
}

#[tokio::test]
async fn an_upload_tells_its_trace_and_the_next_one_has_none_of_it() {
    let server = Scripted::start(|_, _| json!({}).to_string().into_response()).await;
    let writer = writer_at(&server.endpoint, &Value::Null);
    for object in [traced(object("t", "a.jpg", "x")), object("t", "b.jpg", "x")] {
        writer.put(&object).await.expect("stored");
    }
    let asked = server.asked();
    assert_eq!(asked[0].header("traceparent"), Some(TRACEPARENT));
    assert_eq!(asked[0].header("tracestate"), Some("shop=17"));
    assert_eq!(asked[1].header("traceparent"), None);
}

#[tokio::test]
async fn a_large_object_goes_out_in_one_request() {
    let server = Scripted::start(|_, _| json!({}).to_string().into_response()).await;
    let bytes = noise(9 * 1024 * 1024);
    writer_at(&server.endpoint, &Value::Null).put(&object("", "a.jpg", bytes.clone())).await.expect("stored");
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(parts(&asked[0]).await[1] == bytes);
}

#[tokio::test]
async fn bytes_that_are_not_the_promised_ones_are_not_even_sent() {
    let server = Scripted::start(|_, _| json!({}).to_string().into_response()).await;
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut object = object_in_file(&dir.path().join("original"), "", "a.jpg", b"x");
    object.sha256 = ContentHash::of(b"y");
    let error = writer_at(&server.endpoint, &Value::Null).put(&object).await.expect_err("refused");
    assert!(!error.is_transient() && error.detail.contains("SHA-256"), "{error}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn an_endpoint_may_have_a_path_with_or_without_a_final_slash() {
    for path in ["/behind/here", "/behind/here/"] {
        let server = Scripted::start(|_, _| json!({}).to_string().into_response()).await;
        let writer = writer_at(&format!("{}{path}", server.endpoint), &Value::Null);
        writer.put(&object("t", "a.jpg", "x")).await.expect("stored");
        writer.probe().await.expect("good");
        let asked: Vec<_> = server.asked().iter().map(|request| request.uri.path().to_owned()).collect();
        assert_eq!(asked[..2], ["/behind/here/upload/storage/v1/b/pics/o"; 2]);
        assert!(asked[2].starts_with("/behind/here/storage/v1/b/pics/o/pixerve-probe-"), "{asked:?}");
    }
}

#[tokio::test]
async fn a_probe_that_may_not_delete_says_so() {
    let server = Scripted::start(|before, _| match before {
        0 => json!({}).to_string().into_response(),
        _ => google_error(403, "storage.objects.delete denied"),
    })
    .await;
    let outcome = writer_at(&server.endpoint, &Value::Null).probe().await.expect("it may write");
    let ProbeOutcome::Kept(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.what.starts_with("delete `") && error.detail.contains("delete denied"), "{error}");
    let asked = server.asked();
    assert_eq!(asked[1].method, "DELETE");
    assert!(asked[1].uri.path().starts_with("/storage/v1/b/pics/o/pixerve-probe-"), "{}", asked[1].uri);
}

#[tokio::test]
async fn a_token_that_the_store_no_longer_takes_is_replaced_once() {
    let server = Scripted::start(|before, _| match before {
        0 => google_error(401, "Token expired"),
        _ => google_error(403, "Forbidden"),
    })
    .await;
    let writer = writer_at(&server.endpoint, &service_account());
    let error = writer.put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert_eq!(error.detail, "Forbidden (HTTP 403)", "it was asked again, with the whole object");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(parts(&asked[1]).await[1], "x");
    assert!(asked.iter().all(|request| request.header("authorization").is_some_and(|v| v.starts_with("Bearer "))));

    writer.put(&object("", "b.jpg", "x")).await.expect_err("refused");
    assert_eq!(server.asked().len(), 3, "the new session is kept");
}

#[tokio::test]
async fn a_bucket_that_keeps_what_is_deleted_is_asked_once_and_says_so() {
    for (facts, keeps_versions) in [
        (json!({}), false),
        (json!({"versioning": {"enabled": true}}), true),
        (json!({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}), true),
        (json!({"versioning": {"enabled": false}, "softDeletePolicy": {"retentionDurationSeconds": "0"}}), false),
    ] {
        let said = facts.to_string();
        let server = Scripted::start(move |_, request| match request.method.as_str() {
            "GET" => said.clone().into_response(),
            _ => StatusCode::NO_CONTENT.into_response(),
        })
        .await;
        let writer = writer_at(&server.endpoint, &Value::Null);
        for name in ["a", "b"] {
            let deleted = writer.delete(&format!("gs://pics/t/{name}.jpg")).await.expect("deleted");
            assert_eq!(deleted, Deletion { was_there: true, keeps_versions }, "{facts}");
        }
        let asked: Vec<_> = server.asked().iter().map(|asked| asked.uri.path().to_owned()).collect();
        let objects = ["/storage/v1/b/pics/o/t%2Fa.jpg", "/storage/v1/b/pics/o/t%2Fb.jpg"];
        assert_eq!(asked, ["/storage/v1/b/pics", objects[0], objects[1]]);
    }
}

#[tokio::test]
async fn whoever_may_not_look_at_the_bucket_can_delete_and_a_missing_bucket_is_no_missing_object() {
    let answers = |status: u16, message: &'static str| {
        move |_: usize, request: &Request| match request.uri.path() {
            "/storage/v1/b/pics" => google_error(403, "storage.buckets.get denied"),
            _ => google_error(status, message),
        }
    };
    for (status, message, kind) in [
        (404, "No such object: pics/a.jpg", None),
        (404, "The specified bucket does not exist.", Some(WriteErrorKind::Refused)),
        (403, "storage.objects.delete denied", Some(WriteErrorKind::Refused)),
        (503, "later", Some(WriteErrorKind::Unavailable)),
    ] {
        let server = Scripted::start(answers(status, message)).await;
        let writer = writer_at(&server.endpoint, &Value::Null);
        let deleted = writer.delete("gs://pics/a.jpg").await;
        assert_eq!(deleted.as_ref().err().map(|error| error.kind), kind, "{message}: {deleted:?}");
        assert!(deleted.is_err() || deleted.is_ok_and(|deleted| !deleted.was_there && !deleted.keeps_versions));
        let error = writer.get("gs://pics/a.jpg", 1).await.expect_err("nothing is there");
        assert_eq!(error.kind, kind.unwrap_or(WriteErrorKind::Missing), "{error}");
    }
}

#[tokio::test]
async fn a_deletion_too_replaces_a_token_that_is_no_longer_taken() {
    let server = Scripted::start(|before, request| match (before, request.method.as_str()) {
        (0, _) => google_error(401, "Token expired"),
        (_, "GET") => json!({}).to_string().into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    })
    .await;
    let deleted = writer_at(&server.endpoint, &service_account()).delete("gs://pics/a.jpg").await.expect("deleted");
    assert!(deleted.was_there);
    assert_eq!(server.asked().len(), 3);
}
