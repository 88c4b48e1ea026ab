//! Three nodes that take uploads and three that make them, each in a process of its own, and what is done to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::promises::Promises;
use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::process::{Home, ServerProcess};

const ROLES: [&str; 6] = ["api", "api", "api", "worker", "worker", "worker"];
/// Of those the first take uploads.
const API_NODES: usize = 3;
const CLIENTS_PER_NODE: usize = 3;
/// A node is killed so often.
const KILL_EVERY: Duration = Duration::from_secs(2);
/// After Redis has lost something, everything in the bucket is known to it again within this.
const KNOWN_WITHIN: Duration = Duration::from_mins(2);
/// After the last misfortune, everything has ended and every caller is told within this.
const ENDS_WITHIN: Duration = Duration::from_mins(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Fleet {
    pub(super) cluster: Cluster,
    pub(super) nodes: Arc<FleetNodes>,
    pub(super) promises: Arc<Promises>,
}

/// The nodes, which several misfortunes may befall at once.
pub(super) struct FleetNodes {
    pub(super) homes: Vec<Home>,
    /// Whoever does something to a node holds it.
    running: Vec<Mutex<ServerProcess>>,
    /// Clients of those that take uploads.
    apis: Vec<Api>,
    pub(super) killed: AtomicUsize,
    /// How often a node that was started ended before it was healthy.
    pub(super) start_failures: AtomicUsize,
    pub(super) stopped: AtomicUsize,
}

/// What was found when everything had ended.
#[derive(Debug, Default)]
pub(super) struct Reckoning {
    pub(super) accepted: usize,
    /// Jobs whose record is gone with what Redis lost: they had ended, and their callers had been told.
    pub(super) forgotten: usize,
    /// Jobs that didn't complete, with what is known of them.
    pub(super) lost: Vec<String>,
    /// Files that records name and that aren't served.
    pub(super) missing_files: Vec<String>,
    pub(super) contradictions: Vec<String>,
    pub(super) untold: Vec<String>,
}

impl Fleet {
    pub(super) async fn start(cluster: Cluster, further: &[(&str, &str)]) -> Self {
        let home = |role| {
            let own = [("PIXERVE_NODE_ROLES", role), ("PIXERVE_MAX_WORKERS", "1")];
            cluster.home(&[&own, further].concat())
        };
        let homes: Vec<_> = ROLES.into_iter().map(home).collect();
        let mut running = Vec::new();
        for home in &homes {
            running.push(Mutex::new(home.start().await));
        }
        let api = |home: &Home| {
            let mut api = Api::default();
            api.at(home.addr);
            api
        };
        let apis = homes[..API_NODES].iter().map(api).collect();
        let [killed, start_failures, stopped] = [const { AtomicUsize::new(0) }; 3];
        let nodes = Arc::new(FleetNodes { homes, running, apis, killed, start_failures, stopped });
        Self { cluster, nodes, promises: Arc::new(Promises::new().await) }
    }

    /// Clients that upload to all nodes that take uploads, until `stop`.
    pub(super) fn keep_uploading(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for home in &self.nodes.homes[..API_NODES] {
            for _ in 0..CLIENTS_PER_NODE {
                clients.spawn(Arc::clone(&self.promises).keep_uploading(home.addr, stop.clone()));
            }
        }
        clients
    }

    /// Waits until all that is in the bucket now is known to Redis.
    pub(super) async fn all_known(&self) {
        let began = Instant::now();
        let mut unknown: HashSet<String> = self.cluster.spooled().await.into_iter().collect();
        loop {
            let known = self.nodes.statuses(&unknown).await;
            unknown.retain(|id| known.get(id).is_none_or(|(status, _)| *status != StatusCode::OK));
            if unknown.is_empty() {
                return;
            }
            // What has left it had ended.
            let spooled: HashSet<String> = self.cluster.spooled().await.into_iter().collect();
            unknown.retain(|id| spooled.contains(id));
            let answers: Vec<_> = unknown.iter().map(|id| (id, known.get(id))).collect();
            assert!(began.elapsed() < KNOWN_WITHIN, "{} jobs are unknown still: {answers:?}", unknown.len());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until everything has ended, and finds out how.
    pub(super) async fn reckon(&self) -> Reckoning {
        let accepted = self.promises.accepted();
        let mut reckoning = Reckoning { accepted: accepted.len(), ..Reckoning::default() };
        let mut open: HashSet<String> = accepted.iter().cloned().collect();
        let mut last_known = BTreeMap::new();
        let began = Instant::now();
        loop {
            self.promises.hear().await;
            let known = self.nodes.statuses(&open).await;
            // Afterwards: what was unknown and isn't there either will never come back.
            let spooled: HashSet<String> = self.cluster.spooled().await.into_iter().collect();
            for (id, (status, body)) in known {
                match body["state"].as_str() {
                    Some("completed") => reckoning.missing_files.extend(self.missing_files(&body)),
                    Some("failed" | "cancelled") => reckoning.lost.push(body.to_string()),
                    None if status == StatusCode::NOT_FOUND && !spooled.contains(&id) && self.promises.is_told(&id) => {
                        reckoning.forgotten += 1;
                    }
                    _ => {
                        last_known.insert(id, format!("{status}: {body}"));
                        continue;
                    }
                }
                open.remove(&id);
            }
            if open.is_empty() || began.elapsed() > ENDS_WITHIN {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        for id in open {
            let known = last_known.remove(&id).unwrap_or_else(|| "no answer".to_owned());
            reckoning.lost.push(format!("{id}: {known}"));
        }
        let untold = || accepted.iter().filter(|id| !self.promises.is_told(id)).cloned().collect::<Vec<_>>();
        while !untold().is_empty() && began.elapsed() < ENDS_WITHIN {
            sleep(Duration::from_millis(200)).await;
            self.promises.hear().await;
        }
        reckoning.untold = untold();
        reckoning.contradictions = self.promises.contradictions();
        reckoning
    }

    fn missing_files(&self, status: &Value) -> Vec<String> {
        let files = status["files"].as_array().expect("files");
        let locations = files.iter().map(|file| file["stored"][0]["location"].as_str().expect("a location"));
        let served = self.cluster.serve_dir();
        let is_missing = |location: &&str| {
            let path = location.strip_prefix("/files/").expect("below /files/");
            !served.join(path).is_file()
        };
        locations.filter(is_missing).map(str::to_owned).collect()
    }
}

impl Reckoning {
    /// Nothing is lost, nothing has two ends, everybody is told.
    pub(super) fn assert_all_kept(&self) {
        let Self { lost, missing_files, contradictions, untold, .. } = self;
        assert!(
            [lost, missing_files, contradictions, untold].iter().all(|found| found.is_empty()),
            "lost {lost:#?}\nmissing files {missing_files:?}\ntwo ends {contradictions:#?}\nuntold {untold:?}"
        );
    }
}

impl FleetNodes {
    /// Kills a node and starts it again, unless something else befalls it just now.
    pub(super) async fn kill(&self, nth: usize) {
        let Ok(mut running) = self.running[nth].try_lock() else { return };
        running.signal(Signal::KILL);
        running.exited().await;
        self.killed.fetch_add(1, Ordering::Relaxed);
        *running = self.start_supervised(nth).await;
    }

    /// Starts a node as often as a supervisor must: one that starts while Redis dies ends with an error.
    async fn start_supervised(&self, nth: usize) -> ServerProcess {
        let (home, started) = (&self.homes[nth], Instant::now());
        let mut running = home.spawn(&[]);
        while !running.is_healthy().await {
            assert!(started.elapsed() < WAIT_MAX, "the node does not start:\n{}", home.terminal());
            if running.ended_already().is_some() {
                self.start_failures.fetch_add(1, Ordering::Relaxed);
                running = home.spawn(&[]);
            }
            poll_delay().await;
        }
        running
    }

    /// Kills one node after the other, until `stop`.
    pub(super) async fn keep_killing(self: Arc<Self>, stop: CancellationToken) {
        for nth in (0..ROLES.len()).cycle() {
            let next = Instant::now() + KILL_EVERY;
            self.kill(nth).await;
            if stop.run_until_cancelled(sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// Stops one node after the other for one of these times, as a machine does that hangs, until `stop`.
    pub(super) async fn keep_stopping(self: Arc<Self>, times: Vec<Duration>, stop: CancellationToken) {
        // Takers of uploads and makers, either of them for each time.
        for (nth, time) in [3, 0, 1, 4, 5, 2].into_iter().cycle().zip(times.into_iter().cycle()) {
            if stop.run_until_cancelled(sleep(KILL_EVERY)).await.is_none() {
                return;
            }
            let running = self.running[nth].lock().await;
            running.signal(Signal::STOP);
            self.stopped.fetch_add(1, Ordering::Relaxed);
            sleep(time).await;
            running.signal(Signal::CONT);
        }
    }

    /// What nodes answer of these jobs; of one of which none answered anything, nothing.
    async fn statuses(&self, ids: &HashSet<String>) -> BTreeMap<String, (StatusCode, Value)> {
        let asked = ids.iter().enumerate().map(async |(nth, id)| Some((id.clone(), self.status(nth, id).await?)));
        stream::iter(asked).buffer_unordered(8).filter_map(async |answer| answer).collect().await
    }

    /// What a node that takes uploads says of this job, the `nth` first.
    async fn status(&self, nth: usize, id: &str) -> Option<(StatusCode, Value)> {
        for nth in (nth..).take(API_NODES).map(|nth| nth % API_NODES) {
            // One that is stopped would be waited for.
            if self.running[nth].try_lock().is_err() {
                continue;
            }
            let asked = self.apis[nth].request(Method::GET, &format!("/status?job_id={id}")).timeout(ASK_TIMEOUT);
            let Ok(answer) = asked.send().await else { continue };
            let status = answer.status();
            if let Ok(body) = answer.json().await {
                return Some((status, body));
            }
        }
        None
    }

    /// How often attempts were given up, or their results discarded, because another node may have had the job by then.
    pub(super) fn fenced(&self) -> usize {
        let said = |home: &Home| {
            let log = home.log();
            log.matches("lease lost").count() + log.matches("for so long that the attempt is given up").count()
        };
        self.homes.iter().map(said).sum()
    }
}
