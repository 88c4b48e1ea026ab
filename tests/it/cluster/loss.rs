//! Nodes that die, and a Redis that forgets.

use reqwest::StatusCode;
use serde_json::json;

use super::{long_job, small_job};
use crate::harness::app::poll_delay;
use crate::harness::cluster::Cluster;
use crate::harness::picture;
use crate::harness::receiver::Receiver;
use crate::harness::redis::{Appendfsync, Flavour};
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_killed_node_is_done_by_another() {
    let Some(cluster) = Cluster::start().await else { return };
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let home = cluster.home(&[("PIXERVE_NODE_ROLES", "worker")]);
    let doomed = home.start().await;
    let accepted = api.accepted("somebody", long_job(), "photo.jpg", picture::jpeg(640, 480, 1)).await;
    api.processing(&accepted).await;
    doomed.kill();
    let other = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    let status = api.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_costs_no_picture_and_no_callback() {
    let Some(cluster) = Cluster::start_on(Flavour::Valkey, Appendfsync::Everysec).await else { return };
    let receiver = Receiver::start().await;
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let job =
        json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[64]] } } });
    let mut waiting = Vec::new();
    for n in 0..8 {
        waiting.push(api.accepted("somebody", job.clone(), "photo.png", picture::png(60, 40, n)).await);
    }
    cluster.redis.command::<()>(&["FLUSHALL"]).await;
    // Nobody knows of them until the leader has compared, which it does as soon as it notices.
    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    for accepted in &waiting {
        let id = accepted["job_id"].as_str().expect("an id");
        while api.get(&format!("/status?job_id={id}")).await.status() == StatusCode::NOT_FOUND {
            poll_delay().await;
        }
        assert_eq!(api.ended(accepted).await["state"], "completed");
    }
    for _ in &waiting {
        assert_eq!(receiver.call().await.body["status"], "completed");
    }
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_makes_uploads_fail_soon_and_loses_none_that_was_accepted() {
    let Some(cluster) = Cluster::start_on(Flavour::Redis, Appendfsync::Always).await else { return };
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let accepted = api.accepted("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
    cluster.redis.kill();
    let token = Claims::of("somebody").job(small_job()).sign();
    let refused = api.upload(&token, "photo.png", picture::png(60, 40, 2)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    while api.get("/health").await.status() != StatusCode::SERVICE_UNAVAILABLE {
        poll_delay().await;
    }
    assert_eq!(api.get("/health/live").await.status(), StatusCode::OK);
    cluster.redis.restart().await;
    while api.get("/health").await.status() != StatusCode::OK {
        poll_delay().await;
    }
    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    assert_eq!(api.ended(&accepted).await["state"], "completed");
    drop(worker);
}
