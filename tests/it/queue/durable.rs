//! What outlives the server.

use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pixerve::clock::{SharedClock, System};
use pixerve::database::Database;
use pixerve::job::{JobId, State};
use pixerve::queue::{
    CrashAttribution, DeliveryOutcome, Filter, JobIntake, JobQueue, PageRequest, QueueError, QueueSettings, Retry,
    Settlement, SledQueue,
};

use super::fixture::{
    LEASE, QueueFixture, SECOND, TestResult, calling_back, claim, claim_order, claim_up_to, complete, completion,
    enqueue, enqueue_all, failure, nothing_to_claim, queued, realtime,
};
use crate::harness::deliveries::settle;

const GOLDEN: &str = include_str!("job-v1.json");
const GOLDEN_ID: &str = "0197a3c5-0000-7000-8000-000000000001";

#[tokio::test]
async fn reopening_keeps_everything() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let records: Vec<_> = (0..6).map(|n| queued("a", n)).chain([realtime("b", 1)]).collect();
    let ids = enqueue_all(&queue, &records).await?;
    complete(&queue, &claim(&queue).await?).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::After(SECOND))).await?;
    queue.cancel(&ids[5], Vec::new()).await?;
    let all = PageRequest { limit: 200, cursor: None };
    let before = (queue.counts().await?, queue.list(&Filter::default(), all.clone()).await?.jobs);
    queue.shutdown().await?;

    let queue = fixture.open()?;
    assert_eq!((queue.counts().await?, queue.list(&Filter::default(), all).await?.jobs), before);
    for record in &records {
        assert_eq!(queue.newest(&record.hash).await?.map(|job| job.record.id), Some(record.id));
    }
    fixture.clock.advance(SECOND);
    let newer = enqueue(&queue, &queued("a", 100)).await?;
    assert_eq!(claim_order(&queue).await?, [ids[2], ids[3], ids[4], newer]);
    Ok(())
}

#[tokio::test]
async fn a_lease_lost_with_the_server_refunds_the_attempt() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2)]).await?;
    let lost = claim(&queue).await?;
    // Nothing on the disk counts these.
    for _ in 0..1000 {
        queue.events().changed(ids[0]);
    }
    fixture.crash(queue)?;

    let queue = fixture.open()?;
    let job = queue.get(&ids[0]).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.attempts, job.crashes), (State::Pending, 0, 0));
    assert!(job.changes > lost.job.changes + 1000, "who watched sees no change that is older than what they saw");
    assert!(queue.settle(&lost.lease, completion()).await? == pixerve::queue::Settled::Stale);
    let again = claim(&queue).await?;
    assert_eq!(again.job.record.id, ids[0], "back in its place");
    assert!(again.lease.token > lost.lease.token, "old leases stay fenced off");
    Ok(())
}

#[tokio::test]
async fn the_death_of_the_server_counts_as_a_crash_where_jobs_run_in_process() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let settings = QueueSettings { crashes_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings.clone(), CrashAttribution::JobsInFlight)?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("a", 3)]).await?;
    claim_up_to(&queue, 2).await?;
    fixture.crash(queue)?;

    let queue = fixture.open_with(settings.clone(), CrashAttribution::JobsInFlight)?;
    let first = claim_up_to(&queue, 10).await?;
    assert_eq!(first.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), [ids[0]]);
    assert_eq!((first[0].job.attempts, first[0].job.crashes), (1, 1));
    nothing_to_claim(&queue).await?;
    fixture.crash(queue)?;

    let queue = fixture.open_with(settings, CrashAttribution::JobsInFlight)?;
    let poison = queue.get(&ids[0]).await?.ok_or("it is unknown")?;
    assert_eq!((poison.state, poison.error.map(|e| e.code)), (State::Failed, Some("poison".to_owned())));
    let innocent = claim(&queue).await?;
    assert_eq!(innocent.job.record.id, ids[1]);
    complete(&queue, &innocent).await?;
    assert_eq!(claim_order(&queue).await?, [ids[2]]);
    Ok(())
}

#[tokio::test]
async fn the_death_of_the_server_is_attributed_to_no_job_that_is_made_and_being_stored() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let open = || fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight);
    let mut queue = open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    queue.made(&held.lease).await?;
    for _ in 0..2 * QueueSettings::default().crashes_max {
        fixture.crash(queue)?;
        queue = open()?;
        let job = queue.get(&id).await?.ok_or("it is unknown")?;
        assert_eq!((job.state, job.attempts, job.crashes), (State::Pending, 0, 0));
        nothing_to_claim(&queue).await?;
        assert_eq!(queue.claim_made(10, LEASE).await?.len(), 1, "that it is made outlives the server");
    }
    let held = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!(held.state, State::Processing);
    fixture.crash(queue)?;
    queue = open()?;
    let held = queue.claim_made(1, LEASE).await?.pop().ok_or("it waits")?;
    queue.settle(&held.lease, Settlement::Unmade { files: Vec::new() }).await?;
    // What was made in an earlier attempt says nothing about this one.
    claim(&queue).await?;
    fixture.crash(queue)?;
    let job = open()?.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.crashes), (State::Pending, 1));
    Ok(())
}

