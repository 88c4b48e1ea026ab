//! What the gate of a store lets through, and in which order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;

use super::*;
use crate::clock::{Clock, Manual};

const ME: OwnerKey = [1; 32];
const YOU: OwnerKey = [2; 32];

fn gate(places: usize) -> (Arc<StoreGate>, Arc<Manual>) {
    let clock = Arc::new(Manual::at(Timestamp::from_millis(1_000)));
    // Probes as soon as they may come: what counts here is that there is one at a time.
    let probe_backoff = Backoff { backoff_min: Duration::ZERO, backoff_max: Duration::ZERO, ..PROBE_BACKOFF };
    (StoreGate::with_probes("a store".to_owned(), places, probe_backoff, clock.clone()), clock)
}

fn failed() -> Result<(), WriteError> {
    error(WriteErrorKind::Unavailable)
}

fn error(kind: WriteErrorKind) -> Result<(), WriteError> {
    Err(WriteError { what: "put it".to_owned(), detail: "nobody there".to_owned(), kind })
}

async fn fail_until_open(gate: &Arc<StoreGate>) {
    for _ in 0..FAILURES_MAX {
        assert_eq!(gate.outage(), None);
        gate.enter(ME).await.settle(&failed());
    }
    assert!(gate.outage().is_some());
}

#[tokio::test]
async fn no_more_writes_run_than_there_are_places_and_owners_take_turns() {
    let (gate, _) = gate(2);
    let first = join_all([gate.enter(ME), gate.enter(ME)]).await;
    let mut mine = Box::pin(gate.enter(ME));
    let mut mine_too = Box::pin(gate.enter(ME));
    assert!(poll!(&mut mine).is_pending() && poll!(&mut mine_too).is_pending());
    let mut yours = Box::pin(gate.enter(YOU));
    assert!(poll!(&mut yours).is_pending() && gate.try_enter().is_none());
    drop(first);
    let passes = (mine.await, yours.await);
    assert!(poll!(&mut mine_too).is_pending(), "it came before the other owner's first");
    drop(passes);
    mine_too.await.settle(&Ok::<_, WriteError>(()));
    assert!(gate.try_enter().is_some());
}

#[tokio::test]
async fn five_failures_in_a_row_open_the_breaker_and_one_answer_closes_it_for_all() {
    let (gate, clock) = gate(16);
    gate.enter(ME).await.settle(&failed());
    gate.enter(ME).await.settle(&Ok::<_, WriteError>(()));
    clock.advance(Duration::from_secs(5));
    let since = clock.now();
    fail_until_open(&gate).await;
    assert_eq!(gate.outage(), Some(Outage { since, error: "nobody there".to_owned() }));
    assert!(gate.try_enter().is_none());

    let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(gate.enter(YOU))).collect();
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    // The first probe fails, and only it was let through.
    waiting.remove(0).await.settle(&failed());
    for wait in &mut waiting {
        assert!(poll!(wait).is_pending());
    }
    waiting.remove(0).await.settle(&Ok::<_, WriteError>(()));
    assert_eq!(gate.outage(), None);
    join_all(waiting).await;
}

#[tokio::test]
async fn a_probe_that_is_given_up_is_made_by_the_next() {
    let (gate, _) = gate(16);
    fail_until_open(&gate).await;
    drop(gate.enter(ME).await);
    let probe = gate.enter(ME).await;
    let mut next = Box::pin(gate.enter(ME));
    assert!(poll!(&mut next).is_pending(), "one at a time");
    probe.settle(&error(WriteErrorKind::Cancelled));
    next.await.settle(&Ok::<_, WriteError>(()));
    assert_eq!(gate.outage(), None);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_what_is_wrong_with_us_says_nothing_about_the_store() {
    let (gate, _) = gate(16);
    for kind in
        [WriteErrorKind::Shortage, WriteErrorKind::Invalid, WriteErrorKind::SourceDamaged, WriteErrorKind::Cancelled]
    {
        for _ in 0..=FAILURES_MAX {
            gate.enter(ME).await.settle(&error(kind));
        }
    }
    assert_eq!(gate.outage(), None);
    fail_until_open(&gate).await;
    gate.enter(ME).await.settle(&error(WriteErrorKind::Refused));
    assert_eq!(gate.outage(), None);
}

#[tokio::test]
async fn who_waits_can_give_up_and_takes_no_place_along() {
    let (gate, _) = gate(1);
    let held = gate.enter(ME).await;
    for _ in 0..10 {
        let mut gave_up = Box::pin(gate.enter(ME));
        assert!(poll!(&mut gave_up).is_pending());
    }
    let mut last = Box::pin(gate.enter(YOU));
    assert!(poll!(&mut last).is_pending());
    drop(held);
    // A pass that nobody takes any more is given back.
    let mut sent = Box::pin(gate.enter(ME));
    assert!(poll!(&mut sent).is_pending());
    drop(last.await);
    drop(sent);
    drop(gate.enter(ME).await);
}
