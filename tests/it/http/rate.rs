//! Too many requests, and answers that nobody reads.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// More than ten seconds' worth at one a second, even if this takes half a minute.
const FLOOD: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_floods_is_told_to_wait_and_files_and_health_are_not_counted() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24"),
    ])
    .await;
    let mut refused = None;
    for _ in 0..FLOOD {
        let response = app.get("/status?hash=unknown").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    assert_problem(refused.expect("a refusal"), 429, "too_many_requests").await;
    for path in ["/health", "/version", "/files/nothing.jpg"] {
        assert_ne!(app.get(path).await.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "1")]).await;
    let ask = async |client: &str| {
        let request = app.request(reqwest::Method::GET, "/status?hash=unknown").header("x-forwarded-for", client);
        request.send().await.expect("an answer").status()
    };
    let mut refused = 0;
    for _ in 0..FLOOD {
        refused += u32::from(ask("192.0.2.1").await == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 0);
    assert_eq!(ask("192.0.2.2").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_floods_is_told_to_wait_and_others_are_not() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "1")]).await;
    let token = Claims::of("flooder").job(small_job()).sign();
    let mut refused = None;
    for _ in 0..FLOOD {
        let response = app.upload(&token, "a.jpg", b"no image".to_vec()).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    assert_problem(refused.expect("a refusal"), 429, "too_many_requests").await;
    app.accepted("someone else", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
}

/// A field of limits: their names with one of their parameters and another.
fn limits(headers: &HeaderMap, field: &str, parameters: [&str; 2]) -> Vec<(String, i64, i64)> {
    let Some(value) = headers.get(field) else { return Vec::new() };
    let list: List = Parser::new(value.as_bytes()).parse().expect("a structured field");
    let limit = |entry: ListEntry| {
        let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else { panic!("{entry:?}") };
        assert_eq!(params.len(), 2, "{value:?}");
        let parameter =
            |name: &str| params.get(name).and_then(BareItem::as_integer).map(i64::from).expect("an integer");
        (name.as_str().to_owned(), parameter(parameters[0]), parameter(parameters[1]))
    };
    list.into_iter().map(limit).collect()
}

fn policies(headers: &HeaderMap) -> Vec<(String, i64, i64)> {
    limits(headers, "ratelimit-policy", ["q", "w"])
}

fn left(headers: &HeaderMap) -> Vec<(String, i64, i64)> {
    limits(headers, "ratelimit", ["r", "t"])
}

/// A limit that a test doesn't come near, however long it takes.
const ROOMY: &str = "10000";
/// So that this machine, whose processes may be proxies, is limited like any other.
const NO_PROXY: &str = "192.0.2.0/24";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_limited_route_says_what_is_left_and_others_say_nothing() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", ROOMY),
        ("PIXERVE_SERVER_RATE_PER_USER", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", NO_PROXY),
        ("PIXERVE_SERVER_CORS_ORIGINS", "https://shop.example"),
    ])
    .await;
    let address = ("address".to_owned(), 100_000, 10);
    for path in ["/status?hash=unknown", "/limits", "/openapi.json", "/register", "/status"] {
        let answer = app.get(path).await;
        assert_eq!(policies(answer.headers()), [address.clone()], "{path}");
        let nearest = left(answer.headers());
        assert!(matches!(&nearest[..], [(name, r, 1)] if name == "address" && *r > 90_000), "{path}: {nearest:?}");
    }
    for path in ["/health", "/version", "/files/nothing.jpg", "/nothing", "/metrics"] {
        let answer = app.get(path).await;
        assert_eq!((policies(answer.headers()), left(answer.headers())), (vec![], vec![]), "{path}");
    }
    let preflight = app.request(Method::OPTIONS, "/upload").header("origin", "https://shop.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await.expect("an answer");
    assert!(left(preflight.headers()).is_empty());

    // Uploads, however early they are refused; a user is counted once it is known who it is.
    let token = Claims::of("uploader").job(small_job()).sign();
    let both = [address.clone(), ("user".to_owned(), 10, 10)];
    let accepted = app.upload(&token, "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!((accepted.status(), policies(accepted.headers())), (StatusCode::OK, both.to_vec()));
    let first = left(accepted.headers());
    assert!(matches!(&first[..], [(name, r, t)] if name == "user" && *r <= 9 && (1..=10).contains(t)), "{first:?}");
    let refused = app.upload(&token, "a.jpg", b"no image".to_vec()).await;
    assert_eq!((refused.status(), policies(refused.headers())), (StatusCode::UNSUPPORTED_MEDIA_TYPE, both.to_vec()));
    let unknown = app.upload("none", "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!((unknown.status(), policies(unknown.headers())), (StatusCode::UNAUTHORIZED, vec![address.clone()]));
    let foreign = app.request(Method::POST, "/upload").header("origin", "https://other.example").send();
    let foreign = foreign.await.expect("an answer");
    assert_eq!((foreign.status(), policies(foreign.headers())), (StatusCode::FORBIDDEN, vec![address]));
    // A page may read them.
    let exposed = app.request(Method::POST, "/upload").header("origin", "https://shop.example").send();
    let exposed = exposed.await.expect("an answer").headers()["access-control-expose-headers"].clone();
    let exposed = exposed.to_str().expect("text");
    for name in ["RateLimit", "RateLimit-Policy", "Retry-After", "Idempotency-Replayed"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_wait_is_told_for_which_limit_and_no_sooner_than_it_has_room() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", ROOMY),
        ("PIXERVE_SERVER_RATE_PER_USER", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", NO_PROXY),
    ])
    .await;
    let token = Claims::of("flooder").job(small_job()).sign();
    for n in 0..FLOOD {
        let answer = app.upload(&token, "a.jpg", b"no image".to_vec()).await;
        let nearest = left(answer.headers());
        let [(name, r, t)] = nearest.as_slice() else { panic!("one is nearest: {:?}", answer.headers()) };
        assert_eq!(name, "user", "{n}");
        if answer.status() != StatusCode::TOO_MANY_REQUESTS {
            assert!(*t >= 1, "{n}");
            continue;
        }
        assert_eq!(*r, 0);
        let retry_after: i64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
        assert!(retry_after >= *t && *t >= 1, "{retry_after} {t}");
        let problem = assert_problem(answer, 429, "too_many_requests").await;
        assert_eq!(problem["violated-policies"], json!(["user"]));
        return;
    }
    panic!("never told to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_limited_is_not_told() {
    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"), ("PIXERVE_SERVER_RATE_PER_USER", "1")]).await;
    let answer = app.get("/limits").await;
    assert_eq!((policies(answer.headers()), left(answer.headers())), (vec![], vec![]));
    let token = Claims::of("uploader").job(small_job()).sign();
    let answer = app.upload(&token, "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!(policies(answer.headers()), [("user".to_owned(), 10, 10)]);

    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"), ("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let answer = app.upload(&token, "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!((answer.status(), policies(answer.headers())), (StatusCode::OK, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_of_its_answer_loses_its_place() {
    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_WRITE_TIMEOUT", "1s"), ("PIXERVE_SERVER_CONNECTIONS_MAX", "1")]).await;
    // More than any socket's buffers hold.
    let mut file = File::create(app.serve_dir().join("large.jpg")).expect("a file");
    file.write_all(&vec![7; 64 << 20]).expect("its bytes");
    let mut idle = TcpStream::connect(app.addr()).expect("a connection");
    idle.write_all(b"GET /files/large.jpg HTTP/1.1\r\nHost: here\r\n\r\n").expect("a request");
    // There is one place, so this answer means that the other connection has lost it.
    assert_eq!(app.get("/version").await.status(), StatusCode::OK);
    drop(idle);
}
