//! Nodes that are killed, stopped and cut off, and a Redis that dies and forgets: whatever was accepted ends once, and its caller
//! is told.

mod cancels;
mod clocks;
mod erasing;
mod fleet;
mod full;
mod idle;
mod promises;
mod store;
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use super::figure;
use crate::harness::cluster::Cluster;
use crate::harness::redis::{Appendfsync, Flavour};
use crate::harness::redis_pair::RedisPair;

/// How long it goes on; `PIXERVE_NODES_SECONDS` says otherwise.
const SECONDS: u64 = 600;
/// Between two misfortunes of Redis'.
const CALM: Duration = Duration::from_secs(8);
/// What a Redis loses whose log is cut, or that is taken over from.
const LOST: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "how long it takes is the environment's to say")]
fn seconds() -> Duration {
    let given = std::env::var("PIXERVE_NODES_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(SECONDS))
}

/// What happens to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Misfortune {
    Killed,
    Paused,
    Emptied,
    /// Killed, and what it wrote last is gone.
    LogCut,
    /// Its machine's link is cut, and a replica takes over that lacks what was written last.
    Lost,
}

impl Misfortune {
    /// Whether something is forgotten that had been answered.
    fn forgets(self) -> bool {
        matches!(self, Self::Emptied | Self::LogCut | Self::Lost)
    }

    async fn befall(self, fleet: &mut Fleet, pair: Option<&mut RedisPair>) {
        let redis = &mut fleet.cluster.redis;
        match self {
            Self::Killed => {
                redis.kill();
                redis.restart().await;
            }
            Self::Paused => {
                redis.pause();
                sleep(Duration::from_secs(5)).await;
                redis.resume();
            }
            Self::Emptied => redis.command::<()>(&["FLUSHALL"]).await,
            Self::LogCut => {
                let mark = redis.logged();
                sleep(LOST).await;
                redis.kill();
                redis.lose_log_since(&mark);
                redis.restart().await;
            }
            Self::Lost => {
                let pair = pair.expect("there is a replica");
                pair.cut_off_replica();
                sleep(LOST).await;
                pair.lose(redis).await;
            }
        }
    }
}

/// What is tried, and for how long.
struct Trial<'a> {
    name: String,
    time: Duration,
    /// How long nodes hang that are stopped; none are if this is empty.
    stops: &'a [Duration],
    redis: &'a [Misfortune],
}

impl Trial<'_> {
    /// Kills a node each two seconds while all that happens, too, and clients upload.
    async fn run(self, mut fleet: Fleet, mut pair: Option<RedisPair>) {
        let (began, stop) = (Instant::now(), CancellationToken::new());
        let uploading = fleet.keep_uploading(&stop);
        let mut troubles = vec![tokio::spawn(Arc::clone(&fleet.nodes).keep_killing(stop.clone()))];
        if !self.stops.is_empty() {
            troubles.push(tokio::spawn(Arc::clone(&fleet.nodes).keep_stopping(self.stops.to_vec(), stop.clone())));
        }

        let (mut suffered, mut known_within) = (BTreeMap::<_, usize>::new(), Duration::ZERO);
        let mut misfortunes = self.redis.iter().cycle();
        while began.elapsed() < self.time {
            let Some(misfortune) = misfortunes.next() else {
                sleep(self.time.saturating_sub(began.elapsed())).await;
                break;
            };
            sleep(CALM.min(self.time.saturating_sub(began.elapsed()))).await;
            misfortune.befall(&mut fleet, pair.as_mut()).await;
            *suffered.entry(misfortune).or_default() += 1;
            if misfortune.forgets() {
                let lost = Instant::now();
                fleet.all_known().await;
                known_within = known_within.max(lost.elapsed());
            }
            if let (Misfortune::Lost, Some(pair)) = (misfortune, &pair) {
                pair.mend(&fleet.cluster.redis).await;
            }
        }
        stop.cancel();
        for trouble in troubles {
            trouble.await.expect("no panic");
        }
        uploading.join_all().await;
        let time = began.elapsed();

        let reckoning = fleet.reckon().await;
        let (refused, nodes) = (fleet.promises.refused(), &fleet.nodes);
        figure(
            "nodes",
            format!(
                "{}: {} s; nodes killed {} (starts that failed {}), stopped {} ({:?}), attempts fenced {}; Redis {suffered:?}, all known again within {} s; \
                 {} jobs accepted ({:.1}/s), of {} the record was lost after their end; uploads refused or unanswered {refused:?}; \
                 lost {}, files missing {}, with two ends {}, callers untold {}; ended within {} s",
                self.name,
                time.as_secs(),
                nodes.killed.load(Ordering::Relaxed),
                nodes.start_failures.load(Ordering::Relaxed),
                nodes.stopped.load(Ordering::Relaxed),
                self.stops,
                nodes.fenced(),
                known_within.as_secs(),
                reckoning.accepted,
                rate(reckoning.accepted, time),
                reckoning.forgotten,
                reckoning.lost.len(),
                reckoning.missing_files.len(),
                reckoning.contradictions.len(),
                reckoning.untold.len(),
                began.elapsed().saturating_sub(time).as_secs(),
            ),
        );
        reckoning.assert_all_kept();
        assert!(
            reckoning.forgotten == 0 || self.redis.iter().any(|misfortune| misfortune.forgets()),
            "records are lost"
        );
        // Somebody was killed, hung while a body came, or Redis was away: nothing else is a reason.
        assert!(refused.keys().all(|status| [0, 408, 503].contains(status)), "{refused:?}");
        assert!(reckoning.accepted > nodes.killed.load(Ordering::Relaxed), "hardly anything was taken");
    }
}

