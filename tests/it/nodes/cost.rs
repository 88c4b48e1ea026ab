//! What nodes cost that have nothing to do.

use std::time::Duration;

use super::{BOTH, Site};
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};

const NODES: u32 = 50;
/// Of Redis' core, a second.
const CPU_SECONDS_MAX: f64 = 0.01;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beats_of_fifty_idle_nodes_take_less_than_a_percent_of_redis_core() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Everysec).await else { return };
        let site = Site::on(&server);
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let mut options = site.options(BOTH);
            // Not so fast that Redis would answer many at once, which is cheaper.
            options.timing.beat_every = Duration::from_millis(100);
            nodes.push(site.node_with(options).await);
        }
        let before = Spent::by(&server).await;
        for _ in 0..10 {
            nodes[0].beats().await;
        }
        let after = Spent::by(&server).await;
        let beats = after.beats - before.beats;
        assert!(beats > 5.0 * f64::from(NODES), "only {beats} beats");
        let beat = (after.cpu_seconds - before.cpu_seconds) / beats;
        println!("{flavour:?}: {:.0} us of Redis' main thread a beat", beat * 1e6);
        assert!(beat * f64::from(NODES) < CPU_SECONDS_MAX, "{flavour:?}: {beat} s a beat");
    }
}

/// What a Redis has done so far.
struct Spent {
    beats: f64,
    cpu_seconds: f64,
}

impl Spent {
    async fn by(server: &RedisServer) -> Self {
        let info: String = server.command(&["INFO", "everything"]).await;
        let number = |name: &str| -> f64 {
            let (_, rest) = info.split_once(name).unwrap_or_else(|| panic!("no {name}"));
            let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            digits.parse().expect("a number")
        };
        let cpu = ["used_cpu_user_main_thread:", "used_cpu_sys_main_thread:"].map(number);
        Self { beats: number("cmdstat_evalsha:calls="), cpu_seconds: cpu.iter().sum() }
    }
}
