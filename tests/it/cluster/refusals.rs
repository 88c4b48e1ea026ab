//! What a node refuses to run on.

use std::process::Output;

use crate::harness::cluster::Cluster;

type Settings<'a> = &'a [(&'a str, &'a str)];

async fn start(cluster: &Cluster, further: Settings<'_>) -> Output {
    let home = cluster.home(further);
    let mut command = home.command(&["serve"]);
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic")
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_on_is_refused_in_words() {
    let Some(cluster) = Cluster::start().await else { return };
    let cases: [(Settings<'_>, &[&str]); 7] = [
        (&[("PIXERVE_SPOOL_URL", "")], &["queue.url", "spool.url"]),
        (&[("PIXERVE_QUEUE_URL", "")], &["queue.url", "spool.url"]),
        (
            &[("PIXERVE_QUEUE_URL", ""), ("PIXERVE_SPOOL_URL", ""), ("PIXERVE_QUEUE_SENTINELS", "redis://127.0.0.1:1")],
            &["queue.sentinels", "queue.url"],
        ),
        (&[("PIXERVE_WORKER_SANDBOX", "off")], &["worker.sandbox", "queue.url"]),
        (&[("PIXERVE_QUEUE_LEASE", "4s")], &["queue.lease", "at least 5s", "queue.url"]),
        (&[("PIXERVE_VAULT_KEY_FILE", "nowhere/vault.key")], &["PIXERVE_VAULT_KEY_FILE", "pixerve keys"]),
        (&[("PIXERVE_JWT_SECRET", ""), ("PIXERVE_JWT_FILE", "nowhere.json")], &["PIXERVE_JWT_FILE", "pixerve keys"]),
    ];
    for (settings, words) in cases {
        let output = start(&cluster, settings).await;
        let said = said(&output);
        assert!(!output.status.success(), "{settings:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{settings:?}: {word} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_or_belongs_to_others_is_refused_and_all_is_said_at_once() {
    let Some(cluster) = Cluster::start().await else { return };
    drop(cluster.node(&[]).await);
    cluster.redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    cluster.redis.command::<()>(&["CONFIG", "SET", "appendonly", "no"]).await;
    let output = start(&cluster, &[("PIXERVE_SPOOL_URL", "s3://nodes/of-others")]).await;
    let said = said(&output);
    assert!(!output.status.success(), "{said}");
    for word in ["noeviction", "appendonly", "another installation"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}
