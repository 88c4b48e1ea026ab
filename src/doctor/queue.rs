//! The queue of a running server: whether it answers, how full it is, how long jobs wait; and what they wait for.

use std::time::Duration;

use humantime::format_duration;

use super::Check;
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::queue::JobRecords;

const NAME: &str = "queue";
const BREAKERS: &str = "store breakers";

/// A job that waits for longer waits for something.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// How the queue is: `depth_max` jobs may be live.
pub async fn queue(records: &dyn JobRecords, depth_max: usize, is_paused: bool, now: Timestamp) -> Check {
    let counts = match records.counts().await {
        Ok(counts) => counts,
        Err(error) => {
            let remedy = "look at its disk, or at Redis: uploads are refused until it answers";
            return Check::failed(NAME, format!("it can't be used: {}", ErrorChain(&error)), remedy);
        }
    };
    let live = counts.pending.saturating_add(counts.processing);
    let found = format!("{} jobs wait, {} are worked on", counts.pending, counts.processing);
    if is_paused {
        let remedy = "unset PIXERVE_PAUSED and restart, once you have seen what you wanted to see";
        return Check::warning(NAME, format!("{found}; the server is paused, and takes none in"), remedy);
    }
    // Nine tenths.
    if live.saturating_mul(10) >= (depth_max as u64).saturating_mul(9) {
        let remedy =
            "see what holds them up (`pixerve jobs --scope admin --state pending`), or raise PIXERVE_QUEUE_DEPTH_MAX";
        return Check::warning(NAME, format!("{found}; of {depth_max} live ones uploads are refused (503)"), remedy);
    }
    let oldest = records.backlog().lanes.iter().filter_map(|lane| lane.oldest_pending).min();
    let waited = oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
    if waited > WAIT_MAX {
        let waited = format_duration(Duration::from_secs(waited.as_secs() / 60 * 60));
        let remedy = "`pixerve jobs --scope admin --state pending --waiting-for store`, or memory, or turn, shows what they wait for; more workers help against turns";
        return Check::warning(NAME, format!("{found}, the oldest for {waited}"), remedy);
    }
    Check::ok(NAME, found)
}

/// How many stores of each kind jobs can't reach.
#[must_use]
pub fn store_breakers(outages: &[(&'static str, usize)]) -> Check {
    let open: Vec<_> = outages.iter().filter(|(_, stores)| *stores > 0).collect();
    if open.is_empty() {
        return Check::ok(BREAKERS, "jobs reach every store that they write to");
    }
    let open: Vec<_> = open.iter().map(|(kind, stores)| format!("{stores} of {kind}")).collect();
    let found = format!("stores that jobs can't reach: {}", open.join(", "));
    Check::failed(BREAKERS, found, "see what is said of the stores here; jobs wait until they can be written to")
}
