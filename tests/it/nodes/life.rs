//! Who lives, who leads, and what the nodes have in common.

use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Clock, Manual};
use pixerve::nodes::{ClockState, Leadership, NodeOptions, Nodes, NodesStatus};
use pixerve::version::VERSION;
use tokio::time::timeout;

use super::{API, BOTH, Node, Site, WORKER, leaders};
use crate::harness::app::WAIT_MAX;

every_redis! {
    two_nodes_see_each_other_and_one_that_died_is_gone_after_some_beats,
    one_that_drains_takes_nothing_more_and_one_that_stops_is_gone_at_once,
    exactly_one_leads_and_another_takes_over_within_15_s_of_its_death,
    whoever_begins_to_lead_is_called_upon_at_once,
    one_that_drains_hands_the_lead_on_at_once,
    one_that_stops_hands_the_lead_on_at_once,
    the_newest_record_format_is_what_all_of_them_read,
    a_clock_that_is_an_hour_off_is_told_and_harms_nobody,
    nodes_find_each_other_again_when_redis_clock_is_set_back,
    a_node_of_another_installation_is_turned_away,
}

async fn two_nodes_see_each_other_and_one_that_died_is_gone_after_some_beats(site: Site) {
    let (api, worker) = (site.node(API).await, site.node(WORKER).await);
    api.counts(2, 1, 1).await;
    worker.counts(2, 1, 1).await;
    let live = worker.nodes.live().await.expect("answered");
    let told =
        |node: &Node| live.iter().find(|live| live.id == *node.nodes.id()).expect("it lives").description.clone();
    assert_eq!((told(&api).roles, told(&worker).roles), (API, WORKER));
    assert_eq!((told(&api).version.as_str(), told(&api).memory_budget), (VERSION.version, 3 << 30));
    assert_eq!(live.len(), 2);

    let dead = worker.kill().await;
    site.pass(Duration::from_secs(5), &[&api]).await;
    api.counts(2, 1, 1).await;
    site.pass(Duration::from_secs(1), &[&api]).await;
    api.counts(1, 1, 0).await;
    let live = api.nodes.live().await.expect("answered");
    assert_eq!(live.iter().map(|live| &live.id).collect::<Vec<_>>(), [api.nodes.id()]);
    assert!(!dead.status().borrow().is_live());
}

async fn one_that_drains_takes_nothing_more_and_one_that_stops_is_gone_at_once(site: Site) {
    let (stays, goes) = (site.node(BOTH).await, site.node(BOTH).await);
    stays.counts(2, 2, 2).await;
    goes.nodes.drain();
    stays.counts(2, 1, 1).await;
    let live = stays.nodes.live().await.expect("answered");
    let draining: Vec<_> = live.iter().filter(|live| live.description.is_draining).map(|live| &live.id).collect();
    assert_eq!(draining, [goes.nodes.id()]);
    goes.stop().await;
    stays.counts(1, 1, 1).await;
}

async fn exactly_one_leads_and_another_takes_over_within_15_s_of_its_death(site: Site) {
    let mut nodes = vec![site.node(BOTH).await, site.node(API).await, site.node(WORKER).await];
    assert_eq!(leaders(&nodes.iter().collect::<Vec<_>>()), 1);
    site.pass(Duration::from_secs(40), &nodes.iter().collect::<Vec<_>>()).await;
    let led = nodes.iter().position(|node| node.status().is_leader()).expect("one leads");
    assert_eq!(led, 0, "the first to come leads while it lives");

    let dead = nodes.swap_remove(led).kill().await;
    let others: Vec<_> = nodes.iter().collect();
    site.pass(Duration::from_secs(14), &others).await;
    assert_eq!((leaders(&others), dead.status().borrow().is_leader()), (0, true));
    site.pass(Duration::from_secs(1), &others).await;
    assert_eq!((leaders(&others), dead.status().borrow().is_leader()), (1, false));
    // All know by the next beat.
    site.pass(Duration::from_secs(1), &others).await;
    assert_eq!(others[0].status().leader(), others[1].status().leader());
}

