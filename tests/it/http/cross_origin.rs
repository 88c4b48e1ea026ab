//! What a page of another origin may read, and from where uploads are taken.

use pixerve::config::{Config, Sources};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem, files_below, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;

const SHOP: &str = "https://shop.example";
const STRANGER: &str = "https://stranger.example";
const LISTED: (&str, &str) = ("PIXERVE_SERVER_CORS_ORIGINS", "https://shop.example,https://*.tenants.example");

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().expect("text"))
}

async fn answer(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// That a page of `origin` may read it, and what of it.
fn assert_shared(response: &Response, origin: &str) {
    assert_eq!(header(response, "access-control-allow-origin"), Some(origin), "{response:?}");
    let exposed = header(response, "access-control-expose-headers").expect("some are exposed");
    for name in ["ETag", "Location", "Retry-After", "X-Request-ID", "RateLimit", "Idempotency-Replayed"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
    }
    assert_eq!(header(response, "access-control-allow-credentials"), None);
}

fn assert_not_shared(response: &Response) {
    let leave: Vec<_> = response.headers().keys().filter(|name| name.as_str().starts_with("access-control")).collect();
    assert!(leave.is_empty(), "{leave:?} {response:?}");
}

fn upload(app: &TestApp, token: &str, bytes: Vec<u8>) -> RequestBuilder {
    let form = Form::new().part("file", Part::bytes(bytes).file_name("a.jpg"));
    app.request(Method::POST, "/upload").bearer_auth(token).multipart(form)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_on_the_routes_of_pages_may_be_read_by_a_listed_page() {
    let app = TestApp::start_with(&[LISTED]).await;
    let token = Claims::of("me").job(small_job()).sign();
    let accepted = answer(upload(&app, &token, jpeg(40, 30, 1)).header("origin", SHOP)).await;
    assert_eq!(accepted.status(), StatusCode::OK);
    assert_shared(&accepted, SHOP);
    let accepted: Value = accepted.json().await.expect("JSON");
    let hash = accepted["hash"].as_str().expect("a hash");
    app.ended(&accepted).await;

    let bad_job = Claims::of("me").job(json!({ "formats": { "gif": {} } })).sign();
    let cancel = || app.request(Method::DELETE, &format!("/cancel?hash={hash}"));
    let get = |path: &str| app.request(Method::GET, path);
    let by_hash = |route: &str| get(&format!("{route}?hash={hash}"));
    let answers = [
        (200, by_hash("/status")),
        (200, by_hash("/success")),
        (200, by_hash("/failures")),
        (200, get("/limits")),
        (409, cancel().bearer_auth(&token)),
        (401, cancel()),
        (401, upload(&app, "nonsense", jpeg(8, 8, 1))),
        (422, upload(&app, &bad_job, jpeg(8, 8, 1))),
        (415, upload(&app, &token, b"no image".to_vec())),
        (400, app.request(Method::POST, "/upload").bearer_auth(&token)),
        (400, get("/status")),
        (404, get("/status?hash=unknown")),
        (405, app.request(Method::PUT, "/upload")),
    ];
    for (status, request) in answers {
        let response = answer(request.header("origin", "https://a.tenants.example")).await;
        assert_eq!(response.status(), status, "{response:?}");
        assert_shared(&response, "https://a.tenants.example");
        assert_eq!(header(&response, "vary"), Some("origin"), "{response:?}");
    }
    // Whoever else asks may not read it, and caches keep the two apart.
    for origin in [Some(STRANGER), Some("null"), None] {
        let request = get("/status?hash=unknown");
        let response =
            answer(origin.into_iter().fold(request, |request, origin| request.header("origin", origin))).await;
        assert_not_shared(&response);
        assert_eq!(header(&response, "vary"), Some("origin"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_early_lets_pages_read_why() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_CORS_ORIGINS", "*"),
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24"),
        ("PIXERVE_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "8"),
    ])
    .await;
    let preflight = || {
        let request = app.request(Method::OPTIONS, "/status").header("origin", SHOP);
        request.header("access-control-request-method", "GET")
    };
    let mut refused = None;
    for _ in 0..60 {
        let response = answer(app.request(Method::GET, "/status?hash=unknown").header("origin", SHOP)).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
        // It isn't counted: as many again would have been refused earlier.
        assert_eq!(answer(preflight()).await.status(), StatusCode::NO_CONTENT);
    }
    let refused = refused.expect("a flood is refused");
    assert_shared(&refused, "*");
    assert_eq!(header(&refused, "vary"), None);
    assert_eq!(answer(preflight()).await.status(), StatusCode::NO_CONTENT, "nor is it refused");

    app.app().state().readiness.drain();
    let token = Claims::of("me").job(small_job()).sign();
    // Behind so many others its connection is turned away before anything of it is looked at.
    let held: Vec<_> =
        std::iter::repeat_with(|| std::net::TcpStream::connect(app.app().addr()).expect("connected")).take(8).collect();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
    let url = format!("http://{}/upload", app.app().addr());
    let mut codes = Vec::new();
    for _ in 0..500 {
        let form = Form::new().part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg"));
        let request = client.post(&url).header("origin", SHOP).bearer_auth(&token).multipart(form);
        // One that is closed unread may be reset.
        if let Ok(response) = request.send().await {
            assert_shared(&response, "*");
            assert_eq!(header(&response, "cache-control"), Some("no-store"));
            let body: Value = response.json().await.expect("JSON");
            codes.push(body["title"].as_str().expect("a title").to_owned());
        }
        if codes.iter().any(|title| title == "Too many connections") {
            break;
        }
        poll_delay().await;
    }
    drop(held);
    assert!(codes.iter().any(|title| title == "Too many connections"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_says_what_a_listed_page_may_send_and_any_other_options_what_there_is() {
    let app = TestApp::start_with(&[LISTED]).await;
    let options = |path: &str| app.request(Method::OPTIONS, path);
    let preflight = |path: &str, origin: &str| {
        options(path).header("origin", origin).header("access-control-request-method", "GET")
    };
    for (path, methods) in
        [("/upload", "POST"), ("/status", "GET,HEAD"), ("/cancel", "DELETE"), ("/limits", "GET,HEAD")]
    {
        let response = answer(preflight(path, SHOP)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
        assert_shared(&response, SHOP);
        assert_eq!(header(&response, "access-control-allow-methods"), Some(methods));
        let allowed = header(&response, "access-control-allow-headers").expect("headers");
        for name in [
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-None-Match",
            "Last-Event-ID",
            "Range",
            "Traceparent",
            "X-Request-ID",
            "X-Requested-With",
            "Cache-Control",
        ] {
            assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}");
        }
        assert_eq!(header(&response, "access-control-max-age"), Some("7200"));
        let response = answer(preflight(path, STRANGER)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_not_shared(&response);
        let response = answer(options(path)).await;
        assert_eq!((response.status(), header(&response, "allow")), (StatusCode::NO_CONTENT, Some(methods)));
    }
    // Routes of operators are no page's.
    for (path, methods) in
        [("/register", "POST,GET,HEAD,PUT,DELETE"), ("/success/list", "GET,HEAD"), ("/health", "GET,HEAD")]
    {
        let response = answer(preflight(path, SHOP)).await;
        assert_not_shared(&response);
        assert_eq!((response.status(), header(&response, "allow")), (StatusCode::NO_CONTENT, Some(methods)));
        assert_not_shared(&answer(app.request(Method::GET, path).header("origin", SHOP)).await);
    }
    assert_problem(answer(options("/nothing")).await, 404, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_files_may_be_read_by_every_page() {
    let app = TestApp::start().await;
    let status = app.done("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    let location = status["files"][0]["stored"][0]["location"].as_str().expect("a location");
    for (method, path, status) in [
        (Method::GET, location, 200),
        (Method::HEAD, location, 200),
        (Method::GET, "/files/nothing.jpg", 404),
        (Method::POST, location, 405),
    ] {
        let response = answer(app.request(method, path).header("origin", STRANGER)).await;
        assert_eq!(response.status(), status);
        assert_shared(&response, "*");
    }
    let preflight = app.request(Method::OPTIONS, location).header("origin", STRANGER);
    let response = answer(preflight.header("access-control-request-method", "GET")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_shared(&response, "*");
    assert_eq!(header(&response, "access-control-allow-methods"), Some("GET, HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_page_that_could_not_read_the_answer_is_refused_before_its_body() {
    let app = TestApp::start_with(&[LISTED]).await;
    let token = Claims::of("me").job(small_job()).sign();
    for origin in [STRANGER, "null", "https://shop.example:8443", "https://a.b.tenants.example"] {
        let response = answer(upload(&app, &token, jpeg(40, 30, 1)).header("origin", origin)).await;
        assert_not_shared(&response);
        assert_problem(response, 403, "origin_not_allowed").await;
    }
    assert_eq!(files_below(&app.data_dir().join("spool")), Vec::<String>::new());
    // The server's own page, as a proxy that speaks TLS passes it on, and whoever is no page.
    let own = format!("https://{}", app.app().addr());
    let response = answer(upload(&app, &token, jpeg(40, 30, 1)).header("origin", own)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(app.upload(&token, "b.jpg", jpeg(40, 30, 2)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_pages_upload_as_ever_and_the_log_says_once_which_setting_lets_them_read() {
    let home = Home::new(&[]);
    let server = home.start().await;
    let token = Claims::of("me").job(small_job()).sign();
    for n in 0..3 {
        let form = Form::new().part("file", Part::bytes(jpeg(40, 30, n)).file_name("a.jpg"));
        let request = server.request(Method::POST, "/upload").bearer_auth(&token).header("origin", STRANGER);
        let response = answer(request.multipart(form)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_not_shared(&response);
        assert_eq!(header(&response, "vary"), None);
    }
    let log = home.log();
    assert_eq!(log.matches(STRANGER).count(), 1, "{log}");
    assert!(log.contains("PIXERVE_SERVER_CORS_ORIGINS lets it"), "{log}");
}

#[test]
fn a_bad_origin_is_an_error_at_start_that_says_what_one_looks_like() {
    for bad in ["shop.example", "ftp://shop.example", "https://shop.example/path", "https://a.*.example"] {
        let env = vec![("PIXERVE_SERVER_CORS_ORIGINS".to_owned(), format!("{SHOP},{bad}"))];
        let sources = Sources { env, ..Sources::default() };
        let error = Config::load(sources).expect_err("it is none").to_string();
        assert!(error.contains("PIXERVE_SERVER_CORS_ORIGINS") && error.contains("https://*.shop.example"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_say_what_the_server_refuses() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_BODY_BYTES_MAX", "1 MiB"),
        ("PIXERVE_PIXELS_SOURCE_MAX", "2 MP"),
        ("PIXERVE_PIXELS_SOURCE_WHOLE_MAX", "1 MP"),
        ("PIXERVE_PIXELS_VARIANTS_MAX", "3"),
        ("PIXERVE_PIXELS_OUTPUT_MAX", "4 MP"),
        ("PIXERVE_SERVER_PARTS_MAX", "5"),
    ])
    .await;
    let response = app.get("/limits").await;
    assert_eq!(header(&response, "cache-control"), Some("public, max-age=300"));
    let limits: Value = response.json().await.expect("JSON");
    let upload = &limits["upload"];
    assert_eq!((&upload["bytes_max"], &upload["source_pixels_max"]), (&json!(1 << 20), &json!(2_000_000)));
    assert_eq!(upload["parts_max"], 5);
    assert!(
        ["jpeg", "png", "webp", "gif", "tiff"]
            .iter()
            .all(|format| { upload["inputs"].as_array().expect("formats").contains(&json!(format)) })
    );
    assert_eq!(
        limits["job"],
        json!({
            "variants_max": 3, "output_pixels_max": 4_000_000, "side_max": 65_535,
            "formats": ["jpg", "png", "webp", "avif"], "presets": []
        })
    );
    assert_eq!(limits["tus"], Value::Null);
    let token = Claims::of("me").sign();
    let response = answer(app.request(Method::GET, "/limits").bearer_auth(token)).await;
    assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, Some("no-store")));
    let response = answer(app.request(Method::GET, "/limits").bearer_auth("nonsense")).await;
    assert_problem(response, 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_kept_by_no_cache_and_a_scope_that_is_missing_is_named() {
    let app = TestApp::start().await;
    for path in ["/health", "/version", "/status?hash=unknown", "/nothing", "/register"] {
        let response = app.get(path).await;
        assert_eq!(header(&response, "cache-control"), Some("no-store"), "{path}");
    }
    let response = answer(app.request(Method::GET, "/register").bearer_auth(Claims::of("me").sign())).await;
    assert_eq!(
        header(&response, "www-authenticate"),
        Some(r#"Bearer realm="pixerve", error="insufficient_scope", scope="admin""#)
    );
    assert_problem(response, 403, "forbidden").await;
}
