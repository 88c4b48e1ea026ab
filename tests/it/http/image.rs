//! One address for a picture: who is shown which variant.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// What today's browsers say of pictures.
const MODERN: &str = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const WEBP: &str = "image/webp,image/*,*/*;q=0.8";
const OLD: &str = "image/png,image/*;q=0.8,*/*;q=0.5";

/// Of a picture of 400 x 300 its own shape at three widths, and a square.
fn job() -> Value {
    let sizes = json!([[40, 0], [80, 0], [160, 0], [50, 50]]);
    json!({
        "directHost": true, "subDir": "shop", "fit": "cover",
        "formats": { "avif": { "sizes": sizes, "settings": { "speed": 10 } }, "webp": { "sizes": sizes }, "jpg": { "sizes": sizes } }
    })
}

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = app.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

async fn shown(app: &TestApp, path: &str, accept: Option<&str>) -> Response {
    let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
    ask(app, Method::GET, path, &headers).await
}

/// Format and pixels of what was sent: by a decoder, where there is one.
async fn seen(answer: Response) -> (String, Option<(u32, u32)>) {
    assert_eq!(answer.status(), StatusCode::OK);
    let media_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
    let bytes = answer.bytes().await.expect("a body");
    let picture = ::image::load_from_memory(&bytes).ok();
    (media_type, picture.map(|picture| (picture.width(), picture.height())))
}

