//! Power is lost: of what the server wrote, the disk has what was synced.

use std::time::Duration;

use tokio::time::Instant;

use super::promise::{Kept, Witness};
use crate::battery::figure;
use crate::harness::app::poll_delay;
use crate::harness::mount::Mount;
use crate::harness::process::Home;

/// A file system for one server's life.
const MIB: u64 = 128;
/// Uploads at once.
const UPLOADS: u32 = 6;

/// Uploads, and cuts the power at some moment while they are accepted and worked off; so often, on one disk. None where
/// the machine can't do that.
async fn cuts(count: u32) -> Option<Kept> {
    let mount = Mount::ext4(MIB)?;
    let mut witness = Witness::at(Home::below(mount.path(), &[("PIXERVE_MAX_WORKERS", "2")])).await;
    let mut all = Kept::default();
    for cut in 0..count {
        let server = witness.home.start().await;
        let moment = Duration::from_millis(u64::from(getrandom::u32().expect("randomness") % 400));
        // In the midst of uploads, or when all of them were answered and most are being worked off. What is answered
        // after the cut was durable before: no sync succeeds any more.
        let lost = if cut % 2 == 0 {
            let (_, lost) = tokio::join!(witness.upload(&server, UPLOADS), async {
                wait(moment / 4).await;
                mount.lose_power()
            });
            lost
        } else {
            witness.upload(&server, UPLOADS).await;
            wait(moment).await;
            mount.lose_power()
        };
        lost?;
        server.kill();
        mount.remount().await;
        let server = witness.home.start().await;
        all = witness.assert_kept(&server).await;
        server.kill();
    }
    drop(witness);
    Some(all)
}

/// The moment is the test.
async fn wait(moment: Duration) {
    let started = Instant::now();
    while started.elapsed() < moment {
        poll_delay().await;
    }
}

fn report(cuts: u32, kept: Option<Kept>) {
    let Some(Kept { accepted, files, .. }) = kept else { return };
    figure(
        "crash",
        format!(
            "{cuts} losses of power (ext4, what was not synced is gone): {accepted} of {accepted} accepted jobs, {files} files whole"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_accepted_before_power_was_lost_ends_whole() {
    report(2, cuts(2).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn whatever_was_accepted_before_power_was_lost_again_and_again_ends_whole() {
    report(40, cuts(40).await);
}
