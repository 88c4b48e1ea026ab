//! A preset that one node answered for, whatever becomes of that node.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::cluster::Cluster;
use crate::harness::picture::png;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preset_that_a_node_answered_for_is_known_to_the_others_though_it_is_killed() {
    let Some(cluster) = Cluster::start().await else { return };
    let other = cluster.node(&[]).await;
    let home = cluster.home(&[]);
    for (n, status) in [(1, 201), (2, 204)] {
        let node = home.start().await;
        let job = json!({ "directHost": true, "subDir": format!("put-{n}"), "formats": { "jpg": { "sizes": [[8]] } } });
        let asked = Instant::now();
        let put = node.admin(Method::PUT, "/presets/avatar", Some(job.clone())).await;
        println!("a preset was kept, and known to both nodes, after {:?}", asked.elapsed());
        assert_eq!(put.status(), status);
        node.kill();
        let found = other.admin(Method::GET, "/presets/avatar", None).await;
        assert_eq!(found.json::<Value>().await.expect("JSON"), job);
        let token = Claims::of("me").job(json!({ "preset": "avatar" })).sign();
        let accepted = other.upload(&token, "a.png", png(16, 12, n)).await.json::<Value>().await.expect("JSON");
        let ended = other.ended(&accepted).await;
        let location = ended["files"][0]["stored"][0]["location"].as_str().expect("a location");
        assert!(location.starts_with(&format!("/files/put-{n}/")), "{ended}");
    }
    // One that comes later knows it from its start.
    let later = cluster.node(&[]).await;
    assert_eq!(later.admin(Method::GET, "/presets/avatar", None).await.status(), 200);
}
