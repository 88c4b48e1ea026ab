//! Multipart bodies that are none, or are meant for a parser that is careless.

use reqwest::{Method, StatusCode};

use super::{assert_spool_is_empty, assert_still_works, figure, outcome};
use crate::harness::app::{TestApp, files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

const KIND: &str = "multipart/form-data; boundary=xyz";
const PART: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n";

/// A body of one part with these header lines.
fn one(headers: &str) -> Vec<u8> {
    [b"--xyz\r\n", headers.as_bytes(), b"\r\n", &picture(), b"\r\n--xyz--\r\n"].concat()
}

fn picture() -> Vec<u8> {
    jpeg(32, 24, 77)
}

/// What is wrong, the content type (none: no such header), and the body.
fn malformed() -> Vec<(&'static str, Option<String>, Vec<u8>)> {
    let kind = || Some(KIND.to_owned());
    let text = |text: &str| text.as_bytes().to_vec();
    let parts =
        |n: usize| [b"--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n".repeat(n), one(PART)].concat();
    let long_boundary = "b".repeat(2000);
    vec![
        ("no content type", None, one(PART)),
        ("another content type", Some("application/x-www-form-urlencoded".into()), one(PART)),
        ("no boundary", Some("multipart/form-data".into()), one(PART)),
        ("an empty boundary", Some("multipart/form-data; boundary=".into()), one(PART)),
        ("an empty quoted boundary", Some("multipart/form-data; boundary=\"\"".into()), one(PART)),
        ("a boundary that never comes", Some(format!("multipart/form-data; boundary={long_boundary}")), one(PART)),
        ("no end", kind(), one(PART)[..one(PART).len() - 9].to_vec()),
        ("an end within the boundary", kind(), one(PART)[..one(PART).len() - 5].to_vec()),
        ("no disposition", kind(), one("Content-Type: image/jpeg\r\n")),
        ("no name", kind(), one("Content-Disposition: form-data; filename=\"a.jpg\"\r\n")),
        ("a header without a colon", kind(), one(&format!("{PART}nonsense\r\n"))),
        ("a header of 64 KiB", kind(), one(&format!("{PART}X-Long: {}\r\n", "x".repeat(64 * 1024)))),
        ("a file name of 64 KiB", kind(), one(&PART.replace("a.jpg", &"x".repeat(64 * 1024)))),
        ("ten thousand headers", kind(), one(&format!("{PART}{}", "X: y\r\n".repeat(10_000)))),
        (
            "a header of other than text",
            kind(),
            [&b"--xyz\r\nContent-Disposition: \xFF\0\xFE\r\n\r\n"[..], b"x\r\n--xyz--"].concat(),
        ),
        ("forty thousand parts", kind(), parts(40_000)),
        ("nine parts before", kind(), parts(9)),
        ("bare line feeds", kind(), one(PART).split(|b| *b == b'\r').collect::<Vec<_>>().concat()),
        ("only the end", kind(), text("--xyz--\r\n")),
        ("nothing", kind(), Vec::new()),
        ("a preamble of a megabyte", kind(), vec![b'p'; 1 << 20]),
        (
            "a body in the body",
            kind(),
            text(
                "--xyz\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Disposition: file; filename=\"a.jpg\"\r\n\r\nx\r\n--in--\r\n--xyz--\r\n",
            ),
        ),
        ("two files", kind(), {
            let first = one(PART);
            [&first[..first.len() - 4], b"\r\n", &one(PART)].concat()
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_multiparts_are_a_400_and_leave_nothing() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let send = |kind: Option<String>, body: Vec<u8>| {
        let mut request = app.request(Method::POST, "/upload").bearer_auth(&token).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        async { request.send().await.expect("an answer") }
    };
    let cases = malformed();
    let count = cases.len();
    for (what, kind, body) in cases {
        let (end, said) = outcome(&app, send(kind, body).await).await;
        assert_eq!((end.as_str(), said["code"].as_str()), ("400", Some("bad_multipart")), "{what}: {said}");
        assert_spool_is_empty(&app.data_dir()).await;
    }
    assert_eq!(files_below(&app.serve_dir()), Vec::<String>::new());

    // Odd, but a picture all the same: no header of a part but its name is believed.
    let odd = [
        "Content-Disposition: form-data; name=\"file\"\r\n",
        "content-disposition:form-data;name=file;filename=a.jpg\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''..%2F..%2Fa.jpg\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n",
    ];
    for headers in odd {
        let response = send(Some(KIND.to_owned()), one(headers)).await;
        assert_eq!(response.status(), StatusCode::OK, "{headers}");
        assert_eq!(outcome(&app, response).await.0, "completed", "{headers}");
    }
    assert_still_works(&app, 4).await;
    assert_spool_is_empty(&app.data_dir()).await;
    figure(format!(
        "{count} malformed multiparts: each a 400, 0 files left; {} odd ones taken as they are meant",
        odd.len()
    ));
}
