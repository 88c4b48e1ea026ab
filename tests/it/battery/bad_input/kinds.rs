//! What a client says a file is, against what it is.

use futures_util::{StreamExt, stream};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::sources::with_avif;
use super::{assert_spool_is_empty, assert_still_works, figure};
use crate::harness::app::TestApp;
use crate::harness::token::Claims;

/// File names and content types that a client may claim.
const CLAIMS: [(&str, Option<&str>); 12] = [
    ("a.jpg", Some("image/jpeg")),
    ("a.png", Some("image/png")),
    ("a.webp", Some("image/webp")),
    ("a.gif", Some("image/gif")),
    ("a.html", Some("text/html; charset=utf-8")),
    ("a.svg", Some("image/svg+xml")),
    ("a.js", Some("application/javascript")),
    ("a.php.jpg.html", Some("application/x-php")),
    ("a.exe", Some("application/octet-stream")),
    ("a.xhtml", Some("multipart/form-data; boundary=x")),
    ("a", Some("*/*")),
    (".htaccess", None),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_type_is_the_one_in_the_bytes_whatever_was_claimed() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let sources = with_avif(&app, 24, 16, 6).await;
    let pairs = sources.iter().flat_map(|source| CLAIMS.iter().enumerate().map(move |(i, claim)| (source, i, *claim)));
    let seen: Vec<()> = stream::iter(pairs)
        .map(|(source, i, (name, claimed))| {
            let app = &app;
            async move {
                // Another owner each, or the same bytes would be a duplicate.
                let job = json!({ "directHost": true, "keepOriginal": true, "subDir": format!("claim-{i}") });
                let token = Claims::of(&format!("claimant-{i}")).job(job).sign();
                let mut part = Part::bytes(source.bytes.clone()).file_name(name);
                if let Some(claimed) = claimed {
                    let mut headers = reqwest::header::HeaderMap::new();
                    headers.insert("content-type", claimed.parse().expect("a header"));
                    part = part.headers(headers);
                }
                let request = app.request(Method::POST, "/upload").bearer_auth(token);
                let response = request.multipart(Form::new().part("file", part)).send().await.expect("an answer");
                let accepted: Value = response.json().await.expect("JSON");
                let what = format!("{} as {name} and {claimed:?}: {accepted}", source.extension);
                assert!(accepted["job_id"].is_string(), "{what}");
                let done = app.ended(&accepted).await;
                assert_eq!(done["state"], "completed", "{what}");
                let file = &done["files"][0];
                let stored = file["name"].as_str().expect("a name");
                assert!(stored.ends_with(&format!(".{}", source.extension)), "{what}: {stored}");
                let response = app.get(file["stored"][0]["location"].as_str().expect("a location")).await;
                let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
                assert_eq!(header("content-type"), source.media_type, "{what}");
                assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
                assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox", "{what}");
                let attached = response.headers().contains_key("content-disposition");
                assert_eq!(attached, matches!(source.extension, "tiff" | "bmp"), "{what}");
                assert_eq!(response.bytes().await.expect("a body"), source.bytes, "{what}");
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    assert_still_works(&app, 2).await;
    assert_spool_is_empty(&app.data_dir()).await;
    figure(format!("{} originals under wrong names and content types: stored as what they are", seen.len()));
}