fn varies(headers: &HeaderMap) -> String {
    let values: Vec<_> = headers.get_all("vary").iter().map(|value| value.to_str().expect("text")).collect();
    values.join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_is_shown_what_it_takes_in_the_width_that_it_wants() {
    let app = TestApp::start().await;
    let status = app.done("me", job(), "a.jpg", jpeg(400, 300, 1)).await;
    let files = status["files"].as_array().expect("files");
    let (hash, id) = (status["hash"].as_str().expect("a hash"), status["job_id"].as_str().expect("an id"));
    // Which is the smallest of those that a client takes depends on the picture; so it is looked up.
    let smallest = |formats: &[&str], width: u64| {
        let of =
            |file: &&Value| formats.contains(&file["format"].as_str().expect("a format")) && file["width"] == width;
        let smallest = files.iter().filter(of).min_by_key(|file| file["bytes"].as_u64());
        smallest.expect("a file")["stored"][0]["location"].as_str().expect("a location").to_owned()
    };
    let all: &[&str] = &["avif", "webp", "jpg"];
    for (accept, formats) in [
        (Some(MODERN), all),
        (Some(WEBP), &["webp", "jpg"]),
        (Some(OLD), &["jpg"]),
        (Some("*/*"), &["jpg"]),
        (None, &["jpg"]),
        (Some("image/avif"), &["avif"]),
        (Some("image/avif;q=0.1,*/*;q=1.0"), &["avif", "jpg"]),
        (Some("image/webp, image/avif;q=0"), &["webp"]),
        (Some("image/jpeg;q=0, */*"), &["jpg"]),
        (Some("text/html"), &["jpg"]),
    ] {
        for (wanted, width) in
            [("", 160), ("?w=160", 160), ("?w=1", 40), ("?w=41", 80), ("?w=80", 80), ("?w=65535", 160)]
        {
            for named in [hash, id] {
                let path = format!("/image/{named}{wanted}");
                let answer = shown(&app, &path, accept).await;
                assert_eq!(answer.status(), StatusCode::OK, "{accept:?} {path}");
                let headers = answer.headers();
                assert_eq!(headers["content-location"], smallest(formats, width).as_str(), "{accept:?} {path}");
                assert_eq!(
                    (varies(headers).as_str(), headers["cache-control"].to_str().expect("text")),
                    ("Accept", "public, max-age=300")
                );
                let file = app.get(headers["content-location"].to_str().expect("text")).await;
                for name in [
                    "etag",
                    "last-modified",
                    "content-type",
                    "content-length",
                    "content-security-policy",
                    "x-content-type-options",
                ] {
                    assert_eq!(headers[name], file.headers()[name], "{name}");
                }
                assert_eq!(answer.bytes().await.expect("a body"), file.bytes().await.expect("a body"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_a_format_and_the_files_own_address_can_be_asked_for() {
    let app = TestApp::start().await;
    let status = app.done("me", job(), "a.jpg", jpeg(400, 300, 1)).await;
    let path = |query: &str| format!("/image/{}{query}", status["hash"].as_str().expect("a hash"));
    let square = shown(&app, &path("?box=50x50&format=jpg"), Some(MODERN)).await;
    assert_eq!(varies(square.headers()), "", "nothing depends on what it takes");
    assert_eq!(seen(square).await, ("image/jpeg".to_owned(), Some((50, 50))));
    let narrow = shown(&app, &path("?box=40x0&format=auto&unknown=1"), Some(WEBP)).await;
    assert_eq!(varies(narrow.headers()), "Accept");
    for (query, code) in [
        ("?box=50x51", "not_found"),
        ("?box=0x40", "not_found"),
        ("?format=png", "not_found"),
        ("?format=heic", "not_found"),
        ("?box=50x50&format=png", "not_found"),
        ("?w=0", "bad_parameter"),
        ("?w=65536", "bad_parameter"),
        ("?w=%2B8", "bad_parameter"),
        ("?w=8.5", "bad_parameter"),
        ("?w=8&w=9", "bad_parameter"),
        ("?box=50", "bad_parameter"),
        ("?box=50x", "bad_parameter"),
        ("?box=-1x50", "bad_parameter"),
        ("?redirect=yes", "bad_parameter"),
    ] {
        let answer = shown(&app, &path(query), None).await;
        let is_by_accept = !query.contains("format=");
        assert_eq!(varies(answer.headers()), if is_by_accept { "Accept" } else { "" }, "{query}");
        assert_problem(answer, if code == "not_found" { 404 } else { 400 }, code).await;
    }
    let moved = shown(&app, &path("?redirect=true&w=80"), Some("image/webp")).await;
    assert_eq!((moved.status(), varies(moved.headers()).as_str()), (StatusCode::FOUND, "Accept"));
    assert_eq!(moved.headers()["cache-control"], "public, max-age=300");
    let location = moved.headers()["location"].to_str().expect("text").to_owned();
    assert!(location.starts_with("/files/shop/") && location.ends_with("_0_80_.webp"), "{location}");
    assert_eq!(app.get(&location).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_that_it_varies_and_a_known_picture_is_not_sent_again() {
    let app = TestApp::start().await;
    let status = app.done("me", job(), "a.jpg", jpeg(400, 300, 1)).await;
    let path = format!("/image/{}", status["hash"].as_str().expect("a hash"));
    let whole = shown(&app, &path, Some(MODERN)).await;
    let (etag, bytes) =
        (whole.headers()["etag"].to_str().expect("text").to_owned(), whole.bytes().await.expect("a body"));
    let known = ask(&app, Method::GET, &path, &[("accept", MODERN), ("if-none-match", &etag)]).await;
    assert_eq!((known.status(), varies(known.headers()).as_str()), (StatusCode::NOT_MODIFIED, "Accept"));
    assert_eq!(known.headers()["etag"], etag.as_str());
    // What one browser knows tells nothing of what another one is shown.
    let other = ask(&app, Method::GET, &path, &[("accept", OLD), ("if-none-match", &etag)]).await;
    assert_eq!(other.headers()["content-type"], "image/jpeg");
    let part = ask(&app, Method::GET, &path, &[("accept", MODERN), ("range", "bytes=3-9")]).await;
    assert_eq!((part.status(), varies(part.headers()).as_str()), (StatusCode::PARTIAL_CONTENT, "Accept"));
    assert_eq!(part.bytes().await.expect("a body"), bytes[3..=9]);
    let head = ask(&app, Method::HEAD, &path, &[("accept", MODERN)]).await;
    assert_eq!(head.headers()["content-length"].to_str().ok(), Some(&*bytes.len().to_string()));
    assert_eq!((head.headers()["etag"].to_str().ok(), varies(head.headers()).as_str()), (Some(&*etag), "Accept"));
    for unknown in
        ["/image/nothing", &format!("/image/{}", "0".repeat(64)), "/image/01890a5d-ac96-774b-bcce-b302099a8057"]
    {
        let answer = shown(&app, unknown, Some(MODERN)).await;
        assert_eq!(varies(answer.headers()), "Accept", "{unknown}");
        assert_problem(answer, 404, "not_found").await;
    }
    assert_problem(ask(&app, Method::PUT, &path, &[]).await, 405, "method_not_allowed").await;
    let options = ask(&app, Method::OPTIONS, &path, &[]).await;
    assert_eq!(
        (options.status(), &options.headers()["allow"]),
        (StatusCode::NO_CONTENT, &"GET, HEAD".parse().expect("a value"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_is_shown_as_far_as_it_is_stored_and_kept_by_no_cache() {
    let app = TestApp::start().await;
    let s3 = app.register(dead_store()).await;
    let lasting = json!({ "directHost": true, "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    let picture = jpeg(60, 40, 1);
    let live = app.accepted("me", lasting, "a.jpg", picture.clone()).await;
    app.wait_for(&live, "to store a file here", |status| status["files"][0]["stored"][0].is_object()).await;
    let path = |job: &Value| format!("/image/{}", job["job_id"].as_str().expect("an id"));
    let answer = shown(&app, &path(&live), None).await;
    assert_eq!((answer.status(), answer.headers()["cache-control"].to_str().ok()), (StatusCode::OK, Some("no-store")));
    let mut waiting = small_job();
    waiting["onDuplicate"] = json!("queue");
    let pending = app.accepted("me", waiting, "a.jpg", picture).await;
    let answer = shown(&app, &path(&pending), None).await;
    let headers = answer.headers();
    assert_eq!(
        (headers["retry-after"].to_str().ok(), headers["cache-control"].to_str().ok()),
        (Some("1"), Some("no-store"))
    );
    assert_eq!(varies(headers), "Accept");
    assert_problem(answer, 404, "not_ready").await;
    // What was stored of a job that came to no good end is there.
    let cancel = format!("/cancel?job_id={}", live["job_id"].as_str().expect("an id"));
    let cancelled = app.request(Method::DELETE, &cancel).bearer_auth(Claims::of("me").sign()).send().await;
    assert_eq!(cancelled.expect("an answer").status(), StatusCode::NO_CONTENT);
    let answer = shown(&app, &path(&live), None).await;
    assert_eq!(
        (answer.status(), answer.headers()["cache-control"].to_str().ok()),
        (StatusCode::OK, Some("public, max-age=300"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_is_never_shown() {
    let app = TestApp::start().await;
    let kept = json!({ "directHost": true, "keepOriginal": true, "formats": { "webp": { "sizes": [[8]] } } });
    let status = app.done("me", kept, "a.jpg", jpeg(60, 40, 1)).await;
    let path = format!("/image/{}", status["hash"].as_str().expect("a hash"));
    // Nothing else is there, and what it can't draw is better than nothing.
    assert_eq!(shown(&app, &path, Some("image/jpeg")).await.headers()["content-type"], "image/webp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_says_how_wide_it_shows_a_picture_is_heeded_where_that_is_on() {
    let app = TestApp::start_with(&[("PIXERVE_IMAGES_CLIENT_HINTS", "true")]).await;
    let status = app.done("me", job(), "a.jpg", jpeg(400, 300, 1)).await;
    let path = format!("/image/{}", status["hash"].as_str().expect("a hash"));
    let width = async |query: &str, hint: &str| {
        let answer = ask(&app, Method::GET, &format!("{path}{query}"), &[("sec-ch-width", hint)]).await;
        assert_eq!(answer.headers()["accept-ch"], "Sec-CH-Width");
        assert_eq!(varies(answer.headers()), "Accept, Sec-CH-Width");
        seen(answer).await.1.expect("a picture").0
    };
    assert_eq!((width("", "41").await, width("", "nonsense").await, width("", "").await), (80, 160, 160));
    assert_eq!(width("?w=40", "160").await, 40, "what the page says counts first");
    let plain = TestApp::start().await;
    let status = plain.done("me", job(), "a.jpg", jpeg(400, 300, 1)).await;
    let path = format!("/image/{}", status["hash"].as_str().expect("a hash"));
    let answer = ask(&plain, Method::GET, &path, &[("sec-ch-width", "41")]).await;
    assert!(!answer.headers().contains_key("accept-ch"));
    assert_eq!(seen(answer).await.1, Some((160, 120)), "it is off by default");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_written_again_may_be_kept_for_a_day_and_what_is_private_is_not_shown() {
    let app = TestApp::start().await;
    let with = |field: &str| {
        let mut job = job();
        job[field] = json!(true);
        job
    };
    let unique = app.done("me", with("unique"), "a.jpg", jpeg(400, 300, 1)).await;
    for (named, cache) in [("job_id", "public, max-age=86400"), ("hash", "public, max-age=300")] {
        let path = format!("/image/{}", unique[named].as_str().expect("text"));
        assert_eq!(shown(&app, &path, None).await.headers()["cache-control"], cache, "{named}");
    }
    let private = app.done("me", with("private"), "b.jpg", jpeg(400, 300, 2)).await;
    let path = format!("/image/{}", private["job_id"].as_str().expect("an id"));
    assert_problem(shown(&app, &path, None).await, 404, "not_found").await;
}
