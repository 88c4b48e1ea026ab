//! What a queue promises that many nodes share: lost answers, dead and slow nodes, and jobs that are stopped from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pixerve::job::{JobId, JobRecord, RecordVersion, State, StoredFile};
use pixerve::queue::{
    CancelOutcome, DeliveryOutcome, Enqueued, Filter, JobIntake, JobMaintenance, JobRecords, LeaseState, PageRequest,
    Place, QueueError, Retry, Settled, Settlement,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, calling_back, claim, claim_order, claim_up_to, complete,
    completion, enqueue, enqueue_all, failure, nothing_to_claim, purge, queued, reap_expired,
};
use super::settle::file;
use crate::harness::app::poll_delay;
use crate::harness::deliveries::{end_of, tried};
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};

type TwoNodes = (QueueFixture, [Queue; 2]);

/// Two nodes on one Redis; none where it isn't installed.
fn two_nodes() -> Result<Option<TwoNodes>, Box<dyn std::error::Error>> {
    let Some(fixture) = QueueFixture::redis()? else { return Ok(None) };
    let nodes = [fixture.open()?, fixture.open()?];
    Ok(Some((fixture, nodes)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_node_works_on_is_stopped_there_and_ends_cancelled_with_its_files() -> TestResult {
    let Some((_fixture, [holder, other])) = two_nodes()? else { return Ok(()) };
    let id = enqueue(&other, &queued("a", 1)).await?;
    let held = claim(&holder).await?;
    let stop = tokio::spawn({
        let holder = Arc::clone(&holder);
        async move { holder.next_stop().await }
    });
    // Asked until it is heard: the holder may not listen yet. Its renewals would say so, too.
    while !stop.is_finished() {
        assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
        if holder.extend(&held.lease, LEASE).await? == LeaseState::CalledOff {
            break;
        }
        poll_delay().await;
    }
    assert_eq!(holder.extend(&held.lease, LEASE).await?, LeaseState::CalledOff);
    assert_eq!(other.get(&id).await?.ok_or("known")?.state, State::Processing, "its holder may be writing still");
    let mut watch = other.events().watch(id);
    let files: Vec<StoredFile> = vec![file("stored.jpg")];
    let settled = holder.settle(&held.lease, Settlement::Stopped { files: files.clone() }).await?;
    assert_eq!(settled, Settled::Applied(State::Cancelled));
    watch.changed().await;
    let job = other.get(&id).await?.ok_or("known")?;
    assert_eq!((job.state, job.files), (State::Cancelled, files));
    assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Ended(State::Cancelled));
    stop.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_of_a_called_off_job_hears_of_it_at_once() -> TestResult {
    let Some((_fixture, [holder, other])) = two_nodes()? else { return Ok(()) };
    // Until the holder listens, which the first of these shows that it hears of.
    let mut n = 0;
    loop {
        n += 1;
        let id = enqueue(&other, &queued("a", n)).await?;
        let held = claim(&holder).await?;
        assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
        let heard = tokio::time::timeout(SECOND, holder.next_stop()).await;
        holder.settle(&held.lease, Settlement::Stopped { files: Vec::new() }).await?;
        if let Ok(heard) = heard {
            assert_eq!(heard, id);
            return Ok(());
        }
        assert!(n < 60, "it never hears");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_called_off_job_ends_cancelled_however_its_attempt_ends_and_if_its_holder_dies() -> TestResult {
    let Some((fixture, [holder, other])) = two_nodes()? else { return Ok(()) };
    let endings = [Settlement::Released, failure(Retry::After(SECOND)), Settlement::Unmade { files: Vec::new() }];
    for (n, ending) in (1..).zip(endings) {
        let id = enqueue(&other, &queued("a", n)).await?;
        let held = claim(&holder).await?;
        assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
        assert_eq!(holder.settle(&held.lease, ending).await?, Settled::Applied(State::Cancelled));
    }
    let id = enqueue(&other, &queued("a", 9)).await?;
    claim(&holder).await?;
    assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
    fixture.clock.advance(LEASE);
    assert_eq!(other.expired_leases(10).await?, [id]);
    assert_eq!(other.reap(&id, Vec::new()).await?, Some(State::Cancelled));
    nothing_to_claim(&other).await?;
    // What was quicker than the order to stop has ended as it did.
    let id = enqueue(&other, &queued("a", 10)).await?;
    let held = claim(&holder).await?;
    assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
    assert_eq!(holder.settle(&held.lease, completion()).await?, Settled::Applied(State::Completed));
    assert_eq!(other.cancel(&id, Vec::new()).await?, CancelOutcome::Ended(State::Completed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_gives_back_its_own_jobs_alone() -> TestResult {
    let Some((_fixture, [stopping, other])) = two_nodes()? else { return Ok(()) };
    let ids = [enqueue(&other, &queued("a", 1)).await?, enqueue(&other, &queued("a", 2)).await?];
    claim(&stopping).await?;
    let held = claim(&other).await?;
    stopping.shutdown().await?;
    let job = other.get(&ids[0]).await?.ok_or("known")?;
    assert_eq!((job.state, job.attempts), (State::Pending, 0));
    assert!(matches!(other.extend(&held.lease, LEASE).await?, LeaseState::Held(_)));
    assert_eq!(claim_order(&other).await?, [ids[0]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_wakes_one_of_the_nodes_that_wait() -> TestResult {
    let Some((_fixture, nodes)) = two_nodes()? else { return Ok(()) };
    let woken = Arc::new(AtomicUsize::new(0));
    let mut waiting = Vec::new();
    for node in &nodes {
        // So that it knows that nothing is there.
        nothing_to_claim(node).await?;
        let (node, woken) = (Arc::clone(node), Arc::clone(&woken));
        waiting.push(tokio::spawn(async move {
            node.wait_ready(Place::Regular, 3600 * SECOND).await;
            woken.fetch_add(1, Ordering::SeqCst);
        }));
    }
    enqueue(&nodes[0], &queued("a", 1)).await?;
    while woken.load(Ordering::SeqCst) == 0 {
        poll_delay().await;
    }
    // The other one is woken by the next alone.
    enqueue(&nodes[0], &queued("b", 2)).await?;
    for task in waiting {
        task.await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_claims_no_job_that_takes_more_memory_than_it_has() -> TestResult {
    let Some(fixture) = QueueFixture::redis()? else { return Ok(()) };
    let [small, large] = [fixture.open_with_memory(50)?, fixture.open_with_memory(100)?];
    let big = pixerve::job::JobRecord { memory: Some(80), ..queued("a", 1) };
    let little = pixerve::job::JobRecord { memory: Some(40), ..queued("b", 2) };
    for job in [&big, &little] {
        enqueue(&small, job).await?;
    }
    assert_eq!(claim_order(&small).await?, [little.id]);
    // It doesn't hold the others up, however long it waits.
    fixture.clock.advance(3600 * SECOND);
    let next = enqueue(&small, &queued("b", 3)).await?;
    assert_eq!(claim_order(&small).await?, [next]);
    assert_eq!(claim_order(&large).await?, [big.id]);
    Ok(())
}

/// Passes bytes between a node and Redis, and loses answers to scripts: it closes the connection instead of passing one.
struct LossyProxy {
    url: String,
    /// Answers that pass before one is lost; none are lost while it is [`NEVER`].
    passes: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

const NEVER: usize = usize::MAX;

impl LossyProxy {
    async fn start(upstream: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let upstream = upstream.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("redis://{}/", listener.local_addr()?);
        let passes = Arc::new(AtomicUsize::new(NEVER));
        let shared = Arc::clone(&passes);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (passes, upstream) = (Arc::clone(&shared), upstream.clone());
                tokio::spawn(async move {
                    // Its end is the connection's.
                    let _: std::io::Result<()> = pass(client, &upstream, &passes).await;
                });
            }
        });
        Ok(Self { url, passes, serving })
    }

    /// Loses the answer that comes after so many others.
    fn lose_after(&self, others: usize) {
        self.passes.store(others, Ordering::SeqCst);
    }

    fn has_lost(&self) -> bool {
        self.passes.load(Ordering::SeqCst) == NEVER
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(mut client: TcpStream, upstream: &str, passes: &AtomicUsize) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let (mut asked, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_script = false;
    loop {
        tokio::select! {
            length = client.read(&mut asked) => match length? {
                0 => return Ok(()),
                length => {
                    is_script |= asked[..length].windows(7).any(|word| word == b"EVALSHA");
                    server.write_all(&asked[..length]).await?;
                }
            },
            length = server.read(&mut answer) => match length? {
                0 => return Ok(()),
                length => {
                    if std::mem::take(&mut is_script) {
                        let left = passes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                            NEVER => None,
                            0 => Some(NEVER),
                            left => Some(left - 1),
                        });
                        if left == Ok(0) {
                            return Ok(());
                        }
                    }
                    client.write_all(&answer[..length]).await?;
                }
            },
        }
    }
}

/// A node that loses answers, and one that doesn't.
async fn lossy() -> Result<Option<(QueueFixture, LossyProxy, Queue, Queue)>, Box<dyn std::error::Error>> {
    let Some(fixture) = QueueFixture::redis()? else { return Ok(None) };
    let proxy = LossyProxy::start(&fixture.url()?).await?;
    let (node, other) = (fixture.open_through(&proxy.url)?, fixture.open()?);
    // Every script is known to Redis from here on, so that the first answer is the one.
    let id = enqueue(&node, &calling_back(queued("warm", 1000))).await?;
    let held = claim(&node).await?;
    node.made(&held.lease).await?;
    complete(&node, &held).await?;
    node.due_deliveries(10, LEASE).await?;
    node.settle_delivery(&end_of(id), tried(None, None), DeliveryOutcome::Delivered).await?;
    Ok(Some((fixture, proxy, node, other)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_an_upload_makes_no_second_job() -> TestResult {
    let Some((_fixture, proxy, node, other)) = lossy().await? else { return Ok(()) };
    proxy.lose_after(0);
    let job = queued("a", 1);
    assert!(matches!(node.enqueue(job.clone()).await?, Enqueued::Created | Enqueued::Known));
    assert!(proxy.has_lost());
    assert_eq!(other.counts().await?.pending, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_a_claim_costs_seconds_and_no_attempt() -> TestResult {
    let Some((fixture, proxy, node, other)) = lossy().await? else { return Ok(()) };
    let id = enqueue(&other, &queued("a", 1)).await?;
    proxy.lose_after(0);
    assert!(claim_up_to(&node, 1).await.is_err());
    assert!(proxy.has_lost());
    assert_eq!(other.get(&id).await?.ok_or("known")?.state, State::Processing);
    fixture.clock.advance(10 * SECOND);
    assert_eq!(reap_expired(&other, 10).await?.requeued, [id]);
    let job = claim(&other).await?.job;
    assert_eq!((job.record.id, job.attempts), (id, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_between_claim_and_end_changes_nothing() -> TestResult {
    let Some((fixture, proxy, node, other)) = lossy().await? else { return Ok(()) };
    let id = enqueue(&other, &calling_back(queued("a", 1))).await?;
    // That the claim was heard of.
    proxy.lose_after(1);
    let held = claim(&node).await?;
    assert!(proxy.has_lost());
    fixture.clock.advance(10 * SECOND);
    assert_eq!(other.expired_leases(10).await?, [], "it is confirmed");
    proxy.lose_after(0);
    assert!(matches!(node.extend(&held.lease, LEASE).await?, LeaseState::Held(_)));
    proxy.lose_after(0);
    node.made(&held.lease).await?;
    assert_eq!(other.counts().await?.storing, 1);
    // That it was looked up, and that it was changed.
    for others in [0, 1] {
        proxy.lose_after(others);
        let retry = failure(Retry::After(SECOND));
        let lease = if others == 0 { held.lease.clone() } else { claim(&other).await?.lease };
        assert_eq!(node.settle(&lease, retry).await?, Settled::Applied(State::Pending), "after {others}");
        assert!(proxy.has_lost());
        fixture.clock.advance(SECOND);
    }
    let last = claim(&node).await?;
    assert_eq!(last.job.attempts, 3);
    proxy.lose_after(1);
    assert_eq!(node.settle(&last.lease, completion()).await?, Settled::Applied(State::Completed));
    assert!(proxy.has_lost());
    assert_eq!(other.counts().await?.completed, 2);

    // Callbacks: hidden until the call is thought to be lost, and each try counted once.
    proxy.lose_after(0);
    assert!(node.due_deliveries(10, LEASE).await.is_err());
    assert!(other.due_deliveries(10, LEASE).await?.is_empty());
    fixture.clock.advance(LEASE);
    assert_eq!(other.due_deliveries(10, LEASE).await?.len(), 1);
    for (others, attempts) in [(0, 1), (1, 2)] {
        proxy.lose_after(others);
        node.settle_delivery(&end_of(id), tried(None, None), DeliveryOutcome::Retry(SECOND)).await?;
        assert!(proxy.has_lost());
        assert_eq!(other.delivery(&end_of(id)).await?.ok_or("known")?.attempts, attempts);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_another_node_has_counted_already_takes_no_callback_back() -> TestResult {
    let Some((fixture, [slow, quick])) = two_nodes()? else { return Ok(()) };
    let id = enqueue(&slow, &calling_back(queued("a", 1))).await?;
    complete(&slow, &claim(&slow).await?).await?;
    let first = slow.due_deliveries(1, SECOND).await?;
    fixture.clock.advance(SECOND);
    let second = quick.due_deliveries(1, LEASE).await?;
    assert_eq!(first, second, "the first is thought to be lost");
    let number = second[0].attempts + 1;
    let numbered = |status| pixerve::queue::DeliveryTry { number, ..tried(status, None) };
    quick.settle_delivery(&end_of(id), numbered(Some(500)), DeliveryOutcome::Retry(SECOND)).await?;
    slow.settle_delivery(&end_of(id), numbered(Some(410)), DeliveryOutcome::GivenUp).await?;
    let owed = quick.delivery(&end_of(id)).await?.ok_or("known")?;
    assert_eq!((owed.attempts, owed.last.and_then(|last| last.status)), (1, Some(500)));
    // Whoever has it has it.
    slow.settle_delivery(&end_of(id), numbered(Some(200)), DeliveryOutcome::Delivered).await?;
    let delivered = quick.delivery(&end_of(id)).await?.ok_or("known")?;
    assert_eq!(delivered.state, pixerve::queue::DeliveryState::Delivered);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_uploads_and_nothing_else() -> TestResult {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return Ok(()) };
    let fixture = QueueFixture::redis_at(server.url())?;
    let queue = fixture.open()?;
    let ids = [enqueue(&queue, &calling_back(queued("a", 1))).await?, enqueue(&queue, &queued("a", 2)).await?];
    // Every script is there before there is no room for one.
    let held = claim(&queue).await?;
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = queue.enqueue(queued("a", 3)).await;
    assert!(matches!(refused, Err(QueueError::StorageFull)), "{refused:?}");
    assert!(matches!(queue.extend(&held.lease, LEASE).await?, LeaseState::Held(_)));
    complete(&queue, &held).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?.len(), 1);
    queue.settle_delivery(&end_of(ids[0]), tried(None, None), DeliveryOutcome::Delivered).await?;
    assert_eq!(claim_order(&queue).await?, [ids[1]]);
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    enqueue(&queue, &queued("a", 3)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gives_out_no_place_twice_and_takes_jobs_in_again() -> TestResult {
    let Some(server) = RedisServer::start(Flavour::Valkey, Appendfsync::Everysec).await else { return Ok(()) };
    let fixture = QueueFixture::redis_at(server.url())?;
    let queue = fixture.open()?;
    let job = queued("a", 1);
    enqueue(&queue, &job).await?;
    let before = claim(&queue).await?;
    server.command::<()>(&["FLUSHALL"]).await;
    fixture.clock.advance(SECOND);
    assert_eq!(queue.extend(&before.lease, LEASE).await?, LeaseState::Lost);
    assert_eq!(queue.settle(&before.lease, completion()).await?, Settled::Stale);
    enqueue(&queue, &job).await?;
    let after = claim(&queue).await?;
    assert!(after.job.seq > before.job.seq);
    assert_eq!(after.job.attempts, 1);
    complete(&queue, &after).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_fails_calls_soon_and_is_used_again_when_it_is_back() -> TestResult {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Always).await else { return Ok(()) };
    let fixture = QueueFixture::redis_at(server.url())?;
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    server.kill();
    let refused = queue.enqueue(queued("a", 2)).await;
    assert!(matches!(refused, Err(QueueError::Unavailable { .. })), "{refused:?}");
    server.restart().await;
    let held = loop {
        match claim(&queue).await {
            Ok(held) => break held,
            Err(_) => poll_delay().await,
        }
    };
    assert_eq!(held.job.record.id, id, "what was answered for is there");
    // Nobody's lease is ended before everybody could have renewed.
    fixture.clock.advance(LEASE);
    assert_eq!(queue.expired_leases(10).await?, [id], "the last failure is that long ago");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_journal_is_read_by_every_node_and_counts_as_a_change() -> TestResult {
    let Some(fixture) = QueueFixture::redis()? else { return Ok(()) };
    let [holder, other] = [fixture.open_shared()?, fixture.open_shared()?];
    let record = queued("a", 1);
    let id = record.id;
    assert_eq!(holder.enqueue(record).await?, Enqueued::Created);
    let lines = ["one", "two", "three"].map(str::to_owned);
    holder.append_journal(&id, &lines[..2]).await?;
    let before = other.get(&id).await?.ok_or("known")?.changes;
    holder.append_journal(&id, &lines[2..]).await?;
    assert_eq!(other.journal(&id).await?, lines);
    assert!(other.get(&id).await?.ok_or("known")?.changes > before);
    // It goes with its job.
    assert!(other.drop_live(&id).await?);
    holder.append_journal(&id, &lines).await?;
    assert_eq!(holder.journal(&id).await?, [""; 0]);
    Ok(())
}

/// As `INFO commandstats` counts them: those that nodes send, without what scripts do.
async fn commands(server: &RedisServer) -> usize {
    let stats: String = server.command(&["INFO", "commandstats"]).await;
    let sent = ["cmdstat_evalsha:", "cmdstat_blpop:"];
    let calls = stats.lines().filter(|line| sent.iter().any(|name| line.starts_with(name)));
    calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<usize>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_takes_at_most_twelve_commands() -> TestResult {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return Ok(()) };
    let fixture = QueueFixture::redis_at(server.url())?;
    let queue = fixture.open()?;
    for n in 0..2 {
        let job = calling_back(queued("a", n));
        let before = commands(&server).await;
        // An upload looks for a duplicate first.
        assert!(queue.find_live(&job.hash, &job.owner).await?.is_none());
        let id = enqueue(&queue, &job).await?;
        let held = claim(&queue).await?;
        queue.extend(&held.lease, LEASE).await?;
        queue.made(&held.lease).await?;
        complete(&queue, &held).await?;
        let due = queue.due_deliveries(10, LEASE).await?;
        queue.delivery_content(&due[0].id).await?;
        queue.settle_delivery(&end_of(id), tried(None, None), DeliveryOutcome::Delivered).await?;
        let sent = commands(&server).await - before;
        println!("commands of a job: {sent}");
        // The first sends scripts twice: Redis doesn't know them.
        assert!(n == 0 || sent <= 12, "{sent}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_lease_was_lost_ends_nothing_that_another_works_on() -> TestResult {
    let Some((fixture, [lost, holder])) = two_nodes()? else { return Ok(()) };
    let id = enqueue(&lost, &queued("a", 1)).await?;
    let first = claim(&lost).await?;
    fixture.clock.advance(LEASE);
    assert_eq!(reap_expired(&holder, 10).await?.requeued, [id]);
    let second = claim(&holder).await?;
    // Before it has heard of that, and after.
    assert_eq!(lost.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
    assert_eq!(lost.extend(&first.lease, LEASE).await?, LeaseState::Lost);
    assert_eq!(lost.cancel(&id, Vec::new()).await?, CancelOutcome::Stopping);
    lost.shutdown().await?;
    assert_eq!(holder.extend(&second.lease, LEASE).await?, LeaseState::CalledOff);
    let settled = holder.settle(&second.lease, Settlement::Stopped { files: Vec::new() }).await?;
    assert_eq!(settled, Settled::Applied(State::Cancelled));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_never_become_fewer_whoever_counts_them() -> TestResult {
    let Some(fixture) = QueueFixture::redis()? else { return Ok(()) };
    let [holder, other] = [fixture.open_shared()?, fixture.open_shared()?];
    let record = queued("a", 1);
    let id = record.id;
    holder.enqueue(record).await?;
    let node: Queue = Arc::clone(&holder) as Queue;
    let held = claim(&node).await?;
    let mut seen = 0;
    for n in 0..3 {
        // What the holder alone knows, and what all do.
        holder.events().changed(id);
        holder.append_journal(&id, &[n.to_string()]).await?;
        let now = other.get(&id).await?.ok_or("known")?.changes;
        assert!(now > seen, "{now} after {seen}");
        seen = now;
    }
    node.settle(&held.lease, Settlement::Released).await?;
    let released = other.get(&id).await?.ok_or("known")?.changes;
    assert!(released >= seen + 3, "{released} after {seen} and three that the holder alone knew");
    // A node that dies takes what it alone knew along.
    claim(&node).await?;
    fixture.clock.advance(LEASE);
    other.expired_leases(10).await?;
    other.reap(&id, Vec::new()).await?;
    assert!(other.get(&id).await?.ok_or("known")?.changes > released + 1000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_outlives_its_original_which_would_come_back_as_a_new_job() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    let id = enqueue(&queue, &queued("a", 1)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    fixture.clock.advance(3600 * SECOND);
    assert_eq!(queue.purge(fixture.now(), 10).await?, 0);
    queue.left_spool(&[id]).await?;
    assert_eq!(queue.purge(fixture.now(), 10).await?, 1);
    assert!(queue.get(&id).await?.is_none());
    Ok(())
}

/// Makes nothing of a job readable but what scripts look at.
async fn damage(fixture: &QueueFixture, id: &JobId) -> TestResult {
    fixture.command::<u64>("HSET", &format!("job:{id}"), &[b"r", b"{"]).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_ends_no_list() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    let ids = enqueue_all(&queue, &(0..8).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    // One at the end of a page, a page of nothing else, and one of which nothing is left but its place.
    for at in [6, 4, 3] {
        damage(&fixture, &ids[at]).await?;
    }
    fixture.command::<u64>("DEL", &format!("job:{}", ids[1]), &[]).await?;
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = queue.list(&Filter::default(), PageRequest { limit: 2, cursor }).await?;
        seen.extend(page.jobs.iter().map(|job| job.record.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [ids[7], ids[5], ids[2], ids[0]]);
    // Nor is the newest one that is readable hidden by it.
    assert_eq!(queue.newest(&queued("a", 7).hash).await?.ok_or("known")?.record.id, ids[7]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_a_job_keeps_no_old_record_from_going() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    // More than one script removes.
    for n in 0..33 {
        enqueue(&queue, &queued("a", n)).await?;
        complete(&queue, &claim(&queue).await?).await?;
    }
    fixture.command::<u64>("ZADD", "done", &[b"1", JobId::new(fixture.now()).to_string().as_bytes()]).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 200).await?, 33);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_release_says_of_a_job_outlives_its_way_through_an_older_one() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    let key = format!("job:{id}");
    let text: Vec<u8> = fixture.command("HGET", &key, &[b"r"]).await?;
    let mut record: Value = serde_json::from_slice(&text)?;
    record["mood"] = json!({ "good": true });
    record["spec"]["frame"] = json!("oak");
    fixture.command::<u64>("HSET", &key, &[b"r", &serde_json::to_vec(&record)?]).await?;

    let outgrown = Settlement::Outgrown { memory: 7 };
    queue.settle(&claim(&queue).await?.lease, outgrown).await?;
    let waiting: Value = serde_json::from_slice(&fixture.command::<Vec<u8>>("HGET", &key, &[b"r"]).await?)?;
    assert_eq!((&waiting["mood"], &waiting["spec"]["frame"]), (&record["mood"], &record["spec"]["frame"]));
    assert_eq!(waiting["memory"], 7, "what is known is changed");

    complete(&queue, &claim(&queue).await?).await?;
    queue.settle_delivery(&end_of(id), tried(None, None), DeliveryOutcome::Delivered).await?;
    let packed: Vec<u8> = fixture.command("HGET", &key, &[b"z"]).await?;
    let ended: Value = serde_json::from_reader(flate2::read::DeflateDecoder::new(packed.as_slice()))?;
    assert_eq!((&ended[0]["mood"], &ended[0]["spec"]["frame"]), (&record["mood"], &record["spec"]["frame"]));
    Ok(())
}

/// The format of a job's record, as scripts see it.
async fn format_of(fixture: &QueueFixture, id: &JobId) -> Result<String, Box<dyn std::error::Error>> {
    let constants: String = fixture.command("HGET", &format!("job:{id}"), &[b"k"]).await?;
    Ok(constants.rsplit('|').next().unwrap_or_default().to_owned())
}

/// A record of version 1.
fn of_version_1(n: u32) -> Result<JobRecord, Box<dyn std::error::Error>> {
    Ok(JobRecord { version: serde_json::from_str("1")?, ..queued("a", n) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_keeps_the_format_in_which_it_was_accepted() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    let ids = [enqueue(&queue, &of_version_1(1)?).await?, enqueue(&queue, &queued("a", 2)).await?];
    for (id, format) in ids.iter().zip([1, RecordVersion::CURRENT]) {
        assert_eq!(format_of(&fixture, id).await?, format.to_string());
        queue.settle(&claim(&queue).await?.lease, failure(Retry::After(Duration::ZERO))).await?;
        complete(&queue, &claim(&queue).await?).await?;
        let ended = queue.get(id).await?.ok_or("known")?;
        assert_eq!((ended.state, ended.record.version.number()), (State::Completed, format));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_callbacks_of_a_newer_release_are_left_to_it() -> TestResult {
    let Some((fixture, [queue, _])) = two_nodes()? else { return Ok(()) };
    let ids = [enqueue(&queue, &calling_back(queued("a", 1))).await?, enqueue(&queue, &queued("a", 2)).await?];
    complete(&queue, &claim(&queue).await?).await?;
    let mut before = Vec::new();
    for id in &ids {
        let key = format!("job:{id}");
        let constants: String = fixture.command("HGET", &key, &[b"k"]).await?;
        let newer = format!("{}|{}", constants.rsplit_once('|').ok_or("parted")?.0, RecordVersion::CURRENT + 1);
        fixture.command::<u64>("HSET", &key, &[b"k", newer.as_bytes()]).await?;
        before.push((key, constants));
    }
    nothing_to_claim(&queue).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    fixture.clock.advance(10 * SECOND);
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    // There a node that reads them finds all of it.
    for (key, constants) in before {
        fixture.command::<u64>("HSET", &key, &[b"k", constants.as_bytes()]).await?;
    }
    fixture.clock.advance(2 * SECOND);
    assert_eq!(queue.due_deliveries(10, LEASE).await?.len(), 1);
    assert_eq!(claim(&queue).await?.job.record.id, ids[1]);
    Ok(())
}
