//! What is answered to whoever may read a private file.

use reqwest::{Method, Response};
use serde_json::json;

use super::home::{PrivateHome, for_seconds, get, location, owner, private_job, reading, text};
use crate::harness::app::assert_problem;
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

every_home! {
    a_private_file_is_served_as_any_other_to_whoever_has_a_token_for_it,
    nothing_private_is_below_files_whatever_the_names,
    private_and_unique_go_together,
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().expect("text"))
}

/// What every answer has, errors included: nobody is told the address, and nothing in it is active.
fn assert_discreet(response: &Response) {
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
    ] {
        assert_eq!(header(response, name), Some(value), "{}", response.status());
    }
}

async fn a_private_file_is_served_as_any_other_to_whoever_has_a_token_for_it(home: PrivateHome) {
    let cors = [("PIXERVE_SERVER_CORS_ORIGINS", "https://shop.example")];
    let app = home.start(&cors).await;
    let done = app.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    assert_eq!(done["state"], "completed", "{done}");
    let location = location(&done);
    let name = text(&done["files"][0]["name"]);
    assert_eq!(location, format!("/private/{}/album/1/{name}", owner("", "ann")));
    assert_eq!(done["files"][0]["stored"][0]["backend"], "directHost");
    assert_eq!(home.private(&app).await, [location.replace("/private/", "")]);
    assert!(home.public(&app).await.is_empty());
    // Whichever node is asked.
    let app = if home.has_many() { home.start(&cors).await } else { app };

    let ann = reading(&Claims::of("ann"), location);
    let whole = get(&app, &ann, location).await;
    assert_eq!(whole.status(), 200);
    assert_discreet(&whole);
    for (name, value) in
        [("content-type", "image/jpeg"), ("cache-control", "private, max-age=300"), ("accept-ranges", "bytes")]
    {
        assert_eq!(header(&whole, name), Some(value));
    }
    let etag = header(&whole, "etag").expect("one").to_owned();
    let bytes = whole.bytes().await.expect("a body");
    assert_eq!(bytes.len() as u64, done["files"][0]["bytes"].as_u64().expect("a number"));

    // In the address, as an `<img>` has it; that is of any path that names the file.
    let in_query = format!("{}?w=1&token={}", location.replace("album", "%61lbum"), ann.sign());
    let answer = app.get(&in_query).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (200, Some(&*etag)));
    let head = app.request(Method::HEAD, &in_query).send().await.expect("an answer");
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, Some(&*bytes.len().to_string())));
    assert_discreet(&head);
    let part = app.request(Method::GET, &in_query).header("range", "bytes=2-5").send().await.expect("an answer");
    assert_eq!((part.status().as_u16(), header(&part, "cache-control")), (206, Some("private, max-age=300")));
    assert_discreet(&part);
    assert_eq!(part.bytes().await.expect("a body"), bytes.slice(2..6));
    let known = app.request(Method::GET, &in_query).header("if-none-match", &etag).send().await.expect("an answer");
    assert_eq!((known.status().as_u16(), header(&known, "cache-control")), (304, Some("private, max-age=300")));
    assert_discreet(&known);
    let beyond = app.request(Method::GET, &in_query).header("range", "bytes=999999-").send().await.expect("an answer");
    assert_discreet(&beyond);
    assert_problem(beyond, 416, "range_not_satisfiable").await;

    // No longer than the token is good.
    let short = get(&app, &for_seconds(&ann, 100), location).await;
    let kept = header(&short, "cache-control").expect("one");
    let left: u64 = kept.strip_prefix("private, max-age=").and_then(|left| left.parse().ok()).expect(kept);
    assert!((1..=100).contains(&left), "{kept}");
    let expired = get(&app, &for_seconds(&ann, 0).with("iat", json!(crate::harness::token::now() - 3)), location).await;
    assert_eq!((expired.status().as_u16(), header(&expired, "cache-control")), (200, Some("private, max-age=0")));

    // A browser shows its page why it got nothing, too.
    for (path, status) in [(in_query.as_str(), 200), (location, 401), ("/private/x", 401)] {
        let origin = app.request(Method::GET, path).header("origin", "https://shop.example");
        let answer = origin.send().await.expect("an answer");
        assert_discreet(&answer);
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://shop.example"), "{path}");
        assert_eq!(answer.status(), status, "{path}");
    }
    let preflight = app.request(Method::OPTIONS, location).header("origin", "https://shop.example");
    let preflight = preflight.header("access-control-request-method", "GET").send().await.expect("an answer");
    let methods = header(&preflight, "access-control-allow-methods");
    assert_eq!((preflight.status().as_u16(), methods), (204, Some("GET,HEAD")));
    let posted = app.request(Method::POST, location).send().await.expect("an answer");
    assert_eq!(header(&posted, "allow"), Some("GET, HEAD"));
    assert_problem(posted, 405, "method_not_allowed").await;
}

async fn nothing_private_is_below_files_whatever_the_names(home: PrivateHome) {
    let app = home.start(&[]).await;
    let done = app.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    let (location, ann) = (location(&done), owner("", "ann"));
    let below = location.strip_prefix("/private/").expect("private");
    for path in [
        format!("/files/{below}"),
        format!("/files/private/{below}"),
        format!("/files{location}"),
        format!("/files/../private/{below}"),
        format!("/files/..%2fprivate/{below}"),
        format!("/files/%2e%2e/private/{below}"),
        format!("/files/%2e%2e%2fprivate%2f{below}"),
        format!("/files//private/{below}"),
    ] {
        assert_eq!(raw_status(&app, &path).await, 404, "{path}");
    }
    // One whose directories look like those of what is private is served to anyone, and reads nothing else.
    let mut public = private_job();
    public["private"] = json!(false);
    public["subDir"] = json!(format!("private/{ann}/album/1"));
    let shown = app.done("ann", public, "cat.jpg", jpeg(32, 24, 1)).await;
    let path = super::home::location(&shown);
    assert_eq!(path, format!("/files/private/{below}"));
    assert_eq!(app.get(path).await.status(), 200);
    let token = reading(&Claims::of("ann"), "/");
    assert_problem(get(&app, &token, &format!("/private/files/{below}")).await, 404, "not_found").await;
    for path in
        [format!("/private/{ann}/../{below}"), format!("/private/{ann}/%2e%2e/{below}"), format!("/private//{below}")]
    {
        assert_eq!(raw_status(&app, &format!("{path}?token={}", token.sign())).await, 404, "{path}");
    }
    assert_eq!((home.private(&app).await.len(), home.public(&app).await.len()), (1, 1));
}

/// The status of a path that no client's library would send as it is.
async fn raw_status(app: &crate::harness::app::TestApp, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(app.addr()).await.expect("connected");
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("read");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

async fn private_and_unique_go_together(home: PrivateHome) {
    let app = home.start(&[]).await;
    let mut job = private_job();
    job["unique"] = json!(true);
    let done = app.done("ann", job, "cat.jpg", jpeg(32, 24, 1)).await;
    let location = location(&done);
    let id = text(&done["job_id"]);
    assert_eq!(location, format!("/private/{}/album/1/{id}_cat_16_16_.jpg", owner("", "ann")));
    let answer = get(&app, &reading(&Claims::of("ann"), location), location).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (200, Some("private, max-age=300")));
}
