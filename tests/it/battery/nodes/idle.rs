//! What nodes cost that have nothing to do.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::battery::figure;
use crate::harness::cluster::Cluster;
use crate::harness::process::Home;
use crate::harness::redis::RedisServer;

const NODES: usize = 50;
/// Nodes that start at once: each takes a core for a moment.
const STARTED_AT_ONCE: usize = 5;
/// Of Redis' core.
const SHARE_MAX: f64 = 0.01;
const SETTLING: Duration = Duration::from_secs(20);
const MEASURED: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn fifty_idle_nodes_take_less_than_a_percent_of_redis_core() {
    let Some(cluster) = Cluster::start().await else { return };
    // What it takes alone is no node's doing.
    let alone = Spent::meanwhile(&cluster.redis).await;
    // As they are by default, in two roles.
    let lease = [("PIXERVE_QUEUE_LEASE", "60s"), ("PIXERVE_QUEUE_LEASE_RENEW", "15s")];
    let homes: Vec<_> = (0..NODES).map(|_| cluster.home(&lease)).collect();
    let mut running = Vec::new();
    for homes in homes.chunks(STARTED_AT_ONCE) {
        running.extend(join_all(homes.iter().map(Home::start)).await);
    }
    sleep(SETTLING).await;
    let idle = Spent::meanwhile(&cluster.redis).await;
    let share = (idle.cpu_seconds - alone.cpu_seconds) / MEASURED.as_secs_f64();
    let calls: Vec<_> = idle.calls.iter().map(Calls::of_a_node).collect();
    figure(
        "nodes",
        format!(
            "{NODES} idle nodes take {:.2} % of Redis' core, which takes {:.2} % alone; each: {}",
            share * 100.0,
            alone.cpu_seconds / MEASURED.as_secs_f64() * 100.0,
            calls.join(", ")
        ),
    );
    assert_eq!(running.len(), NODES);
    assert!(share < SHARE_MAX, "{share}");
}

/// What a Redis did in [`MEASURED`].
struct Spent {
    cpu_seconds: f64,
    calls: Vec<Calls>,
}

/// Calls of one command, from without or by scripts.
struct Calls {
    command: String,
    count: f64,
    micros: f64,
}

impl Calls {
    fn of_a_node(&self) -> String {
        let a_second = |of_all: f64| of_all / f64::from(u8::try_from(NODES).expect("few")) / MEASURED.as_secs_f64();
        format!("{} {:.2}/s {:.1} us/s", self.command, a_second(self.count), a_second(self.micros))
    }
}

impl Spent {
    async fn meanwhile(redis: &RedisServer) -> Self {
        let before = Self::so_far(redis).await;
        sleep(MEASURED).await;
        let mut spent = Self::so_far(redis).await;
        spent.cpu_seconds -= before.cpu_seconds;
        for calls in &mut spent.calls {
            if let Some(before) = before.calls.iter().find(|before| before.command == calls.command) {
                calls.count -= before.count;
                calls.micros -= before.micros;
            }
        }
        spent.calls.retain(|calls| calls.count >= 1.0);
        spent.calls.sort_by(|a, b| b.micros.total_cmp(&a.micros));
        spent
    }

    async fn so_far(redis: &RedisServer) -> Self {
        let info: String = redis.command(&["INFO", "everything"]).await;
        let number = |text: &str, name: &str| -> f64 {
            let (_, rest) = text.split_once(name).unwrap_or_else(|| panic!("no {name}"));
            let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            digits.parse().expect("a number")
        };
        // The whole process: its other threads write its log.
        let cpu_seconds = number(&info, "used_cpu_user:") + number(&info, "used_cpu_sys:");
        let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
        let calls = lines.map(|(command, line)| Calls {
            command: command.to_owned(),
            count: number(line, "calls="),
            micros: number(line, "usec="),
        });
        Self { cpu_seconds, calls: calls.collect() }
    }
}
