//! The private directory at the start, and while it can't be used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use reqwest::Method;
use serde_json::{Value, json};

use super::home::{get, location, private_job, reading};
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;

async fn refuses_to_start(home: &Home, settings: &[(&str, &str)], words: &[&str]) {
    let mut server = home.spawn(settings);
    let status = server.exited().await;
    let said = home.terminal();
    assert_eq!(status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_and_what_is_served_lie_apart_links_followed() {
    let home = Home::new(&[]);
    let path = |name: &str| home.root().join(name).display().to_string();
    for (serve, private) in
        [("serve", "serve"), ("serve", "serve/private"), ("private/serve", "private"), ("serve", "x/../serve/y")]
    {
        let settings = [("PIXERVE_SERVE_DIR", &*path(serve)), ("PIXERVE_PRIVATE_DIR", &*path(private))];
        refuses_to_start(&home, &settings, &["private_dir", "serve_dir"]).await;
    }
    // By names they lie apart.
    fs::create_dir_all(home.root().join("real/below")).expect("made");
    symlink(home.root().join("real"), home.root().join("link")).expect("linked");
    symlink(home.root().join("real/below"), home.root().join("deep")).expect("linked");
    for (serve, private) in
        [("real", "link"), ("link", "real"), ("link", "deep"), ("deep", "link"), ("link", "real/below")]
    {
        let settings = [("PIXERVE_SERVE_DIR", &*path(serve)), ("PIXERVE_PRIVATE_DIR", &*path(private))];
        refuses_to_start(&home, &settings, &["private_dir", "serve_dir", "links followed"]).await;
    }
    refuses_to_start(&home, &[("PIXERVE_PRIVATE_DIR", &path("data"))], &["data_dir", "private_dir"]).await;
    // Within the data directory it is nobody else's.
    let server = home.start_with(&[("PIXERVE_PRIVATE_DIR", &path("data/private"))]).await;
    let done = server.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    assert_eq!(done["state"], "completed", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_directory_is_its_owners_alone_and_one_that_was_chosen_must_be_usable() {
    let home = Home::new(&[]);
    {
        let mut server = home.start().await;
        let done = server.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
        let mut path = home.root().join(location(&done).trim_start_matches('/'));
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        while path != home.root() {
            path.pop();
            assert!(path == home.root() || mode(&path) == 0o700, "{}", path.display());
        }
        server.terminate();
        server.exited().await;
    }
    fs::remove_dir_all(home.root().join("private")).expect("removed");
    fs::File::create(home.root().join("private")).expect("a file");
    let mut server = home.spawn(&[]);
    assert!(!server.exited().await.success());
    assert!(home.terminal().contains("private"), "{}", home.terminal());

    // Nobody chose the default: what was there before goes on as it did.
    let server = home.start_with(&[("PIXERVE_PRIVATE_DIR", "")]).await;
    assert!(home.log().contains("no private files are kept"), "{}", home.log());
    let answer = server.upload(&Claims::of("ann").job(private_job()).sign(), "cat.jpg", jpeg(8, 8, 1)).await;
    let problem = assert_problem(answer, 422, "invalid_fields").await;
    assert_eq!(problem["errors"][0]["pointer"], "/job/private");
    assert_eq!(server.done("ann", small_job(), "cat.jpg", jpeg(32, 24, 2)).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_directory_that_goes_holds_its_jobs_until_it_is_back_and_fails_none() {
    let app = TestApp::start().await;
    let first = app.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    fs::remove_dir_all(app.private_dir()).expect("removed");
    let is = |health: &Value, status: &str| health["checks"]["disk"]["private"]["status"] == status;
    let health = async || app.get_json("/health").await;
    while !is(&health().await, "failing") {
        crate::harness::app::poll_delay().await;
    }
    let waits = app.accepted("ann", private_job(), "cat.jpg", jpeg(32, 24, 2)).await;
    assert_eq!(app.get_json(waits["status_url"].as_str().expect("a URL")).await["error"], Value::Null);
    fs::create_dir(app.private_dir()).expect("made");
    let done = app.ended(&waits).await;
    assert_eq!(done["state"], "completed", "{done}");
    let reads = reading(&Claims::of("ann"), "/");
    assert_eq!(get(&app, &reads, location(&done)).await.status(), 200);
    assert_problem(get(&app, &reads, location(&first)).await, 404, "not_found").await;
    while !is(&health().await, "ok") {
        crate::harness::app::poll_delay().await;
    }
    let doctor = app.admin(Method::POST, "/doctor", None).await;
    let checks: Value = doctor.json().await.expect("JSON");
    let of_private =
        checks["checks"].as_array().expect("checks").iter().find(|check| check["check"] == "private directory");
    assert_eq!(of_private.expect("it is looked at")["state"], json!("ok"), "{checks}");
}