#[expect(clippy::cast_precision_loss, reason = "few")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Originals stay for longer than what a Redis may forget here, and not so long that an emptied one has all of them made again.
const KEPT: (&str, &str) = ("PIXERVE_SPOOL_KEEP_AFTER_END", "20s");
/// Between the two times for which nodes are stopped.
const LEASE: [(&str, &str); 2] = [("PIXERVE_QUEUE_LEASE", "20s"), ("PIXERVE_QUEUE_LEASE_RENEW", "5s")];
const STOPS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(50)];

async fn nodes_are_killed(flavour: Flavour, appendfsync: Appendfsync, time: Duration) {
    let Some(cluster) = Cluster::start_on(flavour, appendfsync).await else { return };
    let name = format!("kills, {flavour:?}, {appendfsync:?}");
    Trial { name, time, stops: &[], redis: &[] }.run(Fleet::start(cluster, &[]).await, None).await;
}

async fn everything_happens(flavour: Flavour, appendfsync: Appendfsync) {
    use Misfortune::{Emptied, Killed, LogCut, Paused};
    let Some(cluster) = Cluster::start_on(flavour, appendfsync).await else { return };
    let fleet = Fleet::start(cluster, &[KEPT, LEASE[0], LEASE[1]]).await;
    let name = format!("everything, {flavour:?}, {appendfsync:?}");
    Trial { name, time: seconds(), stops: &STOPS, redis: &[Killed, LogCut, Paused, Emptied] }.run(fleet, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_lose_nothing() {
    nodes_are_killed(Flavour::Redis, Appendfsync::Everysec, Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn nodes_that_are_killed_for_long_lose_nothing_on_redis() {
    nodes_are_killed(Flavour::Redis, Appendfsync::Always, seconds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn nodes_that_are_killed_for_long_lose_nothing_on_valkey() {
    nodes_are_killed(Flavour::Valkey, Appendfsync::Everysec, seconds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn everything_at_once_loses_nothing_on_redis() {
    everything_happens(Flavour::Redis, Appendfsync::Everysec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn everything_at_once_loses_nothing_on_valkey() {
    everything_happens(Flavour::Valkey, Appendfsync::Always).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn a_primary_that_is_lost_again_and_again_takes_nothing_with_it() {
    let replicated = Cluster::start_replicated(Flavour::Redis, Appendfsync::Everysec).await;
    let Some((cluster, pair)) = replicated else { return };
    let fleet = Fleet::start(cluster, &[KEPT]).await;
    let name = "primary lost behind a cut link".to_owned();
    Trial { name, time: seconds(), stops: &[], redis: &[Misfortune::Lost] }.run(fleet, Some(pair)).await;
}
