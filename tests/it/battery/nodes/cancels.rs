//! Cancels that race with starts, ends, lapsed leases and killed nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fleet::Fleet;
use crate::battery::figure;
use crate::harness::api::Api;
use crate::harness::app::files_below;
use crate::harness::cluster::Cluster;
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

const CANCELS: usize = 1_000;
const AT_ONCE: usize = 40;

/// A job whose cancel was answered, and the files of it that were served then.
struct Cancelled {
    accepted: Value,
    answer: StatusCode,
    files: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn nothing_of_a_job_appears_after_its_cancel_was_answered() {
    let Some(cluster) = Cluster::start().await else { return };
    let fleet = Fleet::start(cluster, &[]).await;
    let mut all = Vec::new();
    for round in 0..CANCELS / AT_ONCE {
        let mut cancels = JoinSet::new();
        for nth in 0..AT_ONCE {
            cancels.spawn(upload_and_cancel(&fleet, round * AT_ONCE + nth));
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        // One of those that make variants.
        fleet.nodes.kill(3 + round % 3).await;
        while let Some(cancelled) = cancels.join_next().await {
            all.push(cancelled.expect("no panic"));
        }
    }

    let mut answers = BTreeMap::new();
    let mut api = Api::default();
    api.at(fleet.nodes.homes[0].addr);
    let served = files_below(&fleet.cluster.serve_dir());
    let mut begun = 0;
    for Cancelled { accepted, answer, files } in &all {
        *answers.entry(answer.as_u16()).or_insert(0) += 1;
        let status = api.ended(accepted).await;
        if *answer == StatusCode::NO_CONTENT {
            assert_eq!(status["state"], "cancelled", "{status}");
            assert_eq!(&of_job(&served, accepted), files, "after its cancel: {status}");
            begun += usize::from(!files.is_empty());
        } else {
            assert!(matches!(answer.as_u16(), 409 | 503), "{answer}: {status}");
        }
    }
    figure(
        "nodes",
        format!(
            "{} cancels through another node, answers {answers:?}; {begun} of the cancelled had made files, none made one after",
            all.len()
        ),
    );
    assert!(answers.get(&204).is_some_and(|cancelled| *cancelled > all.len() / 4), "{answers:?}");
    assert!(begun > 0, "none was cancelled in its middle");
}

/// Uploads to one node, and cancels through another, at any time between before its start and after its end.
fn upload_and_cancel(fleet: &Fleet, nth: usize) -> impl Future<Output = Cancelled> + use<> {
    let [mut one, mut other] = [Api::default(), Api::default()];
    one.at(fleet.nodes.homes[nth % 3].addr);
    other.at(fleet.nodes.homes[(nth + 1) % 3].addr);
    let (dir, seed) = (fleet.cluster.serve_dir(), u32::try_from(nth).expect("few"));
    let sub = Arc::<str>::from(format!("sub-{}", nth % 11));
    let job = json!({
        "directHost": true,
        "formats": { "jpg": { "sizes": [[96], [64], [48], [32]] }, "webp": { "sizes": [[80], [40]] }, "png": { "sizes": [[90], [60]] } }
    });
    async move {
        let accepted = one.accepted(&sub, job, "photo.jpg", jpeg(480, 360, 50_000 + seed)).await;
        let id = accepted["job_id"].as_str().expect("an id");
        tokio::time::sleep(Duration::from_millis(u64::from(seed * 37 % 1_500))).await;
        let cancel = other.request(Method::DELETE, &format!("/cancel?job_id={id}"));
        let answer = cancel.bearer_auth(Claims::of(&sub).sign()).send().await.expect("an answer").status();
        Cancelled { files: of_job(&files_below(&dir), &accepted), accepted, answer }
    }
}

/// The files of this job.
fn of_job(files: &[String], accepted: &Value) -> Vec<String> {
    let hash = accepted["hash"].as_str().expect("a hash");
    files.iter().filter(|file| file.contains(hash)).cloned().collect()
}
