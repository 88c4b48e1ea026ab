//! Nodes that die at each step of an erasure.

use pixerve::failpoint::ErasureStep;
use tokio::time::Instant;

use crate::battery::figure;
use crate::erasure::home::ErasureHome;
use crate::erasure::killed_nodes::whatever_step_a_node_dies_at_another_carries_it_out;

async fn nodes_die_at_every_step(home: ErasureHome, served_from: &str) {
    let (steps, began) = (ErasureStep::ALL, Instant::now());
    Box::pin(whatever_step_a_node_dies_at_another_carries_it_out(home, steps)).await;
    let (steps, took) = (steps.len(), began.elapsed().as_secs());
    figure(
        "nodes",
        format!(
            "an erasure's node killed at {steps} of {steps} steps, files served from {served_from}: each carried out by another, no canary anywhere ({took} s)"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn an_erasure_outlives_its_node_at_every_step_where_a_directory_is_shared() {
    let Some(home) = ErasureHome::many_nodes().await else { return };
    Box::pin(nodes_die_at_every_step(home, "a shared directory")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn an_erasure_outlives_its_node_at_every_step_where_files_are_served_from_the_bucket() {
    let Some(home) = ErasureHome::nodes_that_serve_a_bucket().await else { return };
    Box::pin(nodes_die_at_every_step(home, "the bucket")).await;
}
