//! What a server serves itself moves as it is: private files stay private, and lasting names last.

use pixerve::app::Destination::{Machine, Nodes};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Homes, said};
use crate::harness::api::Api;
use crate::harness::cluster::BUCKET;
use crate::harness::picture::png;
use crate::harness::process::Home;
use crate::harness::token::Claims;
use crate::private::home::{location, private_job, text};

async fn assert_served(api: &Api, files: &[(Value, Vec<u8>)]) {
    for (done, bytes) in files {
        let location = location(done);
        let is_private = location.starts_with("/private/");
        let token = Claims::of("ann").with("read", json!(location)).sign();
        let answer = api.request(Method::GET, location).bearer_auth(token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{location}");
        let cache = answer.headers()["cache-control"].to_str().expect("text").to_owned();
        assert_eq!(cache.contains("immutable"), !is_private, "{location}: {cache}");
        assert_eq!(answer.bytes().await.expect("a body"), *bytes, "{location}");
        if is_private {
            assert_eq!(api.get(location).await.status(), 401);
            assert_eq!(api.get(&location.replace("/private/", "/files/private/")).await.status(), 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_files_and_lasting_names_move_over_and_back() {
    let Some(homes) = Homes::new(&[]).await else { return };
    let mut server = homes.machine.start().await;
    let mut unique = private_job();
    unique["unique"] = json!(true);
    let mut public = unique.clone();
    public["private"] = json!(false);
    let mut files = Vec::new();
    for (seed, job) in (1..).zip([private_job(), unique, public]) {
        let done = server.done("ann", job, "cat.png", png(16, 12, seed)).await;
        let file = match location(&done).strip_prefix("/files/") {
            Some(path) => homes.machine.serve_dir().join(path),
            None => homes.machine.root().join(location(&done).trim_start_matches('/')),
        };
        let bytes = std::fs::read(file).expect("it is there");
        files.push((done, bytes));
    }
    assert_served(&server, &files).await;
    server.terminate();
    server.exited().await;

    let summary = homes.moved(Nodes).await;
    assert!(summary.contains("        3  served files"), "{summary}");
    let mut cached = Vec::new();
    for (done, bytes) in &files {
        let key = location(done).replace("/files/", "serve/").replace("/private/", "private/");
        let object = homes.cluster.s3.object(BUCKET, &format!("spool-of-all/{key}")).await.expect("it moved");
        assert_eq!(&object.bytes, bytes);
        cached.push(object.cache_control.unwrap_or_default());
    }
    assert_eq!(cached, ["private, no-store", "private, no-store", "public, max-age=31536000, immutable"]);
    let mut node = homes.node(&[]).await;
    assert_served(&node, &files).await;
    // What nodes make is found again, too.
    let done = node.done("ann", private_job(), "dog.png", png(16, 12, 9)).await;
    let token = Claims::of("ann").with("read", json!(location(&done))).sign();
    let bytes = node.request(Method::GET, location(&done)).bearer_auth(token).send().await.expect("an answer");
    files.push((done.clone(), bytes.bytes().await.expect("a body").to_vec()));
    node.stop(std::time::Duration::ZERO).await;
    drop(node);

    let machine = Home::new(&[]);
    loop {
        let back = homes.migrate_by(&machine, Machine, &[], &[]).await;
        if back.status.code() == Some(0) {
            break;
        }
        // A node that stopped is gone after some seconds.
        assert!(said(&back).contains("nodes are running"), "{}", said(&back));
    }
    std::fs::copy(homes.machine.data_dir().join("vault.key"), machine.data_dir().join("vault.key")).expect("copied");
    let server = machine.start().await;
    assert_served(&server, &files).await;
    assert!(machine.root().join(text(&json!(location(&done)[1..]))).is_file());
}