#[tokio::test]
async fn a_clean_stop_is_attributed_to_no_job() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    queue.shutdown().await?;
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.attempts, job.crashes), (State::Pending, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_while_it_stops_is_attributed_to_no_job_once() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    queue.mark_draining().await?;
    fixture.crash(queue)?;
    for crashes in [0, 1] {
        let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
        let job = queue.get(&id).await?.ok_or("it is unknown")?;
        assert_eq!((job.state, job.attempts, job.crashes), (State::Pending, 0, crashes));
        claim(&queue).await?;
        fixture.crash(queue)?;
    }
    Ok(())
}

#[tokio::test]
async fn owed_callbacks_survive_a_crash() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    for n in 0..3 {
        enqueue(&queue, &calling_back(queued("a", n))).await?;
        complete(&queue, &claim(&queue).await?).await?;
    }
    let due = queue.due_deliveries(10, LEASE).await?;
    settle(&*queue, due[0].id.job, DeliveryOutcome::Delivered).await?;
    settle(&*queue, due[1].id.job, DeliveryOutcome::Retry(300 * SECOND)).await?;
    fixture.crash(queue)?;

    let queue = fixture.open()?;
    let untold = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(untold.iter().map(|d| (d.id, d.attempts)).collect::<Vec<_>>(), [(due[2].id, 0)]);
    settle(&*queue, due[2].id.job, DeliveryOutcome::Delivered).await?;
    fixture.clock.advance(300 * SECOND);
    let retried = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(retried.iter().map(|d| (d.id, d.attempts)).collect::<Vec<_>>(), [(due[1].id, 1)]);
    Ok(())
}

#[tokio::test]
async fn a_clock_set_back_delays_nobody_longer_than_meant() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    enqueue(&queue, &queued("a", 2)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    settle(&*queue, id, DeliveryOutcome::Retry(10 * SECOND)).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::After(10 * SECOND))).await?;
    fixture.crash(queue)?;
    fixture.clock.set_wall(fixture.now().before(3600 * SECOND));

    let queue = fixture.open()?;
    nothing_to_claim(&queue).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    fixture.clock.advance(10 * SECOND);
    claim(&queue).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_second_queue_on_the_same_directory_is_refused() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let second =
        SledQueue::open(&fixture.dir(), QueueSettings::default(), fixture.clock.clone(), CrashAttribution::NoJob);
    assert!(matches!(second.err(), Some(QueueError::AlreadyRunning { .. })));
    enqueue(&queue, &queued("a", 1)).await?;
    Ok(())
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_reported() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let record = queued("a", 1);
    enqueue(&queue, &record).await?;
    queue.shutdown().await?;
    std::fs::OpenOptions::new().write(true).open(fixture.dir().join("db"))?.set_len(0)?;

    let queue =
        SledQueue::open(&fixture.dir(), QueueSettings::default(), fixture.clock.clone(), CrashAttribution::NoJob)?;
    let set_aside = queue.set_aside();
    assert!(set_aside.len() == 1 && set_aside[0].path.is_dir(), "{set_aside:?}");
    // As the spool would.
    let again = queue.enqueue(record).await?;
    assert_eq!(again, pixerve::queue::Enqueued::Created);
    Ok(())
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let database = Database::open(&fixture.dir())?.database;
    database.tree("meta")?.insert("schema", &2_u32.to_be_bytes())?;
    database.close()?;
    let refused = fixture.open().err().ok_or("it was opened")?;
    assert!(refused.to_string().contains("schema 2"), "{refused}");
    let kept = Database::open(&fixture.dir())?;
    assert_eq!(kept.set_aside, None);
    assert_eq!(kept.database.tree("meta")?.get("schema")?.as_deref(), Some(2_u32.to_be_bytes().as_slice()));
    Ok(())
}