async fn whoever_begins_to_lead_is_called_upon_at_once(site: Site) {
    let first = site.node(BOTH).await;
    let mut leads = Leadership::of(&first.nodes);
    let called_upon = async |leadership: &mut Leadership| {
        timeout(WAIT_MAX, leadership.called_upon()).await.expect("it is");
    };
    called_upon(&mut leads).await;
    assert!(leads.holds());
    let second = site.node(BOTH).await;
    let mut follows = Leadership::of(&second.nodes);
    second.beats().await;
    for leadership in [&mut leads, &mut follows] {
        assert!(futures_util::poll!(Box::pin(leadership.called_upon())).is_pending(), "nothing has changed");
    }
    first.stop().await;
    called_upon(&mut follows).await;
    assert!(follows.holds());
}

async fn one_that_drains_hands_the_lead_on_at_once(site: Site) {
    let (leader, next) = (site.node(BOTH).await, site.node(BOTH).await);
    assert!(leader.status().is_leader());
    leader.nodes.drain();
    next.sees(NodesStatus::is_leader).await;
    leader.sees(|status| status.leader() == Some(next.nodes.id())).await;
}

async fn one_that_stops_hands_the_lead_on_at_once(site: Site) {
    let (leader, next) = (site.node(BOTH).await, site.node(BOTH).await);
    assert!(leader.status().is_leader());
    leader.stop().await;
    next.sees(NodesStatus::is_leader).await;
}

async fn the_newest_record_format_is_what_all_of_them_read(site: Site) {
    let reads = |record_formats| NodeOptions { record_formats, ..site.options(BOTH) };
    let (older, newer) = (site.node_with(reads((1, 2))).await, site.node_with(reads((2, 3))).await);
    let common = |node: &Node| node.status().heard.expect("answered").record_format;
    assert_eq!((common(&older), common(&newer)), (2, 2));
    older.stop().await;
    newer.sees(|status| status.heard.as_ref().is_some_and(|heard| heard.record_format == 3)).await;
}

async fn a_clock_that_is_an_hour_off_is_told_and_harms_nobody(site: Site) {
    let good = site.node(BOTH).await;
    let hour = Duration::from_hours(1);
    let ahead = Arc::new(Manual::at(site.clock.now().after(hour)));
    let off = Node::run(Nodes::new(site.client(), Arc::clone(&ahead) as _, site.options(BOTH)));
    off.counts(2, 2, 2).await;
    let heard = off.status().heard.expect("answered");
    assert_eq!((heard.clock, heard.clock_offset_ms), (ClockState::Wrong, 3_600_000));
    assert_eq!(good.status().heard.expect("answered").clock, ClockState::Good);
    off.beats().await;
    let live = good.nodes.live().await.expect("answered");
    let told = live.iter().find(|live| live.id == *off.nodes.id()).expect("it lives");
    assert_eq!(told.description.clock_offset_ms, 3_600_000);

    ahead.set_wall(site.clock.now().before(Duration::from_secs(3)));
    off.sees(|status| status.heard.as_ref().is_some_and(|heard| heard.clock == ClockState::Off)).await;
    ahead.set_wall(site.clock.now());
    off.sees(|status| status.heard.as_ref().is_some_and(|heard| heard.clock == ClockState::Good)).await;
    good.counts(2, 2, 2).await;
}

async fn nodes_find_each_other_again_when_redis_clock_is_set_back(site: Site) {
    let (one, other, dies) = (site.node(BOTH).await, site.node(BOTH).await, site.node(BOTH).await);
    one.counts(3, 3, 3).await;
    dies.kill().await;
    site.clock.set_wall(site.clock.now().before(Duration::from_hours(1)));
    one.counts(2, 2, 2).await;
    other.counts(2, 2, 2).await;
    site.pass(Duration::from_secs(1), &[&one, &other]).await;
    assert_eq!(leaders(&[&one, &other]), 1);
}

async fn a_node_of_another_installation_is_turned_away(site: Site) {
    let ours = site.node(BOTH).await;
    let options = NodeOptions { installation: "theirs".to_owned(), ..site.options(BOTH) };
    let theirs = Node::run(site.silent(options));
    let status = theirs.sees(|status| status.trouble.is_some()).await;
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("another installation (ours)")));
    assert!(status.heard.is_none());
    ours.beats().await;
    ours.counts(1, 1, 1).await;
}
