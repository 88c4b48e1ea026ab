//! SIGTERM while as many jobs run as may, and as many wait. One job, two signals and a second server on the same data:
//! `restart/process.rs`.

use std::time::Duration;

use tokio::time::Instant;

use super::promise::Witness;
use crate::battery::figure;

/// As many workers as there may be.
const WORKERS: usize = 10;
const UPLOADS: u32 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_in_the_midst_of_thirty_jobs_loses_none_and_exits_0() {
    let workers = WORKERS.to_string();
    let settings = [("PIXERVE_MAX_WORKERS", workers.as_str()), ("PIXERVE_SERVER_DRAIN_TIMEOUT", "100ms")];
    let mut witness = Witness::new(&settings).await;
    let mut server = witness.home.start().await;
    assert_eq!(witness.upload(&server, UPLOADS).await, UPLOADS as usize);
    server.terminate();
    let asked = Instant::now();
    assert_eq!(server.exited().await.code(), Some(0), "{}", witness.home.terminal());
    let took = asked.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
    let log = witness.home.log();
    let (ended, requeued) = (log.matches(" completed files=").count(), log.matches("job requeued").count());
    let server = witness.home.start().await;
    let kept = witness.assert_kept(&server).await;
    figure(
        "crash",
        format!(
            "SIGTERM with {WORKERS} workers and {UPLOADS} jobs: exit 0 after {took:?}, {ended} had completed, {requeued} \
             were requeued; {} of {UPLOADS} completed after the next start",
            kept.accepted
        ),
    );
}
