//! What isn't moved, and what isn't started.

use pixerve::app::Destination::{Machine, Nodes};
use serde_json::json;

use super::{Homes, refuses_to_start, said};
use crate::harness::picture::png;
use crate::harness::process::Home;

/// That it ends with this code and these words, and that the machine's server starts as before.
async fn refused(homes: &Homes, further: &[(&str, &str)], code: i32, words: &[&str]) {
    let output = homes.migrate(Nodes, further).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(!homes.machine.data_dir().join("migration.json").exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_is_refused_and_stays_as_it_is() {
    let Some(homes) = Homes::new(&[]).await else { return };
    refused(
        &homes,
        &[("PIXERVE_QUEUE_URL", ""), ("PIXERVE_SPOOL_URL", ""), ("PIXERVE_SERVE", "directory")],
        2,
        &["PIXERVE_QUEUE_URL"],
    )
    .await;
    refused(&homes, &[], 2, &["vault.key"]).await;
    let server = homes.machine.start().await;
    refused(&homes, &[], 1, &["a server is running", "stop it first"]).await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[8]] } } });
    let kept = server.done("me", job.clone(), "a.png", png(16, 12, 1)).await;
    server.terminate();
    drop(server);

    let nowhere = homes.machine.root().join("nowhere").display().to_string();
    refused(&homes, &[("PIXERVE_DATA_DIR", &nowhere)], 2, &["nothing is kept in", "nowhere"]).await;
    let mut other_keys = homes.machine.command(&["keys", "--dir", "other"]);
    std::fs::create_dir(homes.machine.root().join("other")).expect("made");
    assert!(other_keys.output().expect("it runs").status.success());
    let other_key = homes.machine.root().join("other/vault.key").display().to_string();
    refused(&homes, &[("PIXERVE_VAULT_KEY_FILE", &other_key)], 2, &["none of the", "PIXERVE_VAULT_KEY_FILE"]).await;

    homes.cluster.redis.command::<()>(&["HSET", "{px0}:meta", "place", "1"]).await;
    refused(&homes, &[], 2, &["PIXERVE_QUEUE_URL"]).await;
    homes.cluster.redis.command::<()>(&["FLUSHALL"]).await;

    // Somebody else's installation.
    drop(homes.node(&[]).await);
    homes.cluster.redis.command::<()>(&["FLUSHALL"]).await;
    refused(&homes, &[], 2, &["is not empty", "register-secrets/"]).await;

    let server = homes.machine.start().await;
    let again = server.get_json(&format!("/status?job_id={}", kept["job_id"].as_str().expect("an id"))).await;
    assert_eq!(again["state"], "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_moved_from_nodes_that_run_nor_into_a_directory_that_is_used() {
    let Some(homes) = Homes::new(&[]).await else { return };
    drop(homes.machine.start().await);
    homes.moved(Nodes).await;
    let node = homes.node(&[]).await;
    let fresh = Home::new(&[]);
    let output = homes.migrate_by(&fresh, Machine, &[], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("1 nodes are running"), "{}", said(&output));
    drop(node);

    let output = homes.migrate(Machine, &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("has moved to"), "{}", said(&output));
    let used = Home::new(&[]);
    drop(used.start().await);
    let output = homes.migrate_by(&used, Machine, &[], &[]).await;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is not empty"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_starts_on_a_home_that_is_half_moved_or_left() {
    let Some(homes) = Homes::new(&[]).await else { return };
    drop(homes.machine.start().await);
    let node = homes.node_home(&[]);
    let killed = homes.migrate(Nodes, &[("FAILPOINTS", "migration::register_copied=return")]).await;
    assert!(!killed.status.success());
    refuses_to_start(&homes.machine, &["is being moved to", "pixerve migrate --to nodes", "migration.json"]).await;
    refuses_to_start(&node, &["not all is here", "pixerve migrate --to nodes"]).await;
    // Another destination is not where it went.
    let output = homes.migrate(Nodes, &[("PIXERVE_SPOOL_URL", "s3://nodes/elsewhere")]).await;
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is on its way to"), "{}", said(&output));

    assert!(homes.moved(Nodes).await.starts_with("moved from"));
    refuses_to_start(&homes.machine, &["has moved to", "pixerve migrate --to machine"]).await;
    assert!(homes.moved(Nodes).await.starts_with("everything had moved before"));
    drop(node.start().await);
    // Whoever goes on where it was left, as the message says.
    std::fs::remove_file(homes.machine.data_dir().join("migration.json")).expect("removed");
    drop(homes.machine.start().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_move_and_changes_nothing() {
    let Some(homes) = Homes::new(&[]).await else { return };
    let server = homes.machine.start().await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[8]] } } });
    for n in 0..3 {
        server.done("me", job.clone(), "a.png", png(16, 12, n)).await;
    }
    server.register(json!({ "user": "shop" })).await;
    server.kill();
    let output = homes.migrate_by(&homes.machine, Nodes, &["--dry-run"], &[]).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for row in [
        "would move from",
        "        3  records of ended jobs",
        "        1  users, stores and presets",
        "nothing was changed",
    ] {
        assert!(said.contains(row), "{row} in {said}");
    }
    assert_eq!(homes.cluster.s3.keys(crate::harness::cluster::BUCKET).await, [""; 0]);
    assert!(!homes.cluster.redis.command::<bool>(&["EXISTS", "{px0}:meta"]).await);
    assert!(!homes.machine.data_dir().join("scratch").exists());
    drop(homes.machine.start().await);

    let fresh = Home::new(&[]);
    homes.moved(Nodes).await;
    let output = homes.migrate_by(&fresh, Machine, &["--dry-run"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", super::said(&output));
    assert!(!fresh.data_dir().exists());
    assert_eq!(homes.migrate_by(&fresh, Machine, &[], &[]).await.status.code(), Some(0));
}
