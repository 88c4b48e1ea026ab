//! An original longer than its cap, however its length is told, or not.

use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{assert_spool_is_empty, assert_still_works, figure};
use crate::harness::app::{TestApp, WAIT_MAX, assert_problem, files_below, small_job};
use crate::harness::token::Claims;

const CAP: usize = 100 * 1024;

/// What the server answers to these bytes, sent as they are; the client closes its side if `close`.
async fn raw(app: &TestApp, head: &str, body: &[u8], close: bool) -> String {
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The server may answer, and close, before it has all.
    let _ = stream.write_all(body).await;
    if close {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_longer_than_its_cap_is_refused_however_it_comes() {
    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "100 KiB"), ("PIXERVE_SERVER_HTTP2", "true")]).await;
    let token = Claims::of("me").job(small_job()).sign();
    let part_head = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n";
    let body = [part_head.as_bytes(), &vec![0xFF; CAP + 1], b"\r\n--x--\r\n"].concat();
    let head = |version: &str, length: &str| {
        format!(
            "POST /upload HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=x\r\n{length}\r\n"
        )
    };
    let announced = format!("Content-Length: {}\r\n", body.len());
    let chunked: Vec<u8> = body
        .chunks(5000)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();

    // One byte too many.
    let answer = raw(&app, &head("1.1", &announced), &body, false).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too_large"), "announced: {answer}");
    let answer = raw(&app, &head("1.1", "Transfer-Encoding: chunked\r\n"), &chunked, false).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too_large"), "chunked: {answer}");
    // Who asks first is refused before sending; what is announced far beyond the cap is never read at all.
    let huge = "Content-Length: 1099511627776\r\nExpect: 100-continue\r\n";
    let answer = raw(&app, &head("1.1", huge), b"", false).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && !answer.contains("100 Continue"), "asked first: {answer}");
    // Without a length a request has no body, in HTTP/1.1 as in HTTP/1.0, whatever follows it.
    for version in ["1.1", "1.0"] {
        let answer = raw(&app, &head(version, ""), &body, true).await;
        assert!(answer.contains(" 400 ") && answer.contains("bad_multipart"), "HTTP/{version}, no length: {answer}");
    }
    // A length that lies: the body ends before it, and goes on behind it.
    let longer = format!("Content-Length: {}\r\n", 90_000);
    let answer = raw(&app, &head("1.1", &longer), &body[..50_000], true).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "ends early: {answer}");
    let answer = raw(&app, &head("1.1", "Content-Length: 1000\r\n"), &body, true).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_multipart"), "goes on: {answer}");
    for odd in ["-1", "1e9", "0x10", "18446744073709551616", "5, 6", "+5", ""] {
        let answer = raw(&app, &head("1.1", &format!("Content-Length: {odd}\r\n")), &body, true).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{odd:?}: {answer}");
    }
    // Two ideas of where the body ends are what requests are smuggled with.
    let both = format!("{announced}Transfer-Encoding: chunked\r\n");
    let answer = raw(&app, &head("1.1", &both), b"0\r\n\r\nGET /register HTTP/1.1\r\nHost: x\r\n\r\n", true).await;
    assert!(!answer.contains("200 OK") && answer.matches("HTTP/1.1 ").count() <= 1, "both: {answer}");
    let twice = format!("{announced}Content-Length: 5\r\n");
    let answer = raw(&app, &head("1.1", &twice), &body, true).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "twice: {answer}");

    // HTTP/2 without a length.
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client");
    let stream =
        futures_util::stream::iter(body.chunks(5000).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>());
    let request = client.request(Method::POST, format!("http://{}/upload", app.addr())).bearer_auth(&token);
    let request = request.header("content-type", "multipart/form-data; boundary=x").body(Body::wrap_stream(stream));
    assert_problem(request.send().await.expect("an answer"), 413, "too_large").await;

    // As many bytes as the cap has are looked at.
    let form = Form::new().part("file", Part::bytes(vec![0xFF; CAP]).file_name("a.jpg"));
    let response = app.request(Method::POST, "/upload").bearer_auth(&token).multipart(form).send().await;
    assert_problem(response.expect("an answer"), 415, "unsupported_image").await;
    assert_spool_is_empty(&app.data_dir()).await;
    assert_eq!(files_below(&app.serve_dir()), Vec::<String>::new());
    assert_still_works(&app, 3).await;
    figure("17 bodies too long, without a length, or with one that lies: each a 4xx or closed, 0 files left");
}
