//! `POST /upload` refused: each way, by its code, and nothing is left behind.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, files_below, poll_delay, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::token::{Claims, now};

async fn refused(app: &TestApp, job: Value, bytes: Vec<u8>) -> Response {
    app.upload(&Claims::of("me").job(job).sign(), "a.jpg", bytes).await
}

/// Refused uploads are deleted behind the answer.
pub(super) async fn assert_nothing_is_left(app: &TestApp) {
    for _ in 0..6_000 {
        if files_below(&app.data_dir().join("spool")).is_empty() {
            assert_eq!(files_below(&app.serve_dir()), Vec::<String>::new());
            return;
        }
        poll_delay().await;
    }
    panic!("left behind: {:?}", files_below(&app.data_dir().join("spool")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_bad_token_is_a_401() {
    let app = TestApp::start().await;
    let form = || Form::new().part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg"));
    let without = app.request(Method::POST, "/upload").multipart(form()).send().await.expect("an answer");
    assert_problem(without, 401, "unauthorized").await;
    for bad in [
        "nonsense".to_owned(),
        Claims::of("me").job(small_job()).with("exp", json!(now() - 60)).sign(),
        Claims::of("me").job(small_job()).with("exp", json!(now() + 90_000)).sign(),
        Claims::of("me").job(small_job()).with("sub", Value::Null).sign(),
        Claims::of("me").job(small_job()).by("pxu_unknown", "some secret that nobody registered here").sign(),
    ] {
        let response = app.upload(&bad, "a.jpg", jpeg(8, 8, 1)).await;
        let body = assert_problem(response, 401, "unauthorized").await;
        assert!(!body.to_string().contains(&bad), "the token is not echoed");
    }
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_part_behind_the_file_is_a_401() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let form = Form::new().part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg")).text("token", token);
    let response = app.request(Method::POST, "/upload").multipart(form).send().await.expect("an answer");
    assert_problem(response, 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_claims_are_named_by_their_pointers_all_at_once() {
    let app = TestApp::start().await;
    let job = json!({
        "directHost": true, "typo": 1,
        "storageKeys": { "s3": "pxs_unknown" },
        "formats": { "jpg": { "settings": { "quality": 101 }, "sizes": [[64], [-1]] }, "gif": {} }
    });
    let body = assert_problem(refused(&app, job, jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
    let pointers: Vec<_> = body["errors"].as_array().expect("errors").iter().map(|e| e["pointer"].clone()).collect();
    for pointer in ["/job/typo", "/job/formats/jpg/settings/quality", "/job/formats/jpg/sizes/1/0", "/job/formats/gif"]
    {
        assert!(pointers.contains(&json!(pointer)), "{pointer} not in {pointers:?}");
    }
    let job = json!({ "storageKeys": { "s3": "pxs_unknown" }, "formats": { "jpg": {} } });
    let body = assert_problem(refused(&app, job, jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["pointer"], "/job/storageKeys/s3");
    let body = assert_problem(refused(&app, Value::Null, jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["pointer"], "/job");
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_that_its_format_cannot_hold_is_a_422_with_its_pointer() {
    let app = TestApp::start().await;
    let job = json!({ "directHost": true, "formats": { "webp": { "sizes": [[20_000, 20_000]], "enlarge": true } } });
    let body = assert_problem(refused(&app, job, jpeg(64, 64, 1)).await, 422, "invalid_fields").await;
    let pointer = body["errors"][0]["pointer"].as_str().expect("a pointer");
    assert!(pointer.starts_with("/job/formats/webp"), "{pointer}");
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_body_is_a_400() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let send = |kind: &'static str, body: &'static str| {
        app.request(Method::POST, "/upload").bearer_auth(&token).header("content-type", kind).body(body).send()
    };
    for (kind, body) in [
        ("application/json", "{}"),
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; boundary=x", ""),
        ("multipart/form-data; boundary=x", "--x\r\n"),
        ("multipart/form-data; boundary=x", "--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            "--y\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nbytes\r\n--y--\r\n",
        ),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nbroken off"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nno file\r\n--x--\r\n",
        ),
    ] {
        let response = send(kind, body).await.expect("an answer");
        assert_problem(response, 400, "bad_multipart").await;
    }
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_parts_than_are_taken_or_two_files_are_a_400() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let file = |seed| Part::bytes(jpeg(8, 8, seed)).file_name("a.jpg");
    let mut many = Form::new();
    for i in 0..9 {
        many = many.text(format!("extra{i}"), "x");
    }
    for form in [many.part("file", file(1)), Form::new().part("file", file(1)).part("file", file(2))] {
        let response = app.request(Method::POST, "/upload").bearer_auth(&token).multipart(form).send().await;
        assert_problem(response.expect("an answer"), 400, "bad_multipart").await;
    }
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_supported_image_is_a_415() {
    let app = TestApp::start().await;
    for bytes in [
        b"".to_vec(),
        b"just text".to_vec(),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
        b"%PDF-1.7".to_vec(),
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec(),
    ] {
        let response = refused(&app, small_job(), bytes).await;
        let body = assert_problem(response, 415, "unsupported_image").await;
        assert!(body["detail"].as_str().expect("a detail").contains("JPEG"), "it names what is supported: {body}");
    }
    let mut headless = jpeg(64, 64, 1);
    headless.truncate(12);
    assert_problem(refused(&app, small_job(), headless).await, 415, "damaged_image").await;
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_too_many_pixels_is_a_422_before_anything_is_decoded() {
    let app = TestApp::start().await;
    // The header of a PNG that claims 40,000 x 40,000 pixels, and no pixels.
    let mut bomb = png(1, 1, 1);
    bomb[16..20].copy_from_slice(&40_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&40_000u32.to_be_bytes());
    let checksum = crc32fast::hash(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    assert_problem(refused(&app, small_job(), bomb).await, 422, "image_too_large").await;
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_are_a_413_announced_or_not() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "100 KiB")]).await;
    let large = vec![7; 300 * 1024];
    assert_problem(refused(&app, small_job(), large.clone()).await, 413, "too_large").await;
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = large.chunks(8192).map(|chunk| Ok(chunk.to_vec())).collect();
    let part = Part::stream(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))).file_name("a.jpg");
    let token = Claims::of("me").job(small_job()).sign();
    let form = Form::new().part("file", part);
    let response = app.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await;
    assert_problem(response.expect("an answer"), 413, "too_large").await;
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_address_that_may_not_be_called_is_a_422_that_names_the_setting() {
    let app = TestApp::start_with(&[("PIXERVE_CALLBACK_ALLOW", "10.1.0.0/16")]).await;
    let calling = |url: &str| {
        let mut job = small_job();
        job["completionCallback"] = json!(url);
        job
    };
    for forbidden in [
        "http://127.0.0.1:9/hook",
        "http://10.2.0.1/",
        "https://[::1]/",
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "http://[::ffff:10.2.0.1]/",
    ] {
        let answer = refused(&app, calling(forbidden), jpeg(8, 8, 1)).await;
        let problem = assert_problem(answer, 422, "invalid_fields").await;
        let [error] = problem["errors"].as_array().expect("errors").as_slice() else { panic!("one: {problem}") };
        assert_eq!(error["pointer"], "/job/completionCallback", "{forbidden}");
        assert!(error["detail"].as_str().expect("a detail").contains("PIXERVE_CALLBACK_ALLOW"), "{error}");
    }
    for (seed, allowed) in [(2, "http://10.1.2.3/"), (3, "https://hook.example/")] {
        app.accepted("me", calling(allowed), "a.jpg", jpeg(8, 8, seed)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_nobody_without_a_kid_is_told_where_a_registered_users_key_goes() {
    let app = TestApp::start().await;
    let nobodys = Claims::of("me").job(small_job()).secret("the secret of a user who forgot the kid").sign();
    let problem = assert_problem(app.upload(&nobodys, "a.jpg", jpeg(8, 8, 1)).await, 401, "unauthorized").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("access key") && detail.contains("`kid`"), "{detail}");
}

fn at_most(bytes: usize) -> Value {
    let mut job = small_job();
    job["maxBytes"] = json!(bytes);
    job
}

/// A body whose length nobody announces.
fn unannounced(bytes: &[u8]) -> Form {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = bytes.chunks(8192).map(|chunk| Ok(chunk.to_vec())).collect();
    let part = Part::stream(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))).file_name("a.jpg");
    Form::new().part("file", part)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_the_token_takes_are_a_413_announced_or_not() {
    let app = TestApp::start().await;
    let picture = jpeg(400, 300, 1);
    let token = Claims::of("me").job(at_most(picture.len() - 1)).sign();
    let announced = app.upload(&token, "a.jpg", vec![7; 300 * 1024]).await;
    let little_more = app.upload(&token, "a.jpg", picture.clone()).await;
    let request = |form: Form| app.request(Method::POST, "/upload").bearer_auth(&token).multipart(form).send();
    let streamed = request(unannounced(&picture)).await.expect("an answer");
    let form = Form::new().text("token", token.clone()).part("file", Part::bytes(picture.clone()).file_name("a.jpg"));
    let in_form = app.request(Method::POST, "/upload").multipart(form).send().await.expect("an answer");
    for answer in [announced, little_more, streamed, in_form] {
        let problem = assert_problem(answer, 413, "too_large").await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("maxBytes") && detail.contains(&(picture.len() - 1).to_string()), "{detail}");
    }
    assert_nothing_is_left(&app).await;
    app.accepted("me", at_most(picture.len()), "a.jpg", picture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_limit_of_bytes_is_never_above_the_servers() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "100 KiB")]).await;
    let token = Claims::of("me").job(at_most(10_000_000)).sign();
    let problem = assert_problem(app.upload(&token, "a.jpg", vec![7; 110 * 1024]).await, 413, "too_large").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("102400") && !detail.contains("maxBytes"), "{detail}");
    for (max, told) in [(10_000_000, 102_400), (5000, 5000)] {
        let token = Claims::of("me").job(at_most(max)).sign();
        let limits = app.request(Method::GET, "/limits").bearer_auth(token).send().await.expect("an answer");
        assert_eq!(limits.json::<Value>().await.expect("JSON")["upload"]["bytes_max"], told);
    }
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_bytes_that_is_no_number_of_bytes_is_a_422() {
    let app = TestApp::start().await;
    for bad in [json!(0), json!(-1), json!(1.5), json!("1MB"), json!(true)] {
        let mut job = small_job();
        job["maxBytes"] = bad;
        let problem = assert_problem(refused(&app, job, jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/job/maxBytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_a_405_and_other_paths_a_404() {
    let app = TestApp::start().await;
    for (method, path) in [
        (Method::GET, "/upload"),
        (Method::PUT, "/upload"),
        (Method::POST, "/status"),
        (Method::GET, "/cancel"),
        (Method::POST, "/success"),
        (Method::DELETE, "/failures"),
        (Method::PATCH, "/register"),
        (Method::POST, "/health"),
        (Method::POST, "/version"),
        (Method::POST, "/files/x.jpg"),
    ] {
        let response = app.request(method.clone(), path).send().await.expect("an answer");
        assert!(response.headers().contains_key("allow"), "{method} {path} names what is allowed");
        assert_problem(response, 405, "method_not_allowed").await;
    }
    for path in ["/", "/uploads", "/success/lists", "/files/", "/files/nothing.jpg"] {
        assert_problem(app.get(path).await, 404, "not_found").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_with_as_many_jobs_as_allowed_gets_a_429() {
    let app = TestApp::start_with(&[("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "1")]).await;
    let s3 = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    app.accepted("me", job.clone(), "a.jpg", jpeg(16, 16, 1)).await;
    assert_problem(refused(&app, job.clone(), jpeg(16, 16, 2)).await, 429, "too_many_jobs").await;
    app.accepted("somebody-else", job, "a.jpg", jpeg(16, 16, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_a_503() {
    let app = TestApp::start_with(&[("PIXERVE_QUEUE_DEPTH_MAX", "1"), ("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "1")]).await;
    let s3 = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    app.accepted("somebody-else", job.clone(), "a.jpg", jpeg(16, 16, 1)).await;
    assert_problem(refused(&app, job, jpeg(16, 16, 2)).await, 503, "queue_full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_below_its_floor_is_a_507() {
    let app = TestApp::start_with(&[("PIXERVE_STORAGE_FREE_DISK_MIN", "1000 TiB")]).await;
    assert_problem(refused(&app, small_job(), jpeg(16, 16, 1)).await, 507, "disk_full").await;
    let health = app.get("/health").await;
    assert_eq!(health.status(), 503);
    let body: Value = health.json().await.expect("JSON");
    assert_eq!((&body["status"], &body["checks"]["disk"]["status"]), (&json!("unhealthy"), &json!("failing")));
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_refuses_uploads_with_a_503() {
    let app = TestApp::start().await;
    app.app().state().readiness.drain();
    assert_problem(refused(&app, small_job(), jpeg(16, 16, 1)).await, 503, "draining").await;
    let health = app.get("/health").await;
    assert_eq!(health.status(), 503);
    assert_eq!(health.json::<Value>().await.expect("JSON")["status"], "unhealthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_client_aborts_leaves_nothing_behind() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let half = futures_util::stream::unfold(0, |sent| async move {
        if sent == 4 {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, std::io::Error>(vec![9u8; 300_000]), sent + 1))
    });
    let part = Part::stream(reqwest::Body::wrap_stream(half)).file_name("a.jpg");
    let request = app.request(Method::POST, "/upload").bearer_auth(token).multipart(Form::new().part("file", part));
    let hung_up = request.timeout(Duration::from_millis(300)).send().await;
    assert!(hung_up.is_err_and(|error| error.is_timeout()));
    assert_nothing_is_left(&app).await;
}
