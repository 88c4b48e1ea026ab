//! Presets that were put, and what users are bound to, move with the register.

use std::time::Duration;

use pixerve::app::Destination::{Machine, Nodes};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Homes, said};
use crate::harness::api::Api;
use crate::harness::picture::png;
use crate::harness::process::Home;
use crate::harness::token::Claims;

/// That the preset is as it was put, and the user bound to it.
async fn assert_moved(api: &Api, etag: &str, user: &Value, seed: u32) {
    let found = api.admin(Method::GET, "/presets/avatar", None).await;
    assert_eq!((found.status().as_u16(), found.headers()["etag"].to_str().expect("text")), (200, etag));
    let text = |field: &str| user[field].as_str().expect("text");
    let claims = |job: Value| Claims::of("a").job(job).by(text("access_key"), text("secret")).sign();
    let free = api.upload(&claims(json!({ "directHost": true, "keepOriginal": true })), "a.png", png(8, 8, seed)).await;
    assert_eq!(free.status(), 422);
    let bound = api.upload(&claims(json!({ "preset": "avatar" })), "a.png", png(8, 8, seed)).await;
    assert_eq!(bound.status(), 200);
    api.ended(&bound.json().await.expect("JSON")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presets_move_to_nodes_and_back() {
    let Some(homes) = Homes::new(&[]).await else { return };
    let server = homes.machine.start().await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[8]] } } });
    let put = server.admin(Method::PUT, "/presets/avatar", Some(job)).await;
    assert_eq!(put.status(), 201);
    let etag = put.headers()["etag"].to_str().expect("text").to_owned();
    let user = server.admin(Method::POST, "/register", Some(json!({ "user": "shop", "presets": ["avatar"] }))).await;
    let user: Value = user.json().await.expect("JSON");
    assert_moved(&server, &etag, &user, 1).await;
    server.terminate();
    drop(server);

    let summary = homes.moved(Nodes).await;
    assert!(summary.contains("        2  users, stores and presets"), "{summary}");
    let mut node = homes.node(&[]).await;
    assert_moved(&node, &etag, &user, 2).await;
    node.stop(Duration::ZERO).await;

    let machine = Home::new(&[]);
    std::fs::create_dir(machine.data_dir()).expect("made");
    let back = homes.migrate_by(&machine, Machine, &[], &[]).await;
    assert_eq!(back.status.code(), Some(0), "{}", said(&back));
    std::fs::copy(homes.machine.data_dir().join("vault.key"), machine.data_dir().join("vault.key")).expect("copied");
    let server = machine.start().await;
    assert_moved(&server, &etag, &user, 3).await;
}
