//! How nodes agree on the register.

use std::sync::Arc;
use std::time::Duration;

use pixerve::nodes::{Nodes, NodesError};
use tokio::time::timeout;

use super::{BOTH, Site};
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};

every_redis! {
    only_one_node_holds_the_lock_at_a_time,
    a_holder_that_died_lets_go_when_its_lease_is_over_and_is_fenced_afterwards,
    a_lease_that_ran_out_does_no_harm_while_nobody_else_took_the_lock,
    who_waits_for_the_lock_gets_it_when_it_is_given_back,
    versions_rise_and_every_node_hears_of_the_newest,
    everyone_has_a_version_once_the_slow_node_shows_it,
    a_node_that_has_just_come_is_waited_for,
    a_node_that_died_is_not_waited_for_any_more,
    a_draining_node_is_still_waited_for,
}

const LEASE: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::ZERO;

async fn only_one_node_holds_the_lock_at_a_time(site: Site) {
    let (one, other) = (site.silent(site.options(BOTH)), site.silent(site.options(BOTH)));
    let first = one.lock(LEASE, AT_ONCE).await.expect("free");
    for node in [&one, &other] {
        let refused = node.lock(LEASE, AT_ONCE).await;
        assert!(matches!(refused, Err(NodesError::Locked { .. })), "{refused:?}");
    }
    let first_token = first.token();
    one.unlock(first).await.expect("given back");
    let second = other.lock(LEASE, AT_ONCE).await.expect("free again");
    assert!(second.token() > first_token);
}

async fn a_holder_that_died_lets_go_when_its_lease_is_over_and_is_fenced_afterwards(site: Site) {
    let (late, next, third) =
        (site.silent(site.options(BOTH)), site.silent(site.options(BOTH)), site.silent(site.options(BOTH)));
    let old = late.lock(LEASE, AT_ONCE).await.expect("free");
    let nearly = Duration::from_millis(29_999);
    site.clock.advance(nearly);
    assert!(matches!(next.lock(LEASE, AT_ONCE).await, Err(NodesError::Locked { .. })));
    site.clock.advance(LEASE.saturating_sub(nearly));
    let new = next.lock(LEASE, AT_ONCE).await.expect("free");
    assert!(new.token() > old.token());
    let fenced = late.publish(&old).await;
    assert!(matches!(fenced, Err(NodesError::LockLost)), "{fenced:?}");
    assert_eq!(late.version().await.expect("answered"), 0);
    late.unlock(old).await.expect("answered");
    let refused = third.lock(LEASE, AT_ONCE).await;
    assert!(matches!(refused, Err(NodesError::Locked { .. })), "a late holder gave another's lock back: {refused:?}");
    next.publish(&new).await.expect("it holds the lock");
}

async fn a_lease_that_ran_out_does_no_harm_while_nobody_else_took_the_lock(site: Site) {
    let node = site.silent(site.options(BOTH));
    let lock = node.lock(LEASE, AT_ONCE).await.expect("free");
    site.clock.advance(LEASE * 2);
    let version = node.publish(&lock).await.expect("nobody else has changed anything");
    assert_eq!(node.version().await.expect("answered"), version);
}

async fn who_waits_for_the_lock_gets_it_when_it_is_given_back(site: Site) {
    let (one, other) = (site.silent(site.options(BOTH)), site.silent(site.options(BOTH)));
    let first = one.lock(LEASE, AT_ONCE).await.expect("free");
    let mut waiting = std::pin::pin!(other.lock(LEASE, WAIT_MAX));
    let still = timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(still.is_err(), "{still:?}");
    one.unlock(first).await.expect("given back");
    let _second = timeout(WAIT_MAX, waiting).await.expect("soon").expect("free");
}

async fn versions_rise_and_every_node_hears_of_the_newest(site: Site) {
    let (one, other) = (site.node(BOTH).await, site.node(BOTH).await);
    assert_eq!(one.nodes.version().await.expect("answered"), 0);
    let mut newest = 0;
    for _ in 0..3 {
        let lock = one.nodes.lock(LEASE, AT_ONCE).await.expect("free");
        let version = one.nodes.publish(&lock).await.expect("published");
        one.nodes.unlock(lock).await.expect("given back");
        assert!(version > newest);
        let heard = timeout(WAIT_MAX, other.nodes.version_other_than(newest)).await.expect("it hears");
        assert_eq!(heard, version);
        newest = version;
    }
}

