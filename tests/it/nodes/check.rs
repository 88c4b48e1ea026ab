//! What is found out about a Redis at the start.

use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Clock, Manual, System};
use pixerve::nodes::{Finding, Nodes, Severity};
use pixerve::redis_client::RedisClient;
use pixerve::telemetry::Capture;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;

use super::{BOTH, Node, Site};
use crate::harness::app::WAIT_MAX;
use crate::harness::process::reserve_port;
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};

/// A node that goes by this machine's clock, as Redis does, but for so much.
fn node_with_clock(site: &Site, url: &str, ahead: Duration) -> Nodes {
    let clock = Arc::new(Manual::at(System::new().now().after(ahead)));
    let redis = RedisClient::new(url, &[], Arc::clone(&clock) as _).expect("an address");
    Nodes::new(redis, clock, site.options(BOTH))
}

async fn findings_at(site: &Site, url: &str, clock_ahead: Duration) -> Vec<Finding> {
    let node = node_with_clock(site, url, clock_ahead);
    let never = CancellationToken::new();
    let checked = timeout(WAIT_MAX, node.check(&never)).await.expect("it is answered");
    checked.expect("nobody stops it")
}

async fn findings(site: &Site) -> Vec<Finding> {
    findings_at(site, &site.url, Duration::ZERO).await
}

