//! Redis is away, or comes back with nothing.

use std::time::Duration;

use super::{BOTH, Site, leaders};
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};

/// Longer than a node may be silent, and than a lead lasts.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_a_new_incarnation_for_everybody() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let site = Site::on(&server);
        let (one, other) = (site.node(BOTH).await, site.node(BOTH).await);
        let before = one.status().heard.expect("answered").incarnation;
        assert_eq!(other.status().heard.expect("answered").incarnation, before);
        server.command::<()>(&["FLUSHALL"]).await;
        let mut after = Vec::new();
        for node in [&one, &other] {
            let status = node.sees(|status| status.times_emptied > 0).await;
            after.push(status.heard.expect("answered").incarnation);
        }
        assert_ne!(after[0], before);
        assert_eq!(after[0], after[1]);
        one.counts(2, 2, 2).await;
        other.counts(2, 2, 2).await;
        assert_eq!((one.status().times_emptied, other.status().times_emptied), (1, 1));
        assert_eq!(leaders(&[&one, &other]), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_redis_is_the_same_incarnation() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Always).await else { return };
    let site = Site::on(&server);
    let node = site.node(BOTH).await;
    let before = node.status().heard.expect("answered").incarnation;
    server.kill();
    node.sees(|status| status.trouble.is_some()).await;
    server.restart().await;
    let status = node.sees(|status| status.trouble.is_none()).await;
    assert_eq!((status.heard.expect("answered").incarnation, status.times_emptied), (before, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_paused_the_status_says_how_old_it_is_and_afterwards_nobody_is_gone() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let site = Site::on(&server);
    let (one, other) = (site.node(BOTH).await, site.node(BOTH).await);
    one.counts(2, 2, 2).await;
    server.pause();
    site.clock.advance(LONG);
    let status = one.sees(|status| status.trouble.is_some()).await;
    assert_eq!(status.age(), Some(LONG));
    assert_eq!((status.is_live(), status.leader()), (false, None));
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("did not answer within 2 s")));
    assert_eq!(status.heard.expect("answered before").nodes, 2);

    // All that is asked from now on is answered; `other` may be heard first, or last.
    server.resume();
    let status = one.sees(|status| status.trouble.is_none()).await;
    assert_eq!((status.age(), status.is_live()), (Some(Duration::ZERO), true));
    assert_eq!(status.heard.expect("answered").nodes, 2, "the other one was counted out while Redis was away");
    other.sees(|status| status.trouble.is_none() && status.is_live()).await;
    one.beats().await;
    assert_eq!(leaders(&[&one, &other]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_died_while_redis_was_away_is_gone_some_beats_later() {
    let Some(server) = RedisServer::start(Flavour::Valkey, Appendfsync::Always).await else { return };
    let site = Site::on(&server);
    let (stays, dies) = (site.node(BOTH).await, site.node(BOTH).await);
    stays.counts(2, 2, 2).await;
    server.kill();
    dies.kill().await;
    site.clock.advance(LONG);
    server.restart().await;
    stays.sees(|status| status.age() == Some(Duration::ZERO)).await;
    stays.counts(2, 2, 2).await;
    site.pass(Duration::from_secs(6), &[&stays]).await;
    stays.counts(1, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_full_redis_is_is_known() {
    let limits = ["--maxmemory", "64mb"];
    let server = RedisServer::start_with(Flavour::Redis, Appendfsync::Everysec, &limits).await;
    let Some(server) = server else { return };
    let node = Site::on(&server).node(BOTH).await;
    let memory = node.sees(|status| status.memory.is_some()).await.memory.expect("known");
    assert_eq!(memory.max, Some(64 << 20));
    assert!(memory.share().is_some_and(|share| share > 0.0 && share < 0.9), "{memory:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_go_on_beating_when_redis_is_full() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        // Less than it has in use.
        server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
        let site = Site::on(&server);
        let (one, other) = (site.node(BOTH).await, site.node(BOTH).await);
        one.counts(2, 2, 2).await;
        let lock = one.nodes.lock(LONG, Duration::ZERO).await.expect("locked");
        one.nodes.publish(&lock).await.expect("published");
        other.stop().await;
        one.counts(1, 1, 1).await;
    }
}
