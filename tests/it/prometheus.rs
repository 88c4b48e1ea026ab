//! `deploy/prometheus` and `deploy/grafana`, held against a real Prometheus that scrapes real servers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::app::{TestApp, WAIT_MAX, poll_delay, small_job};
use crate::harness::mount::Mount;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::receiver::Receiver;
use crate::harness::stores::{dead_store, s3_at};
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};
use crate::sandbox::FakeChild;

const RULES: &str = include_str!("../../deploy/prometheus/pixerve.rules.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/pixerve.json");

/// A Prometheus that looks every second.
struct Prometheus {
    addr: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// None where there is none.
    fn start(targets: &[SocketAddr]) -> Option<Self> {
        let prometheus = require(Tool::Prometheus, program("prometheus"))?;
        let (dir, addr) = (tempfile::tempdir().expect("a directory"), reserve_port());
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nscrape_configs:\n  \
             - job_name: pixerve\n    static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        );
        for (name, text) in [("prometheus.yml", configuration), ("rules.yml", hurried(RULES))] {
            let mut file = File::create(dir.path().join(name)).expect("it is made");
            file.write_all(text.as_bytes()).expect("it is written");
        }
        let child = Command::new(prometheus)
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Some(Self { addr, child, _dir: dir })
    }

    async fn get(&self, path: &str) -> Option<Value> {
        reqwest::get(format!("http://{}{path}", self.addr)).await.ok()?.json().await.ok()
    }

    /// The alerts that fire now.
    async fn firing(&self) -> BTreeSet<String> {
        let Some(answer) = self.get("/api/v1/alerts").await else { return BTreeSet::new() };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }
}

/// The same rules for who can't wait: minutes are seconds.
fn hurried(rules: &str) -> String {
    let mut hurried = rules.to_owned();
    for (patient, quick) in [
        ("for: 1m", "for: 0s"),
        ("for: 2m", "for: 0s"),
        ("for: 5m", "for: 0s"),
        ("[5m]", "[30s]"),
        ("[10m]", "[30s]"),
        ("[1h]", "[30s]"),
        ("> 300", "> 1"),
        ("> 900", "> 1"),
    ] {
        assert!(hurried.contains(patient), "no rule says {patient}");
        hurried = hurried.replace(patient, quick);
    }
    hurried
}

fn alerts(rules: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn the_rules_and_the_configuration_are_good() {
    let Some(promtool) = require(Tool::Prometheus, program("promtool")) else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for (what, file) in [("rules", "pixerve.rules.yml"), ("config", "prometheus.yml"), ("config", "compose.yml")] {
        let output = Command::new(&promtool).args(["check", what]).arg(deploy.join(file)).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_ask_for_nothing_that_is_not_told() {
    let addr = reserve_port();
    let _app = TestApp::start_with(&[("PIXERVE_METRICS_ADDR", &addr.to_string())]).await;
    let told = reqwest::get(format!("http://{addr}/metrics")).await.expect("an answer").text().await.expect("text");
    let typed: BTreeSet<_> = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let words = |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked = words(RULES)
        .chain(words(DASHBOARD))
        .filter(|word| word.starts_with("pixerve_") || word.starts_with("process_"));
    let mut count = 0;
    for name in asked {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(typed.contains(family) || typed.contains(name), "{name} is told nowhere");
        count += 1;
    }
    assert!(count > 30, "{count}");
}

/// Of three servers: one works, with a dead store, one that refuses, and a receiver that takes nothing; one makes nothing,
/// since its children die; one is paused, on a small disk.
#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_what_it_is_for_happens() {
    let Some(disk) = Mount::tmpfs(32) else { return };
    let [working, dying, paused] = [reserve_port(), reserve_port(), reserve_port()];
    let Some(prometheus) = Prometheus::start(&[working, dying, paused]) else { return };
    let at = |addr: SocketAddr| addr.to_string();
    let works = TestApp::start_with(&[
        ("PIXERVE_METRICS_ADDR", &at(working)),
        ("PIXERVE_CALLBACK_RETRY_WAITS", "6s"),
        ("PIXERVE_STORES_REFUSED_GIVE_UP_AFTER", "0s"),
    ])
    .await;
    let dies = FakeChild::new("sleep 3; exit 3");
    let settings = [("PIXERVE_METRICS_ADDR", at(dying)), ("PIXERVE_MAX_WORKERS", "1".to_owned())];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let makes_nothing = TestApp::start_on(dies.path(), &settings).await;
    let home = Home::below(disk.path(), &[("PIXERVE_METRICS_ADDR", &at(paused)), ("PIXERVE_PAUSED", "true")]);
    let mut small = Some(home.start().await);
    // What is counted before the first look shows in no rate.
    while prometheus
        .get("/api/v1/query?query=sum(up)")
        .await
        .is_none_or(|sum| sum["data"]["result"][0]["value"][1] != "3")
    {
        poll_delay().await;
    }

    let receiver = Receiver::start().await;
    receiver.answer(500);
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    works.accepted("me", job, "a.jpg", jpeg(16, 16, 1)).await;
    let dead = works.register(dead_store()).await;
    let refusing = s3_at(reserve_port(), &[]).await;
    let refused = works.register(refusing.registration("no-such-bucket")).await;
    let stored_at = |key: &str| json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[8]] } } });
    for seed in 10..18 {
        works.accepted("me", stored_at(&dead), "a.jpg", jpeg(16, 16, seed)).await;
    }
    works.accepted("me", stored_at(&refused), "a.jpg", jpeg(16, 16, 30)).await;
    for seed in 0..3 {
        makes_nothing.accepted("me", small_job(), "a.jpg", jpeg(16, 16, seed)).await;
    }

    let mut missing = alerts(RULES);
    let started = Instant::now();
    while !missing.is_empty() {
        let token = Claims::of("me").job(small_job()).sign();
        if let Some(small) = &small {
            assert_eq!(small.upload(&token, "a.jpg", jpeg(8, 8, 1)).await.status(), 503);
        }
        // When everything else has happened.
        if missing.iter().eq(["PixerveDown"])
            && let Some(small) = small.take()
        {
            small.kill();
        }
        for alert in prometheus.firing().await {
            missing.remove(&alert);
        }
        assert!(started.elapsed() < WAIT_MAX, "{missing:?} never fired");
        poll_delay().await;
    }
    // Nothing that only looks like one: the working server works.
    assert_eq!(works.request(Method::GET, "/health/live").send().await.expect("an answer").status(), 200);
}