/// Each finding's severity and what was found, which has to begin so.
fn assert_found(findings: &[Finding], expected: &[(Severity, &str)]) {
    let is_so = findings.len() == expected.len()
        && findings.iter().zip(expected).all(|(finding, (severity, beginning))| {
            finding.severity == *severity && finding.found.starts_with(beginning)
        });
    assert!(is_so, "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_redis_that_is_as_it_should_be_nothing_is_said() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        for appendfsync in [Appendfsync::Always, Appendfsync::Everysec] {
            let Some(server) = RedisServer::start(flavour, appendfsync).await else { return };
            let site = Site::on(&server);
            assert_found(&findings(&site).await, &[]);
            // Nor when nodes have been there.
            site.node(BOTH).await.stop().await;
            assert_found(&findings(&site).await, &[]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_wrong_is_found_at_once_errors_first() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let wrong = ["--maxmemory-policy", "allkeys-lru", "--appendonly", "no", "--appendfsync", "no"];
        let Some(server) = RedisServer::start_with(flavour, Appendfsync::Everysec, &wrong).await else { return };
        let site = Site::on(&server);
        let meta = format!("{}meta", site.key_prefix);
        server.command::<()>(&["HSET", &meta, "schema", "99", "installation", "theirs"]).await;
        let found = findings_at(&site, &site.url, Duration::from_secs(3)).await;
        let (error, warning) = (Severity::Error, Severity::Warning);
        assert_found(
            &found,
            &[
                (error, "its maxmemory-policy is allkeys-lru"),
                (error, "what is kept there has layout 99"),
                (error, "it is in use by another installation, theirs, and this one is ours"),
                (warning, "its appendonly is no"),
                (warning, "its appendfsync is no"),
                (warning, "this machine's clock is "),
            ],
        );
        assert!(found[5].found.ends_with(" ms ahead of Redis'"), "{}", found[5]);
        let all: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert!(all[0].contains("jobs that were accepted; set maxmemory-policy to noeviction"), "{}", all[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_beyond_the_leeway_is_said_to_make_the_node_unhealthy() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let site = Site::on(&server);
    let found = findings_at(&site, &site.url, Duration::from_hours(1)).await;
    assert_found(&found, &[(Severity::Warning, "this machine's clock is 3")]);
    assert!(found[0].why.contains("unhealthy"), "{}", found[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_refused_with_or_without_its_primary() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(primary) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let nobody = reserve_port().port();
        for (port, and_more) in [(primary.port(), "yes"), (nobody, "yes"), (nobody, "no")] {
            let of = ["--replicaof", "127.0.0.1", &port.to_string(), "--replica-serve-stale-data", and_more];
            let replica = RedisServer::start_with(flavour, Appendfsync::Everysec, &of).await.expect("installed");
            let found = findings(&Site::on(&replica)).await;
            let said = format!("it is a replica of 127.0.0.1:{port}");
            assert!(found.iter().any(|found| found.severity == Severity::Error && found.found == said), "{found:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_asked_is_said_to_be_unchecked() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let site = Site::on(&server);
        let may = ["ACL", "SETUSER", "pixerve", "on", ">secret", "~*", "+@all", "-info", "-config"];
        server.command::<()>(&may).await;
        let url = site.url.replace("redis://", "redis://pixerve:secret@");
        let found = findings_at(&site, &url, Duration::ZERO).await;
        let subjects =
            ["its release", "whether it is a replica", "its maxmemory-policy", "its appendonly", "its appendfsync"];
        let lines: Vec<_> = subjects.iter().map(|subject| format!("{subject} can't be checked (")).collect();
        let expected: Vec<_> = lines.iter().map(|line| (Severity::Warning, line.as_str())).collect();
        assert_found(&found, &expected);

        // INFO alone tells all but one.
        server.command::<()>(&["ACL", "SETUSER", "pixerve", "+info"]).await;
        let found = findings_at(&site, &url, Duration::ZERO).await;
        assert_found(&found, &expected[4..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so_at_once() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let site = Site::on(&server);
        server.command::<()>(&["ACL", "SETUSER", "pixerve", "on", ">secret", "~other:*", "+@all"]).await;
        server.command::<()>(&["CONFIG", "SET", "requirepass", "secret"]).await;
        for who in ["pixerve:wrong@", "pixerve:secret@", ""] {
            let found =
                findings_at(&site, &site.url.replace("redis://", &format!("redis://{who}")), Duration::ZERO).await;
            let refused = found.first().expect("an error");
            assert_eq!(refused.severity, Severity::Error, "{who}: {found:#?}");
            assert!(refused.found.starts_with("what Pixerve keeps there can't be read ("), "{who}: {found:#?}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }
}

#[tokio::test]
async fn while_redis_cannot_be_reached_the_start_waits_says_so_once_a_minute_and_can_be_stopped() {
    let site = Site::at(format!("redis://{}/", reserve_port()));
    let (log, stop) = (Capture::new(), CancellationToken::new());
    let node = site.silent(site.options(BOTH));
    let waiting = {
        let (node, stop) = (node.clone(), stop.clone());
        tokio::spawn(async move { node.check(&stop).await }.with_subscriber(log.dispatch()))
    };
    let mut status = node.status();
    let mut lines = async |minutes: u64| {
        site.clock.advance(Duration::from_secs(minutes * 60));
        // Some tries, each of which fails.
        for _ in 0..5 {
            timeout(WAIT_MAX, status.changed()).await.expect("it tries").expect("it is there");
        }
        log.text().matches("waiting for Redis").count()
    };
    assert_eq!(lines(0).await, 1);
    assert_eq!(lines(1).await, 2);
    assert_eq!(lines(0).await, 2);
    let trouble = node.status().borrow().trouble.clone().expect("known");
    assert!(trouble.contains("Redis can't be reached"), "{trouble}");
    stop.cancel();
    assert_eq!(timeout(WAIT_MAX, waiting).await.expect("it ends").expect("it doesn't panic"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waited_goes_on_when_redis_comes() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    server.kill();
    let site = Site::on(&server);
    let node = site.silent(site.options(BOTH));
    let waiting = {
        let node = node.clone();
        tokio::spawn(async move { node.check(&CancellationToken::new()).await })
    };
    timeout(WAIT_MAX, node.status().wait_for(|status| status.trouble.is_some()))
        .await
        .expect("it tries")
        .expect("there");
    server.restart().await;
    let checked = timeout(WAIT_MAX, waiting).await.expect("it ends").expect("it doesn't panic");
    assert!(checked.is_some());
    let node = Node::run(node);
    node.sees(|status| status.trouble.is_none() && status.is_live()).await;
}
