//! What every answer has, those included that are given before there is a request.

use reqwest::{Client, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::app::{TestApp, WAIT_MAX, assert_problem};
use crate::harness::http2;

const HTTP2: (&str, &str) = ("PIXERVE_SERVER_HTTP2", "true");

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_and_keeps_a_plain_one_of_a_proxy() {
    let app = TestApp::start().await;
    let ours = app.get("/version").await.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(ours.len(), 36, "{ours}");
    let with = |id: &'static str| app.request(Method::GET, "/nothing").header("x-request-id", id).send();
    let kept = with("proxy-1.a_b").await.expect("an answer");
    assert_eq!(kept.headers()["x-request-id"], "proxy-1.a_b");
    let body = assert_problem(kept, 404, "not_found").await;
    assert_eq!(body["instance"], "urn:pixerve:request:proxy-1.a_b");
    let replaced = with("has spaces and \"quotes\"").await.expect("an answer");
    assert_eq!(replaced.headers()["x-request-id"].len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_where_it_is_asked_for() {
    let app = TestApp::start_with(&[HTTP2]).await;
    let client = http2_client();
    let response = client.get(format!("http://{}/health", app.addr())).send().await.expect("an answer");
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_http2_is_answered_with_nothing() {
    let app = TestApp::start().await;
    assert_eq!(answers(&app, &http2::hello(&[])).await, "");
}

fn http2_client() -> Client {
    Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client")
}

/// Everything that is answered to `bytes` until the server closes the connection.
async fn answers(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    stream.write_all(bytes).await.expect("it is taken");
    let mut answers = Vec::new();
    let ended = timeout(WAIT_MAX, stream.read_to_end(&mut answers)).await;
    ended.expect("the server closes it").expect("an answer");
    String::from_utf8(answers).expect("text")
}

/// The request ids in `heads`.
fn request_ids(heads: &str) -> Vec<&str> {
    heads.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_parsed_is_answered_with_a_request_id() {
    let app = TestApp::start().await;
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(64 * 1024));
    for (what, bytes, statuses) in [
        ("no request line", "GARBAGE\r\n\r\n", &["400"][..]),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}", &["400"]),
        ("a method with a space too many", "GET  / HTTP/1.1\r\n\r\n", &["400"]),
        ("another version", "GET / HTTP/9.9\r\n\r\n", &["400"]),
        ("a header without a colon", "GET / HTTP/1.1\r\nHost x\r\n\r\n", &["400"]),
        ("an id in what can't be parsed", "GET / HTTP/1.1\r\nX-Request-ID: mine\r\nHost x\r\n\r\n", &["400"]),
        ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", &["400"]),
        ("a large header", &large, &["431"]),
        ("many headers", &many, &["431"]),
        ("a long path", &long, &["414", "431"]),
    ] {
        let answer = answers(&app, bytes.as_bytes()).await;
        let head = answer.strip_suffix("\r\n\r\n").expect(what);
        assert!(statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))), "{what}: {answer}");
        let [id] = request_ids(head)[..] else { panic!("{what}: {answer}") };
        assert_eq!(id.len(), 36, "{what}: {answer}");
        assert!(!head.contains("\r\n\r\n"), "{what}: one head: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_good_requests_a_malformed_one_is_answered_with_an_id_of_its_own() {
    let app = TestApp::start().await;
    let good = "GET /version HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n";
    let answers = answers(&app, format!("{good}{good}GARBAGE\r\n\r\n").as_bytes()).await;
    let ids = request_ids(&answers);
    assert_eq!((&ids[..2], ids.len()), (&["mine", "mine"][..], 3), "{answers}");
    assert_eq!((answers.matches("HTTP/1.1 200 ").count(), answers.matches("HTTP/1.1 400 ").count()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_that_can_be_parsed_are_answered_with_a_request_id() {
    let app = TestApp::start().await;
    for request in [
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n",
        "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n",
        "GET http://elsewhere/version HTTP/1.1\r\nHost: elsewhere\r\n",
        "GET /version HTTP/1.0\r\n",
        "PURGE /version HTTP/1.1\r\nHost: x\r\n",
        "HEAD /files/none HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    ] {
        let answer = answers(&app, format!("{request}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(request_ids(&answer).len(), 1, "{request}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_that_looks_like_an_answer_is_served_as_it_is() {
    let app = TestApp::start().await;
    let text = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    std::fs::File::create(app.serve_dir().join("answer.jpg"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .expect("a file");
    assert_eq!(app.file("/files/answer.jpg").await, text.as_bytes());
    let get = "GET /files/answer.jpg HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = answers(&app, format!("{get}GARBAGE\r\n\r\n").as_bytes()).await;
    let (first, last) = answers.split_once(text).expect("the file");
    assert_eq!((request_ids(first).len(), request_ids(last).len()), (1, 1), "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too_many_bytes_of_headers_are_answered_with_a_request_id() {
    let app = TestApp::start_with(&[HTTP2]).await;
    let client = http2_client();
    let get = |bytes: usize| {
        let request = client.get(format!("http://{}/version", app.addr())).header("x-request-id", "mine");
        request.header("x-large", "a".repeat(bytes)).send()
    };
    let mut ids = Vec::new();
    // More than once: the second of them is compressed by what was said in the first.
    for bytes in [20_000, 10, 20_000, 20_000, 10] {
        let response = get(bytes).await.expect("an answer");
        let expected = if bytes > 16 * 1024 { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::OK };
        assert_eq!(response.status(), expected);
        ids.push(response.headers()["x-request-id"].to_str().expect("text").to_owned());
    }
    assert_eq!((ids[1].as_str(), ids[4].as_str()), ("mine", "mine"));
    assert!([0, 2, 3].iter().all(|refused| ids[*refused].len() == 36), "{ids:?}");
}
