//! Multipart forms as clients of all ages write them.

use reqwest::{Method, Response};

use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// A part: its `Content-Disposition`, and its bytes.
type Part<'a> = (&'a str, &'a [u8]);

async fn send(app: &TestApp, content_type: &str, boundary: &str, token: Option<&str>, parts: &[Part<'_>]) -> Response {
    let mut body = Vec::new();
    for (disposition, bytes) in parts {
        body.extend(format!("--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n").bytes());
        body.extend([bytes, &b"\r\n"[..]].concat());
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    let request = app.request(Method::POST, "/upload").header("content-type", content_type).body(body);
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    request.send().await.expect("an answer")
}

fn token() -> String {
    Claims::of("me").job(small_job()).sign()
}

const TYPE: &str = "multipart/form-data; boundary=x";
const FILE: &str = "form-data; name=\"file\"; filename=\"cat.jpg\"";

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_read_however_their_parameters_are_written() {
    let app = TestApp::start().await;
    let token = token();
    for (number, (content_type, boundary, disposition)) in [
        (TYPE, "x", "form-data; Name=\"file\"; FileName=\"cat.jpg\""),
        (TYPE, "x", "Form-Data;NAME=file;FILENAME=cat.jpg"),
        (TYPE, "x", "form-data; filename*=UTF-8''cat.jpg; name=file"),
        ("multipart/form-data; boundary=a=b=", "a=b=", FILE),
        ("Multipart/Form-Data; charset=utf-8; Boundary=\"a=b\"", "a=b", FILE),
    ]
    .into_iter()
    .enumerate()
    {
        let picture = jpeg(20, 20, u32::try_from(number).expect("small"));
        let response = send(&app, content_type, boundary, Some(&token), &[(disposition, &picture)]).await;
        assert_eq!(response.status(), 200, "{content_type} {disposition}");
        let accepted: serde_json::Value = response.json().await.expect("JSON");
        assert!(accepted["expected_files"][0].as_str().expect("a name").contains("_cat"), "{accepted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_part_without_a_file_name_gives_way_to_one_with_wherever_it_stands() {
    let app = TestApp::start().await;
    let token = token();
    let unnamed = "form-data; name=\"file\"";
    let token_part = ("form-data; name=\"token\"", token.as_bytes());
    for (number, order) in [0, 1, 2].into_iter().enumerate() {
        let picture = jpeg(24, 20, u32::try_from(number).expect("small"));
        let parts: Vec<Part<'_>> = match order {
            0 => vec![(unnamed, b"cat.jpg"), token_part, (FILE, &picture)],
            1 => vec![token_part, (unnamed, b"cat.jpg"), (FILE, &picture)],
            _ => vec![token_part, (FILE, &picture), (unnamed, b"cat.jpg")],
        };
        let response = send(&app, TYPE, "x", None, &parts).await;
        assert_eq!(response.status(), 200, "{order}");
        let accepted: serde_json::Value = response.json().await.expect("JSON");
        assert!(accepted["expected_files"][0].as_str().expect("a name").contains("_cat"), "{accepted}");
    }
    let alone = send(&app, TYPE, "x", Some(&token), &[(unnamed, &jpeg(28, 20, 1))]).await;
    assert_eq!(alone.status(), 200, "it is the file where there is no other");
    for parts in [[(FILE, &b"a"[..]), (FILE, b"b")], [(unnamed, b"a"), (unnamed, b"b")]] {
        assert_problem(send(&app, TYPE, "x", Some(&token), &parts).await, 400, "bad_multipart").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_behind_the_file_is_told_where_it_belongs() {
    let app = TestApp::start().await;
    let token = token();
    let parts = [(FILE, &jpeg(20, 20, 1)[..]), ("form-data; name=\"token\"", token.as_bytes())];
    let body = assert_problem(send(&app, TYPE, "x", None, &parts).await, 401, "unauthorized").await;
    assert!(body["detail"].as_str().expect("a detail").contains("before the part named `file`"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_without_a_boundary_or_of_another_kind_is_told() {
    let app = TestApp::start().await;
    for content_type in
        ["multipart/form-data", "multipart/form-data; boundary=", "application/json", "text/plain; boundary=x"]
    {
        let response = send(&app, content_type, "x", Some(&token()), &[(FILE, b"a")]).await;
        assert_problem(response, 400, "bad_multipart").await;
    }
}
