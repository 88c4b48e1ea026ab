//! A Redis and its replica, each on a machine of its own, and what happens when the first is lost behind a cut link.

use std::net::SocketAddr;

use tokio::time::Instant;

use super::app::{WAIT_MAX, poll_delay};
use super::network::{Machine, Network};
use super::redis::{Appendfsync, Flavour, RedisServer};

const PORT: u16 = 6379;
/// A primary whose replica was silent for longer takes no changes: so much may be lost with it.
const LAG_MAX_S: u64 = 10;

/// What is beside a primary: its replica, and the network that both are on. Nodes ask at [`RedisPair::url`], which leads to
/// whichever is the primary.
pub(crate) struct RedisPair {
    network: Network,
    primary_at: Machine,
    replica: RedisServer,
}

impl RedisPair {
    /// A primary and what is beside it; none where Redis isn't installed, or no network can be made.
    pub(crate) async fn start(flavour: Flavour, appendfsync: Appendfsync) -> Option<(RedisServer, Self)> {
        let network = Network::start()?;
        let start = async |machine| {
            let addr = SocketAddr::from((network.address(machine), PORT));
            let lag_max = LAG_MAX_S.to_string();
            // Both answer at the address that moves, too.
            let further = [
                ["--bind", "0.0.0.0"],
                ["--protected-mode", "no"],
                ["--repl-diskless-sync-delay", "0"],
                ["--min-replicas-max-lag", &lag_max],
            ];
            RedisServer::start_at(addr, &network.on(machine), flavour, appendfsync, further.as_flattened()).await
        };
        let (primary, replica) = (start(Machine::A).await?, start(Machine::B).await?);
        let pair = Self { network, primary_at: Machine::A, replica };
        pair.replicate(&primary).await;
        Some((primary, pair))
    }

    /// The address of whichever is the primary, as a setting has it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}:{PORT}/", self.network.moving_address())
    }

    /// The replica hears nothing any more of what the primary takes: [`LAG_MAX_S`] for at most.
    pub(crate) fn cut_off_replica(&self) {
        self.network.cut(self.primary_at.other());
    }

    /// Nobody hears the primary any more; the replica takes its place, and its address. `primary` is the new one from then on.
    pub(crate) async fn lose(&mut self, primary: &mut RedisServer) {
        let (old, new) = (self.primary_at, self.primary_at.other());
        self.network.cut(old);
        self.network.mend(new);
        self.replica.reachable().await;
        // It has no replica before the other one is back, and goes on alone.
        self.replica.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
        self.replica.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        self.network.move_address(new);
        self.primary_at = new;
        std::mem::swap(primary, &mut self.replica);
    }

    /// The one that was lost is there again, and becomes a replica of `primary`: what it alone knew is gone for good.
    pub(crate) async fn mend(&self, primary: &RedisServer) {
        self.network.mend(self.primary_at.other());
        self.replica.reachable().await;
        self.replicate(primary).await;
    }

    /// Waits until the replica has acknowledged all that `primary` has taken by now.
    pub(crate) async fn caught_up(&self, primary: &RedisServer) {
        let started = Instant::now();
        let mut taken = None;
        loop {
            let info: String = primary.command(&["INFO", "replication"]).await;
            let number = |name: &str| -> Option<u64> {
                let (_, rest) = info.split_once(name)?;
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            };
            let taken = *taken.get_or_insert_with(|| number("master_repl_offset:"));
            if info.contains("state=online") && number(",offset=") >= taken {
                return;
            }
            assert!(started.elapsed() < WAIT_MAX, "a replica lags behind: {info}");
            poll_delay().await;
        }
    }

    async fn replicate(&self, primary: &RedisServer) {
        let (host, port) = (self.network.address(self.primary_at).to_string(), PORT.to_string());
        self.replica.command::<()>(&["REPLICAOF", &host, &port]).await;
        let started = Instant::now();
        while !self.replica.command::<String>(&["INFO", "replication"]).await.contains("master_link_status:up") {
            assert!(started.elapsed() < WAIT_MAX, "no replica of {}", self.url());
            poll_delay().await;
        }
        // Its link is up before changes go through it.
        self.caught_up(primary).await;
        primary.command::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        // It counts its replicas once a second, and takes no change before.
        while let Err(refused) = primary.try_command::<u64>(&["DEL", "none"]).await {
            assert!(started.elapsed() < WAIT_MAX, "{refused}");
            poll_delay().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_has_what_it_was_told_in_time() {
    let Some((mut primary, mut pair)) = RedisPair::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let client = redis::Client::open(pair.url()).expect("an address");
    let at_address = async |words: [&str; 3]| {
        let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
        redis::cmd(words[0]).arg(&words[1..]).query_async::<String>(&mut connection).await.expect("done")
    };
    at_address(["SET", "before", "value"]).await;
    pair.caught_up(&primary).await;

    pair.cut_off_replica();
    at_address(["SET", "lost", "value"]).await;
    pair.lose(&mut primary).await;
    let found: Vec<Option<String>> = primary.command(&["MGET", "before", "lost"]).await;
    assert_eq!(found, [Some("value".to_owned()), None]);
    at_address(["SET", "after", "value"]).await;
    assert_eq!(primary.command::<String>(&["GET", "after"]).await, "value", "the address has moved");

    pair.mend(&primary).await;
    let role: String = pair.replica.command(&["INFO", "replication"]).await;
    assert!(role.contains("role:slave"), "{role}");
}