#[tokio::test]
async fn a_record_of_version_1_stays_readable_and_is_what_is_written() -> TestResult {
    let id: JobId = GOLDEN_ID.parse()?;
    let golden = [&[1], GOLDEN.trim_end().as_bytes()].concat();
    let fixture = QueueFixture::sled()?;
    let database = Database::open(&fixture.dir())?.database;
    database.tree("jobs")?.insert(id.as_bytes(), golden.as_slice())?;
    database.close()?;

    let queue = fixture.open()?;
    let job = queue.get(&id).await?.ok_or("it can't be read")?;
    assert_eq!((job.seq, job.attempts, job.crashes, job.state), (7, 2, 1, State::Pending));
    assert_eq!(job.record.spec.variants.len(), 1);
    assert_eq!(job.error.as_ref().map(|e| e.code.as_str()), Some("store"));
    assert_eq!(job.files.len(), 1);
    let held = claim(&queue).await?;
    assert_eq!(held.lease.id, id);
    queue
        .settle(
            &held.lease,
            Settlement::Failed {
                error: job.error.ok_or("no error")?,
                files: job.files,
                retry: Retry::After(20 * SECOND),
            },
        )
        .await?;
    queue.shutdown().await?;

    let database = Database::open(&fixture.dir())?.database;
    let written = database.tree("jobs")?.get(id.as_bytes())?.ok_or("it is gone")?;
    assert_eq!(written[0], 1);
    let written: serde_json::Value = serde_json::from_slice(&written[1..])?;
    let mut golden: serde_json::Value = serde_json::from_str(GOLDEN)?;
    // Versions before 0.3.0 counted none.
    golden["job"]["changes"] = 0.into();
    // Versions before 0.2.0 wrote none, which is the first; it stays that.
    golden["job"]["record"]["version"] = 1.into();
    assert_eq!(written["job"]["record"]["version"], 1);
    assert_eq!(shape(&written), shape(&golden), "a new field needs a new version, or a default");
    Ok(())
}

/// A record without its values: what a reader has to expect.
fn shape(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        serde_json::Value::Array(items) => items.iter().map(shape).collect(),
        serde_json::Value::Null => "null".into(),
        serde_json::Value::Bool(_) => "bool".into(),
        serde_json::Value::Number(_) => "number".into(),
        serde_json::Value::String(_) => "string".into(),
    }
}

#[tokio::test]
async fn an_unreadable_record_is_set_aside_and_the_others_go_on() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let (bad, good) = (queued("a", 1), queued("a", 2));
    enqueue_all(&queue, &[bad.clone(), good.clone()]).await?;
    queue.shutdown().await?;
    let database = Database::open(&fixture.dir())?.database;
    database.tree("jobs")?.insert(bad.id.as_bytes(), b"\x01{\"half")?;
    database.close()?;

    let queue = fixture.open()?;
    assert_eq!(queue.counts().await?.pending, 1);
    enqueue(&queue, &bad).await?;
    assert_eq!(claim_order(&queue).await?, [good.id, bad.id]);
    queue.shutdown().await?;
    let database = Database::open(&fixture.dir())?.database;
    assert_eq!(database.tree("unreadable")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_settles_what_was_asked_for_before() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let mut uploads = tokio::task::JoinSet::new();
    for n in 0..50 {
        let queue = Arc::clone(&queue);
        uploads.spawn(async move {
            let record = queued("a", n);
            (record.id, queue.enqueue(record).await)
        });
    }
    let first = uploads.join_next().await.ok_or("no uploads")??;
    queue.shutdown().await?;
    let mut outcomes = uploads.join_all().await;
    outcomes.push(first);
    let queue = fixture.open()?;
    for (id, outcome) in outcomes {
        if outcome.is_ok() {
            assert!(queue.get(&id).await?.is_some(), "it was acknowledged and is lost");
        }
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_kill_9() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "queue::durable::serve_until_killed", "--ignored", "--nocapture"])
        .env(CHILD_DIR, fixture.dir())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut acknowledged: Vec<(String, JobId)> = Vec::new();
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        if let Some((verb, id)) = line.split_once(' ').and_then(|(verb, id)| Some((verb, id.parse().ok()?))) {
            acknowledged.push((verb.to_owned(), id));
        }
        if acknowledged.len() == 400 {
            child.kill()?;
        }
    }
    assert!(!child.wait()?.success(), "it was to be killed");
    assert!(acknowledged.len() >= 400, "the child ended early: {}", acknowledged.len());

    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let queue = fixture.open()?;
        for (verb, id) in &acknowledged {
            let job = queue.get(id).await?.ok_or_else(|| format!("{verb} {id} was acknowledged and is lost"))?;
            if verb == "completed" {
                assert_eq!(job.state, State::Completed, "{id}");
            }
        }
        Ok::<(), Box<dyn Error>>(())
    })
}

const CHILD_DIR: &str = "QUEUE_TEST_CHILD_DIR";

/// The server that [`what_was_acknowledged_survives_kill_9`] kills.
#[tokio::test]
#[ignore = "another test starts it, and kills it"]
async fn serve_until_killed() -> TestResult {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(OsString::into) else { return Ok(()) };
    let dir: PathBuf = dir;
    let clock: SharedClock = Arc::new(System::new());
    let queue: Arc<dyn JobQueue> =
        Arc::new(SledQueue::open(&dir, QueueSettings::default(), clock, CrashAttribution::NoJob)?);
    for n in 0.. {
        let id = enqueue(&queue, &queued("a", n)).await?;
        say("enqueued", &id)?;
        if n % 2 == 1 {
            let held = claim(&queue).await?;
            complete(&queue, &held).await?;
            say("completed", &held.lease.id)?;
        }
    }
    Ok(())
}

fn say(verb: &str, id: &JobId) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{verb} {id}")?;
    out.flush()
}
