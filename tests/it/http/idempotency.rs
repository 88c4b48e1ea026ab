//! Uploads that are sent again with the same `Idempotency-Key`.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::once::once;
use super::upload_refused::assert_nothing_is_left;
use crate::harness::api::Api;
use crate::harness::app::{TestApp, assert_problem, files_below, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

pub(crate) const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn request(api: &Api, token: &str, key: &str, name: &str, bytes: Vec<u8>) -> RequestBuilder {
    let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
    api.request(Method::POST, "/upload").bearer_auth(token).header("idempotency-key", key).multipart(form)
}

/// Uploads with a key.
pub(crate) async fn upload(api: &Api, token: &str, key: &str, name: &str, bytes: Vec<u8>) -> Response {
    request(api, token, key, name, bytes).send().await.expect("an answer")
}

/// The text of an accepted upload's answer, and whether it was given before.
pub(crate) async fn accepted(response: Response) -> (String, bool) {
    let is_replayed = response.headers().get("idempotency-replayed").map(|value| value == "true");
    let headers = response.headers().clone();
    let (status, text) = (response.status(), response.text().await.expect("text"));
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["cache-control"], "no-store");
    (text, is_replayed.unwrap_or(false))
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

async fn completed(api: &Api) -> u64 {
    let list = api.admin(Method::GET, "/success/list", None).await;
    list.json::<Value>().await.expect("JSON")["count"].as_u64().expect("a count")
}

async fn nothing_is_spooled(app: &TestApp) {
    while !files_below(&app.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_sent_again_is_answered_as_before_and_is_one_job() {
    let mut app = TestApp::start().await;
    let job = json!({ "directHost": true, "ref": "lamp", "formats": { "jpg": { "sizes": [[64], [32]] } } });
    let token = Claims::of("me").job(job.clone()).sign();
    let picture = jpeg(80, 60, 1);
    let quoted = format!("\"{KEY}\"");
    let (first, is_replayed) = accepted(upload(&app, &token, &quoted, "a.jpg", picture.clone()).await).await;
    assert!(!is_replayed);
    // While it lives and when it has ended, by another token for the same job, and after a restart.
    for round in 0..4 {
        let token =
            if round == 1 { Claims::of("me").job(job.clone()).with("n", json!(1)).sign() } else { token.clone() };
        let key = if round == 1 { KEY } else { &quoted };
        assert_eq!(accepted(upload(&app, &token, key, "a.jpg", picture.clone()).await).await, (first.clone(), true));
        match round {
            1 => assert_eq!(app.ended(&json_of(&first)).await["state"], "completed"),
            2 => app.restart().await,
            _ => {}
        }
    }
    assert_eq!(completed(&app).await, 1);
    nothing_is_spooled(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_with_the_key_is_refused_and_another_owners_is_its_own() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(40, 30, 1);
    let (first, _) = accepted(upload(&app, &token, KEY, "a.jpg", picture.clone()).await).await;
    let mut other_job = small_job();
    other_job["subDir"] = json!("elsewhere");
    let other = Claims::of("me").job(other_job).sign();
    for (token, name, bytes) in [
        (&other, "a.jpg", picture.clone()),
        (&token, "b.jpg", picture.clone()),
        (&token, "a.jpg", jpeg(40, 30, 2)),
        (&token, "a.jpg", b"no picture".to_vec()),
    ] {
        assert_problem(upload(&app, token, KEY, name, bytes).await, 422, "idempotency_key_reused").await;
    }
    // The order of fields is none of a job's matter.
    let reordered = json!({ "formats": { "jpg": { "sizes": [[64]] } }, "directHost": true });
    let token_again = Claims::of("me").job(reordered).sign();
    assert_eq!(accepted(upload(&app, &token_again, KEY, "a.jpg", picture.clone()).await).await, (first.clone(), true));

    let you = Claims::of("you").job(small_job()).sign();
    let (yours, is_replayed) = accepted(upload(&app, &you, KEY, "a.jpg", picture).await).await;
    assert!(!is_replayed && json_of(&yours)["job_id"] != json_of(&first)["job_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_refused() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let long = "x".repeat(256);
    for key in ["", "short", "\"8e03978e-40d5-43dd-bc93", "8e03978e 40d5 43dd bc93", &long] {
        let refused = upload(&app, &token, key, "a.jpg", jpeg(40, 30, 1)).await;
        assert_problem(refused, 400, "bad_idempotency_key").await;
    }
    let twice = request(&app, &token, KEY, "a.jpg", jpeg(40, 30, 1)).header("idempotency-key", KEY);
    assert_problem(twice.send().await.expect("an answer"), 400, "bad_idempotency_key").await;
    assert_eq!(completed(&app).await, 0);
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_the_key_free() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(40, 30, 1);
    for (bytes, status, code) in
        [(b"no image".to_vec(), 415, "unsupported_image"), (Vec::new(), 415, "unsupported_image")]
    {
        assert_problem(upload(&app, &token, KEY, "a.jpg", bytes).await, status, code).await;
    }
    let part = Form::new().text("other", "field");
    let no_file =
        app.request(Method::POST, "/upload").bearer_auth(&token).header("idempotency-key", KEY).multipart(part);
    assert_problem(no_file.send().await.expect("an answer"), 400, "bad_multipart").await;
    // A duplicate of what lives without a key is refused, and the key is free then, too.
    let long = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[500], [480], [460], [440]] } } });
    let live = app.accepted("me", long, "live.jpg", jpeg(640, 480, 7)).await;
    assert_problem(upload(&app, &token, KEY, "a.jpg", jpeg(640, 480, 7)).await, 409, "duplicate_job").await;
    let (first, is_replayed) = accepted(upload(&app, &token, KEY, "a.jpg", picture.clone()).await).await;
    assert!(!is_replayed);
    assert_eq!(accepted(upload(&app, &token, KEY, "a.jpg", picture).await).await, (first, true));
    let id = live["job_id"].as_str().expect("an id");
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(Claims::of("me").sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_holds_its_key_until_it_is_answered_or_its_connection_breaks() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(40, 30, 1);
    // A head, and a body of which nothing comes.
    let begin = || {
        let mut connection = TcpStream::connect(app.addr()).expect("a connection");
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {KEY}\r\n\
             Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 500\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).expect("sent");
        connection
    };
    let first = begin();
    // It is under way once another one is told so: before, that one is the first.
    let mut refused = 0;
    while refused == 0 {
        let answer = upload(&app, &token, KEY, "a.jpg", b"no picture".to_vec()).await;
        match answer.status() {
            StatusCode::CONFLICT => {
                assert_eq!(answer.headers()["retry-after"], "1");
                assert_problem(answer, 409, "idempotency_in_flight").await;
                refused += 1;
            }
            _ => drop(assert_problem(answer, 415, "unsupported_image").await),
        }
    }
    // Told from the head alone.
    let mut second = begin();
    let mut answer = [0; 12];
    second.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 409");
    // Another key is no matter.
    let other = upload(&app, &token, "another-key-0123456789", "b.jpg", jpeg(40, 30, 2)).await;
    assert!(!accepted(other).await.1);

    drop(first);
    let answer = loop {
        let answer = upload(&app, &token, KEY, "a.jpg", picture.clone()).await;
        if answer.status() != StatusCode::CONFLICT {
            break answer;
        }
        poll_delay().await;
    };
    assert!(!accepted(answer).await.1, "nothing was done before");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_equal_uploads_at_once_with_one_key_one_is_a_job() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    assert_one_job(&[&app], &token, 50).await;
    assert_eq!(completed(&app).await, 1);
    nothing_is_spooled(&app).await;
}

/// Uploads so often at once to each of `apis`: one is accepted, and all others are told that it is under way, or what it was answered.
pub(crate) async fn assert_one_job(apis: &[&Api], token: &str, each: usize) {
    let picture = jpeg(200, 150, 3);
    let uploads = apis.iter().flat_map(|api| std::iter::repeat_n(*api, each));
    let answers = join_all(uploads.map(|api| upload(api, token, KEY, "a.jpg", picture.clone()))).await;
    let (mut first, mut replayed) = (Vec::new(), Vec::new());
    for answer in answers {
        if answer.status() == StatusCode::CONFLICT {
            assert_problem(answer, 409, "idempotency_in_flight").await;
        } else {
            let (text, is_replayed) = accepted(answer).await;
            if is_replayed { &mut replayed } else { &mut first }.push(text);
        }
    }
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(replayed.iter().all(|text| *text == first[0]), "{replayed:?}");
    for api in apis {
        assert_eq!(accepted(upload(api, token, KEY, "a.jpg", picture.clone()).await).await, (first[0].clone(), true));
        assert_eq!(api.ended(&json_of(&first[0])).await["state"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_upload_is_good_for_that_upload_again() {
    let app = TestApp::start().await;
    let token = once("me", "token-1").sign();
    let picture = jpeg(40, 30, 1);
    let (first, _) = accepted(upload(&app, &token, KEY, "a.jpg", picture.clone()).await).await;
    assert_eq!(accepted(upload(&app, &token, KEY, "a.jpg", picture.clone()).await).await, (first, true));
    assert_problem(app.upload(&token, "a.jpg", picture.clone()).await, 409, "token_used").await;
    let other = upload(&app, &token, "another-key-0123456789", "a.jpg", picture).await;
    assert_problem(other, 409, "token_used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_as_a_duplicate_is_answered_so_again() {
    let app = TestApp::start().await;
    let long = json!({
        "directHost": true, "onDuplicate": "queue",
        "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[500], [480], [460], [440]] } }
    });
    let token = Claims::of("me").job(long).sign();
    let picture = jpeg(640, 480, 1);
    let live = app.upload(&token, "a.jpg", picture.clone()).await.text().await.expect("text");
    let (duplicate, is_replayed) = accepted(upload(&app, &token, KEY, "a.jpg", picture.clone()).await).await;
    assert!(!is_replayed);
    assert_eq!(
        (&json_of(&duplicate)["duplicate"], &json_of(&duplicate)["job_id"]),
        (&json!(true), &json_of(&live)["job_id"])
    );
    let id = json_of(&live)["job_id"].as_str().expect("an id").to_owned();
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(&token);
    assert_eq!(cancel.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
    // Although it could be done now.
    assert_eq!(accepted(upload(&app, &token, KEY, "a.jpg", picture).await).await, (duplicate, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_again_with_its_key_is_sent_to_the_same_address() {
    let app = TestApp::start().await;
    let mut job = small_job();
    job["redirect"] = json!("https://shop.example/done");
    let token = Claims::of("me").job(job).sign();
    let send = async || {
        let form = Form::new().text("token", token.clone());
        let form = form.part("file", Part::bytes(jpeg(40, 30, 1)).file_name("a.jpg"));
        let request = app.request(Method::POST, "/upload").header("accept", "text/html").header("idempotency-key", KEY);
        let answer = request.multipart(form).send().await.expect("an answer");
        let is_replayed = answer.headers().contains_key("idempotency-replayed");
        (answer.status(), answer.headers()["location"].clone(), is_replayed)
    };
    let (status, location, is_replayed) = send().await;
    assert_eq!((status, is_replayed), (StatusCode::SEE_OTHER, false));
    assert!(location.to_str().expect("text").contains("&state=accepted"), "{location:?}");
    assert_eq!(send().await, (StatusCode::SEE_OTHER, location, true));
}
