//! Claims that ask for too much, or for nonsense.

use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use pixerve::clock::{Clock, System};
use pixerve::job::{ParsedJob, SpecLimits};

use super::{assert_spool_is_empty, assert_still_works, figure};
use crate::harness::app::{TestApp, assert_problem, files_below};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// What is asked of `jpg`, and where the error is.
fn refused() -> Vec<(Value, &'static str)> {
    let sizes = |sizes: Value| json!({ "sizes": sizes });
    let settings = |name: &str, value: Value| json!({ "settings": { name: value } });
    let mut cases = vec![
        (sizes(json!([[-1]])), "/sizes/0/0"),
        (sizes(json!([[8, -1]])), "/sizes/0/1"),
        (sizes(json!([[2_147_483_648_u64]])), "/sizes/0/0"),
        (sizes(json!([[4_294_967_296_u64, 8]])), "/sizes/0/0"),
        (sizes(json!([[18_446_744_073_709_551_615_u64]])), "/sizes/0/0"),
        (sizes(json!([[65_536]])), "/sizes/0/0"),
        (sizes(json!([[1e300]])), "/sizes/0/0"),
        (sizes(json!([[8.5]])), "/sizes/0/0"),
        (sizes(json!([["8"]])), "/sizes/0/0"),
        (sizes(json!([[null]])), "/sizes/0/0"),
        (sizes(json!([[[8]]])), "/sizes/0/0"),
        (sizes(json!([[]])), "/sizes/0"),
        (sizes(json!([[1, 2, 3]])), "/sizes/0"),
        (sizes(json!([8])), "/sizes/0"),
        (sizes(json!(8)), "/sizes"),
        (sizes(json!({ "0": [8] })), "/sizes"),
        (sizes(json!([[8], [8, 8]])), "/sizes/1"),
        (sizes(json!([[0], [0, 0]])), "/sizes/1"),
        (json!([]).to_string().into(), ""),
    ];
    for quality in [json!(101), json!(-1), json!(1000), json!(80.5), json!("80"), json!(true), json!(4_294_967_376_u64)]
    {
        cases.push((settings("quality", quality), "/settings/quality"));
    }
    for speed in [json!(11), json!(-1), json!(256), json!("fast")] {
        cases.push((settings("speed", speed), "/settings/speed"));
    }
    cases.push((settings("lossless", json!(true)), "/settings/lossless"));
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_out_of_range_are_a_422_at_their_pointer() {
    let app = TestApp::start().await;
    let cases = refused();
    let count = cases.len();
    for (jpg, pointer) in cases {
        let token = Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": jpg } })).sign();
        let body = assert_problem(app.upload(&token, "a.jpg", jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
        let pointers: Vec<_> =
            body["errors"].as_array().expect("errors").iter().map(|e| e["pointer"].clone()).collect();
        assert_eq!(pointers, [json!(format!("/job/formats/jpg{pointer}"))], "{jpg}: {body}");
    }
    // Too many, as far as a token can say it: 8 KiB.
    let many: Vec<Value> = (1..=65).map(|n| json!([n])).collect();
    let most: Vec<Value> = (1..=900).map(|n| json!([n])).collect();
    for sizes in [many, most] {
        let token =
            Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": { "sizes": sizes } } })).sign();
        let body = assert_problem(app.upload(&token, "a.jpg", jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
        assert_eq!(body["errors"][0]["pointer"], "/job/formats");
    }
    // Deeper than anything is read; and deeper than a token can be.
    let deep = |depth: usize| {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let job = format!(r#"{{"directHost":true,"formats":{{"jpg":{{"sizes":{nested}}}}}}}"#);
        let now = crate::harness::token::now();
        let claims = format!(r#"{{"sub":"me","iat":{now},"exp":{},"job":{job}}}"#, now + 60);
        crate::auth::forge::hs256(r#"{"alg":"HS256"}"#, &claims, crate::harness::token::SECRET.as_bytes())
    };
    for depth in [200, 2_500, 10_000] {
        // As a part: the deepest is longer than a request's head may be.
        let form = Form::new().text("token", deep(depth)).part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg"));
        let response = app.request(Method::POST, "/upload").multipart(form).send().await;
        assert_problem(response.expect("an answer"), 401, "unauthorized").await;
    }
    let token = Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": { "sizes": [[0, 0]] } } })).sign();
    assert_eq!(app.upload(&token, "a.jpg", jpeg(8, 8, 1)).await.status(), StatusCode::OK, "0 is a size");
    assert_still_works(&app, 5).await;
    assert_spool_is_empty(&app.data_dir()).await;
    assert_eq!(files_below(&app.serve_dir()).len(), 2);
    figure(format!("{} jobs out of range: each a 4xx that names the field, 0 files left", count + 5));
}

/// What no token can carry, but a future way in might.
#[test]
fn a_million_sizes_cost_no_million_steps() {
    let clock = System::new();
    for size in [json!([8]), json!([-1]), json!({}), json!([1, 2, 3])] {
        let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": vec![size.clone(); 1_000_000] } } });
        // The fastest of three: other tests run at the same time.
        let tries = [(); 3].map(|()| {
            let started = clock.elapsed();
            let errors = ParsedJob::from_claim(Some(&job), SpecLimits::default()).expect_err("refused");
            (clock.elapsed().saturating_sub(started), errors.to_string())
        });
        let (took, errors) = tries.into_iter().min_by_key(|(took, _)| *took).expect("three");
        assert!(took < std::time::Duration::from_secs(1), "{size}: {took:?}");
        assert!(errors.len() < 64 * 1024, "{size}: {} bytes of errors", errors.len());
    }
    let names: serde_json::Map<_, _> = (0..100_000).map(|n| (format!("f{n}"), json!({}))).collect();
    let started = clock.elapsed();
    let job = json!({ "directHost": true, "formats": names, "storageKeys": { "x": 1 } });
    ParsedJob::from_claim(Some(&job), SpecLimits::default()).expect_err("refused");
    assert!(clock.elapsed().saturating_sub(started) < std::time::Duration::from_secs(5));
}
