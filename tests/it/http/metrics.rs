//! `GET /metrics`: what is told, and to whom.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::{Method, Response};
use serde_json::json;

use crate::harness::app::{TestApp, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::reserve_port;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};
use crate::sandbox::FakeChild;

const TOKEN: &str = "a-token-of-32-bytes-or-more-for-scrapers";

/// Every name with its type and one of its series, which is there from the start.
const TOLD: [(&str, &str, &str); 46] = [
    ("pixerve_build_info", "gauge", "git_commit="),
    ("pixerve_http_requests_total", "counter", r#"method="DELETE",route="/cancel",status="200"} 0"#),
    ("pixerve_http_request_duration_seconds", "histogram", r#"method="POST",route="/upload""#),
    ("pixerve_http_connections", "gauge", ""),
    ("pixerve_uploads_total", "counter", r#"via="multipart",result="accepted"} 0"#),
    ("pixerve_upload_bytes_total", "counter", " 0"),
    ("pixerve_jobs", "gauge", r#"state="storing",priority="queued"} 0"#),
    ("pixerve_jobs_ended_total", "counter", r#"state="failed",error="store_unreachable"} 0"#),
    ("pixerve_job_wait_seconds", "histogram", r#"priority="realtime""#),
    ("pixerve_job_duration_seconds", "histogram", r#"state="cancelled""#),
    ("pixerve_queue_oldest_pending_seconds", "gauge", r#"priority="queued"} 0"#),
    ("pixerve_attempts_total", "counter", r#"outcome="lost"} 0"#),
    ("pixerve_step_duration_seconds", "histogram", r#"step="decode",format="webp""#),
    ("pixerve_variants_total", "counter", r#"format="avif"} 0"#),
    ("pixerve_variant_bytes_total", "counter", r#"format="png"} 0"#),
    ("pixerve_store_operations_total", "counter", r#"backend="gcs",operation="delete",result="retried"} 0"#),
    ("pixerve_store_operation_duration_seconds", "histogram", r#"backend="directHost",operation="put""#),
    ("pixerve_callbacks_pending", "gauge", " 0"),
    ("pixerve_callback_oldest_pending_seconds", "gauge", " 0"),
    ("pixerve_callback_attempts_total", "counter", r#"result="given_up"} 0"#),
    ("pixerve_sandbox_children", "gauge", " 0"),
    ("pixerve_sandbox_deaths_total", "counter", r#"cause="memory"} 0"#),
    ("pixerve_memory_budget_bytes", "gauge", ""),
    ("pixerve_memory_reserved_bytes", "gauge", " 0"),
    ("pixerve_disk_free_bytes", "gauge", r#"dir="serve"} "#),
    ("pixerve_spool_entries", "gauge", " 0"),
    ("pixerve_spool_bytes", "gauge", " 0"),
    ("pixerve_database_bytes", "gauge", r#"database="queue""#),
    ("pixerve_sync_duration_seconds", "histogram", ""),
    ("pixerve_erasures_running", "gauge", " 0"),
    ("pixerve_jobs_erased_total", "counter", r#"reason="expired"} 0"#),
    ("pixerve_gc_running", "gauge", " 0"),
    ("pixerve_gc_runs_total", "counter", r#"state="failed"} 0"#),
    ("pixerve_gc_files_total", "counter", r#"outcome="deleted"} 0"#),
    ("pixerve_gc_unknown_files", "gauge", " 0"),
    ("pixerve_gc_missing_files", "gauge", " 0"),
    ("pixerve_store_breakers_open", "gauge", r#"backend="s3"} 0"#),
    ("pixerve_storing_oldest_seconds", "gauge", r#"backend="gcs"} 0"#),
    ("process_cpu_seconds_total", "counter", ""),
    ("process_resident_memory_bytes", "gauge", ""),
    ("process_open_fds", "gauge", ""),
    ("process_max_fds", "gauge", ""),
    ("process_start_time_seconds", "gauge", " 1"),
    ("pixerve_jobs_ended_total", "counter", r#"state="completed",error="none"} 0"#),
    ("pixerve_step_duration_seconds", "histogram", r#"step="store",format="original""#),
    ("pixerve_http_request_duration_seconds", "histogram", r#"method="GET",route="/files/{*path}""#),
];
/// More would be a burden to whoever keeps them.
const SERIES_MAX: usize = 1500;

async fn started() -> TestApp {
    TestApp::start_with(&[("PIXERVE_METRICS_TOKEN", TOKEN)]).await
}

async fn scrape(app: &TestApp, token: &str, accept: &str) -> Response {
    let request = app.request(Method::GET, "/metrics").bearer_auth(token).header("Accept", accept);
    request.send().await.expect("an answer")
}

async fn told(app: &TestApp) -> String {
    scrape(app, TOKEN, "*/*").await.text().await.expect("text")
}

/// The value of the series that `line` begins.
fn value(told: &str, line: &str) -> f64 {
    let rest = told.lines().find_map(|told| told.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in\n{told}"));
    rest.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_is_there_from_the_start_with_its_type_and_the_series_are_few() {
    let app = started().await;
    let told = told(&app).await;
    for (name, kind, series) in TOLD {
        let is_typed = told.lines().any(|line| line == format!("# TYPE {name} {kind}"));
        assert!(is_typed, "{name} is no {kind} in\n{told}");
        let begins = |line: &str| line.starts_with(name) && !line.starts_with('#') && line.contains(series);
        assert!(told.lines().any(begins), "no {name} with {series} in\n{told}");
    }
    let typed = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let unknown: Vec<_> = typed.filter(|name| TOLD.iter().all(|(known, ..)| known != name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are nowhere described");
    let series = told.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= SERIES_MAX, "{series} series");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_and_nothing_says_to_whom() {
    let app = started().await;
    let receiver = Receiver::start().await;
    let mut job = small_job();
    job["formats"]["webp"] = json!({ "sizes": [[16]] });
    job["subDir"] = json!("canary-directory");
    job["keepOriginal"] = json!(true);
    job["completionCallback"] = json!(receiver.url);
    app.done("canary-subject", job, "canary-name.jpg", jpeg(40, 30, 1)).await;
    receiver.call().await;
    let refused = app.upload(&Claims::of("canary-subject").job(small_job()).sign(), "a.jpg", b"none".to_vec()).await;
    assert_problem(refused, 415, "unsupported_image").await;
    app.get("/canary-path").await;

    let told = loop {
        let told = told(&app).await;
        // The last to be counted.
        if told.contains(r#"pixerve_callback_attempts_total{result="delivered"} 1"#)
            && told.contains(r#"route="none",status="404"} 1"#)
        {
            break told;
        }
        poll_delay().await;
    };
    for (series, expected) in [
        (r#"pixerve_uploads_total{via="multipart",result="accepted"}"#, 1.0),
        (r#"pixerve_uploads_total{via="multipart",result="unsupported_image"}"#, 1.0),
        (r#"pixerve_http_requests_total{method="POST",route="/upload",status="200"}"#, 1.0),
        (r#"pixerve_jobs_ended_total{state="completed",error="none"}"#, 1.0),
        (r#"pixerve_job_wait_seconds_count{priority="realtime"}"#, 1.0),
        (r#"pixerve_job_duration_seconds_count{state="completed"}"#, 1.0),
        (r#"pixerve_attempts_total{outcome="settled"}"#, 1.0),
        (r#"pixerve_variants_total{format="jpg"}"#, 1.0),
        (r#"pixerve_variants_total{format="webp"}"#, 1.0),
        (r#"pixerve_step_duration_seconds_count{step="decode",format="jpg"}"#, 1.0),
        (r#"pixerve_step_duration_seconds_count{step="resize",format="none"}"#, 2.0),
        (r#"pixerve_step_duration_seconds_count{step="encode",format="webp"}"#, 1.0),
        (r#"pixerve_step_duration_seconds_count{step="verify",format="jpg"}"#, 1.0),
        (r#"pixerve_step_duration_seconds_count{step="store",format="original"}"#, 1.0),
        (r#"pixerve_store_operations_total{backend="directHost",operation="put",result="ok"}"#, 3.0),
    ] {
        assert!((value(&told, series) - expected).abs() < 1e-9, "{series} is not {expected} in\n{told}");
    }
    assert!(value(&told, "pixerve_upload_bytes_total") > 500.0);
    assert!(value(&told, "pixerve_sync_duration_seconds_count") > 0.0);
    let port = receiver.url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).expect("a port").0;
    for canary in ["canary", "127.0.0.1", port, "me@"] {
        assert!(!told.lines().any(|line| line.contains('{') && line.contains(canary)), "{canary} in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_and_the_scraper_are_told_and_on_its_own_address_everybody() {
    let addr = reserve_port();
    let app =
        TestApp::start_with(&[("PIXERVE_METRICS_TOKEN", TOKEN), ("PIXERVE_METRICS_ADDR", &addr.to_string())]).await;
    assert_problem(app.get("/metrics").await, 401, "unauthorized").await;
    assert_problem(scrape(&app, "another-token-that-is-long-enough-too", "*/*").await, 401, "unauthorized").await;
    assert_problem(scrape(&app, &Claims::of("me").sign(), "*/*").await, 403, "forbidden").await;
    for token in [TOKEN.to_owned(), Claims::of("operator").admin().sign()] {
        assert_eq!(scrape(&app, &token, "*/*").await.status(), 200);
    }
    let own = reqwest::get(format!("http://{addr}/metrics")).await.expect("an answer");
    assert_eq!((own.status().as_u16(), own.headers()["cache-control"].to_str().ok()), (200, Some("no-store")));
    assert_eq!(reqwest::get(format!("http://{addr}/version")).await.expect("an answer").status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_gets_the_format_that_it_asks_for() {
    let app = started().await;
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, media_type, is_open) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", false),
        (prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8", true),
    ] {
        let response = scrape(&app, TOKEN, accept).await;
        assert_eq!(response.headers()["content-type"], media_type, "{accept}");
        assert_eq!(response.text().await.expect("text").ends_with("# EOF\n"), is_open, "{accept}");
    }
    let Some(promtool) = require(Tool::Prometheus, program("promtool")) else { return };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    check.stdin.take().expect("a pipe").write_all(told(&app).await.as_bytes()).expect("it reads");
    let output = check.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// Of each family, how many series.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_can_not_make_series() {
    let app = started().await;
    let families = |told: &str| -> BTreeMap<String, usize> {
        let names = told.lines().filter(|line| !line.starts_with('#'));
        let mut families = BTreeMap::new();
        for line in names {
            *families.entry(line.split(['{', ' ']).next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        families
    };
    let at_first = families(&told(&app).await);
    for round in 0..2 {
        for i in 0..20 {
            let method = Method::from_bytes(format!("METHOD{i}").as_bytes()).expect("a method");
            app.request(method, &format!("/path-{round}-{i}")).send().await.expect("an answer");
            app.get(&format!("/files/{round}/{i}.jpg")).await;
        }
    }
    // A refusal is counted when its answer has been sent.
    let counted = loop {
        let told = told(&app).await;
        if value(&told, r#"pixerve_http_requests_total{method="other",route="none",status="404"}"#) > 39.0 {
            break families(&told);
        }
        poll_delay().await;
    };
    // Other methods of no route, and files that are not there.
    let new = counted["pixerve_http_requests_total"] - at_first["pixerve_http_requests_total"];
    assert!(new <= 4, "{new}: {counted:?}");
    // What NEXT promises of all together, the labels being fixed.
    assert!(counted.values().sum::<usize>() < 1_500, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_death_is_counted_by_what_it_died_of() {
    for (script, cause) in [("kill -9 $$", "signal"), ("exit 3", "exit"), ("exec sleep 600", "timeout")] {
        let child = FakeChild::new(script);
        let settings = [
            ("PIXERVE_METRICS_TOKEN", TOKEN),
            ("PIXERVE_QUEUE_CRASHES_MAX", "1"),
            ("PIXERVE_WORKER_DECODE_TIMEOUT", "1s"),
        ];
        let app = TestApp::start_on(child.path(), &settings).await;
        let status = app.done("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
        assert_eq!(status["state"], "failed", "{script}: {status}");
        let told = told(&app).await;
        for other in ["memory", "timeout", "signal", "exit"] {
            let deaths = value(&told, &format!("pixerve_sandbox_deaths_total{{cause=\"{other}\"}}"));
            assert!((deaths - f64::from(u8::from(other == cause))).abs() < 1e-9, "{script}: {deaths} by {other}");
        }
        assert!(value(&told, "pixerve_sandbox_children").abs() < 1e-9, "{script}");
    }
}
