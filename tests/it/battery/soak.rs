//! Hours of everything at once, in as many seconds as there are: mixed load on a real server that is restarted and
//! killed under it, whose store fails in every way and is away a third of the time, and then every byte accounted for.
//!
//! `PIXERVE_SOAK_SECONDS` (1200 unless given) is how long the load lasts. In the first part of it the server is stopped
//! or killed every few seconds. In the rest one server lives, and its memory and descriptors are compared: late against
//! early. Outages go on through all of it.

mod gauge;
mod load;
mod log;
mod outages;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::gauge::Gauge;
use self::load::{Client, Ledger};
use self::outages::Outages;
use crate::harness::app::poll_delay;
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::stores::{S3Server, s3_at};

const CLIENTS: u32 = 6;
const BUCKET: &str = "soak";

/// Outages and the times between them, in one soak. In one of 1200 s the store is there for 40 s, then away for 20 s.
const CYCLES: u32 = 20;

/// Nothing here is slower than it must be: a store that is down is retried soon, and one that stalls times out soon.
const SETTINGS: [(&str, &str); 11] = [
    ("PIXERVE_MAX_WORKERS", "3"),
    // No more than can end in a moment once the load does; beyond it uploads are put off with a 503.
    ("PIXERVE_QUEUE_DEPTH_MAX", "300"),
    ("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "50"),
    ("PIXERVE_LOG_FORMAT", "json"),
    ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
    ("PIXERVE_SERVER_RATE_PER_USER", "0"),
    ("PIXERVE_SERVER_DRAIN_TIMEOUT", "2s"),
    ("PIXERVE_STORES_BACKOFF_MIN", "10ms"),
    ("PIXERVE_STORES_BACKOFF_MAX", "200ms"),
    ("PIXERVE_STORES_CONNECT_TIMEOUT", "1s"),
    ("PIXERVE_STORES_IDLE_TIMEOUT", "2s"),
];

/// A number below `bound`.
fn dice(bound: u32) -> u32 {
    getrandom::u32().expect("randomness") % bound
}

#[expect(clippy::disallowed_methods, reason = "how long a soak lasts is the environment's to say")]
fn seconds() -> u64 {
    std::env::var("PIXERVE_SOAK_SECONDS").map_or(1200, |text| text.parse().expect("PIXERVE_SOAK_SECONDS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make soak"]
async fn under_everything_at_once_every_accepted_job_ends_once_and_whole() {
    let began = Instant::now();
    let whole = Duration::from_secs(seconds());
    let home = Home::new(&SETTINGS);
    let mut server = home.start().await;
    let s3 = s3_at(([127, 0, 0, 1], 0).into(), &[BUCKET]).await;
    let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = s3.registration(BUCKET);
    registration["endpoint"] = proxy.endpoint().into();
    let key = server.register(registration).await;
    let outages = Outages::start(proxy, whole / CYCLES);

    let ledger = Arc::new(Ledger::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Client::new(number, (*server).clone(), &key, Arc::clone(&ledger)).run());
    }
    let mut restarts = Restarts::default();
    while began.elapsed() < whole * 6 / 10 {
        let moment = Instant::now() + Duration::from_millis(2_000 + u64::from(dice(13_000)));
        watch(&mut clients, moment.min(began + whole * 6 / 10)).await;
        server = restarts.next(&home, server).await;
    }
    let mut gauge = Gauge::of(server.id());
    while began.elapsed() < whole {
        watch(&mut clients, Instant::now() + Duration::from_secs(1)).await;
        gauge.look();
    }
    ledger.stop();
    while let Some(client) = clients.join_next().await {
        client.expect("a client ends well");
    }
    super::figure("soak", format!("{} s of load: {}", whole.as_secs(), ledger.summary()));
    // Whatever waits may end now.
    let (_proxy, endured) = outages.end().await;
    super::figure("soak", format!("{restarts}; {endured}"));
    let held = verdict::of(&home, &server, &ledger, &Stored { s3: &s3 }).await;
    super::figure("soak", held);
    let servers = restarts.count() + 1;
    endured.assert_left_alone(servers);
    super::figure("soak", log::verdict(&home, endured.outages() + servers, endured.asked));
    super::figure("soak", gauge.assert_flat());
}

/// Waits until `moment`, and fails at once if a client does.
async fn watch(clients: &mut JoinSet<()>, moment: Instant) {
    while Instant::now() < moment {
        if let Some(ended) = clients.try_join_next() {
            ended.expect("a client goes on");
        }
        poll_delay().await;
    }
}

/// Where the store's objects can be looked at without the proxy.
struct Stored<'a> {
    s3: &'a S3Server,
}

#[derive(Default)]
struct Restarts {
    stopped: u32,
    killed: u32,
}

impl Restarts {
    async fn next(&mut self, home: &Home, mut server: ServerProcess) -> ServerProcess {
        if dice(2) == 0 {
            self.stopped += 1;
            server.terminate();
            let ended = server.exited().await;
            assert!(ended.success(), "SIGTERM ends it well, not with {ended}:\n{}", home.terminal());
        } else {
            self.killed += 1;
            server.kill();
        }
        home.start().await
    }

    fn count(&self) -> usize {
        (self.stopped + self.killed) as usize
    }
}

impl std::fmt::Display for Restarts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stopped, killed } = self;
        write!(f, "{stopped} SIGTERM, {killed} SIGKILL")
    }
}
