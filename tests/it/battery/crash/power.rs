//! Power is lost: of what the server wrote, the disk has what was synced.

use std::time::Duration;

use tokio::time::Instant;

use super::promise::{Kept, Witness};
use crate::battery::figure;
use crate::harness::app::breathe;
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
        let moment = Instant::now() + Duration::from_millis(u64::from(getrandom::u32().expect("randomness") % 400));
        witness.upload(&server, UPLOADS).await;
        // In every other life nothing is given time to settle.
        while cut % 2 == 1 && Instant::now() < moment {
            breathe().await;
        }
        if !mount.lose_power() {
            return None;
        }
        server.kill();
        mount.remount().await;
        let server = witness.home.start().await;
        all = witness.assert_kept(&server).await;
        server.kill();
    }
    drop(witness);
    Some(all)
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
