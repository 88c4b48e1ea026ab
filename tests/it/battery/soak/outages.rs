//! A store that is away a third of the time, in three ways by turns, and misbehaves while it is there.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::dice;
use crate::harness::fault_proxy::{Asked, BlackHole, Fault, FaultProxy};

/// Requests to a store that is away, of one server in one outage: `stores.concurrency` of 16, the 5 that open the breaker,
/// and a probe after 1 s, 2 s, 4 s and so on, with room to spare.
const ASKED_MAX: usize = 40;

/// How a store is away.
#[derive(Clone, Copy)]
enum Away {
    Refusing,
    /// Connecting takes for ever.
    Silent,
    /// It answers every request with a 503.
    Unavailable,
}

/// Outages that come and go until [`Outages::end`].
pub(super) struct Outages {
    stop: CancellationToken,
    running: JoinHandle<(FaultProxy, Endured)>,
}

/// What there was.
#[derive(Default)]
pub(super) struct Endured {
    refusing: usize,
    silent: usize,
    unavailable: usize,
    /// Requests that came while the store answered with a 503.
    asked_while_unavailable: usize,
    /// Requests that came in all.
    pub(super) asked: usize,
}

impl Outages {
    /// In each `cycle` the store behind `proxy` is there for two thirds, then away.
    pub(super) fn start(proxy: FaultProxy, cycle: Duration) -> Self {
        let stop = CancellationToken::new();
        Self { stop: stop.clone(), running: tokio::spawn(come_and_go(proxy, cycle, stop)) }
    }

    /// Brings the store back for as long as the proxy is kept. It still misbehaves.
    pub(super) async fn end(self) -> (FaultProxy, Endured) {
        self.stop.cancel();
        self.running.await.expect("outages come and go")
    }
}

async fn come_and_go(mut proxy: FaultProxy, cycle: Duration, stop: CancellationToken) -> (FaultProxy, Endured) {
    let mut endured = Endured::default();
    proxy.script(misbehave);
    for away in [Away::Refusing, Away::Silent, Away::Unavailable].into_iter().cycle() {
        if stop.run_until_cancelled(sleep(cycle * 2 / 3)).await.is_none() {
            break;
        }
        let asked = proxy.asked().len();
        match away {
            Away::Refusing => {
                endured.refusing += 1;
                proxy.refuse().await;
                stop.run_until_cancelled(sleep(cycle / 3)).await;
                proxy.accept_again().await;
            }
            Away::Silent => {
                endured.silent += 1;
                proxy.refuse().await;
                let hole = BlackHole::at(proxy.addr).await;
                stop.run_until_cancelled(sleep(cycle / 3)).await;
                drop(hole);
                proxy.accept_again().await;
            }
            Away::Unavailable => {
                endured.unavailable += 1;
                proxy.script(|_| Fault::s3_error(503, "ServiceUnavailable"));
                stop.run_until_cancelled(sleep(cycle / 3)).await;
                proxy.script(misbehave);
                endured.asked_while_unavailable += proxy.asked().len() - asked;
            }
        }
    }
    endured.asked = proxy.asked().len();
    (proxy, endured)
}

impl Endured {
    pub(super) fn outages(&self) -> usize {
        self.refusing + self.silent + self.unavailable
    }

    /// Panics if a store that was away was asked as if it weren't, by this many servers one after the other.
    pub(super) fn assert_left_alone(&self, servers: usize) {
        // What was under way when it went away, and the probes.
        let asked_max = ASKED_MAX * (self.unavailable + servers);
        assert!(self.asked_while_unavailable <= asked_max, "more than {asked_max} requests: {self}");
    }
}

impl std::fmt::Display for Endured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { refusing, silent, unavailable, asked_while_unavailable, asked } = self;
        write!(
            f,
            "{refusing} outages with connections refused, {silent} with connections never made, {unavailable} with 503 \
             ({asked_while_unavailable} requests in these); {asked} requests in all, a third of the others spoilt"
        )
    }
}

/// A third of what is asked of the store goes wrong.
fn misbehave(_: &Asked) -> Fault {
    match dice(60) {
        0..4 => Fault::s3_error(500, "InternalError"),
        4..8 => Fault::s3_error(503, "SlowDown"),
        8..10 => Fault::Drop,
        10..12 => Fault::Reset,
        12..14 => Fault::LoseReply,
        14..16 => Fault::ResetRequestAfter(100),
        16..18 => Fault::ResetReplyAfter(20),
        18 => Fault::StallReplyAfter(0),
        19 => Fault::Slow(1000),
        _ => Fault::Pass,
    }
}