async fn everyone_has_a_version_once_the_slow_node_shows_it(site: Site) {
    let (quick, slow) = (site.node(BOTH).await, site.node(BOTH).await);
    let lock = quick.nodes.lock(LEASE, AT_ONCE).await.expect("free");
    let version = quick.nodes.publish(&lock).await.expect("published");
    quick.nodes.show(version);
    quick.beats().await;
    let given_up = quick.nodes.everyone_has(version, Duration::from_millis(100)).await;
    let Err(NodesError::NotShown { nodes, .. }) = given_up else { panic!("{given_up:?}") };
    assert_eq!(nodes, [slow.nodes.id().clone()]);

    let mut waiting = std::pin::pin!(quick.nodes.everyone_has(version, WAIT_MAX));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "the slow one shows nothing yet");
    slow.nodes.show(version);
    timeout(WAIT_MAX, waiting).await.expect("soon").expect("all show it");
    let live = quick.nodes.live().await.expect("answered");
    assert!(live.iter().all(|live| live.description.register_version == version), "{live:?}");
}

async fn a_node_that_has_just_come_is_waited_for(site: Site) {
    let node = site.node(BOTH).await;
    let lock = node.nodes.lock(LEASE, AT_ONCE).await.expect("free");
    let version = node.nodes.publish(&lock).await.expect("published");
    node.nodes.show(version);
    node.nodes.everyone_has(version, WAIT_MAX).await.expect("it is alone");
    let newcomer = site.node(BOTH).await;
    let given_up = node.nodes.everyone_has(version, AT_ONCE).await;
    assert!(matches!(given_up, Err(NodesError::NotShown { .. })), "{given_up:?}");
    newcomer.nodes.show(newcomer.nodes.version().await.expect("answered"));
    node.nodes.everyone_has(version, WAIT_MAX).await.expect("it has loaded it");
}

async fn a_node_that_died_is_not_waited_for_any_more(site: Site) {
    let (node, dead) = (site.node(BOTH).await, site.node(BOTH).await);
    dead.kill().await;
    let lock = node.nodes.lock(LEASE, AT_ONCE).await.expect("free");
    let version = node.nodes.publish(&lock).await.expect("published");
    node.nodes.show(version);
    node.beats().await;
    assert!(node.nodes.everyone_has(version, AT_ONCE).await.is_err());
    site.pass(Duration::from_secs(6), &[&node]).await;
    node.nodes.everyone_has(version, AT_ONCE).await.expect("it is alone");
}

async fn a_draining_node_is_still_waited_for(site: Site) {
    let (node, drains) = (site.node(BOTH).await, site.node(BOTH).await);
    drains.nodes.drain();
    node.counts(2, 1, 1).await;
    let lock = node.nodes.lock(LEASE, AT_ONCE).await.expect("free");
    let version = node.nodes.publish(&lock).await.expect("published");
    node.nodes.show(version);
    node.beats().await;
    assert!(node.nodes.everyone_has(version, AT_ONCE).await.is_err());
    drains.nodes.show(version);
    node.nodes.everyone_has(version, WAIT_MAX).await.expect("both show it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_emptied_redis_forgot_is_neither_published_nor_taken_for_shown_nor_outdone() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let site = Site::on(&server);
        let node = site.node(BOTH).await;
        let lock = node.nodes.lock(LEASE, AT_ONCE).await.expect("free");
        let before = node.nodes.publish(&lock).await.expect("published");
        server.command::<()>(&["FLUSHALL"]).await;
        let lost = node.nodes.publish(&lock).await;
        assert!(matches!(lost, Err(NodesError::LockLost)), "{lost:?}");
        let forgotten = node.nodes.everyone_has(before, WAIT_MAX).await;
        assert!(matches!(forgotten, Err(NodesError::VersionForgotten)), "{forgotten:?}");
        let heard = timeout(WAIT_MAX, node.nodes.version_other_than(before)).await.expect("it hears");
        assert_eq!(heard, 0);
        site.clock.advance(Duration::from_millis(1));
        let lock_again = node.nodes.lock(LEASE, AT_ONCE).await.expect("free");
        assert!(lock_again.token() > lock.token());
        assert!(node.nodes.publish(&lock_again).await.expect("published") > before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_taken_unheard_is_had_by_whoever_asked_for_it() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let site = Site::on(&server);
    let client = site.client();
    let asks = Nodes::new(client.clone(), Arc::clone(&site.clock) as _, site.options(BOTH));
    server.pause();
    let mut waiting = std::pin::pin!(asks.lock(LEASE, WAIT_MAX));
    let given_up = async {
        while client.last_failure().is_none() {
            poll_delay().await;
        }
    };
    tokio::select! {
        answer = &mut waiting => panic!("{answer:?}"),
        () = given_up => {}
    }
    server.resume();
    let lock = timeout(WAIT_MAX, waiting).await.expect("soon").expect("it is free or had already");
    asks.publish(&lock).await.expect("it holds the lock");
}
