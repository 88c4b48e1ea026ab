//! How many jobs there are is known without a look at each.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use pixerve::queue::{CrashAttribution, Enqueued, QueueError, QueueSettings};
use tokio::time::Instant;

use super::fixture::{Queue, QueueFixture, TestResult, queued};

every_queue! {
    counting_many_that_wait_takes_no_longer_than_counting_few,
}

const FEW: u32 = 100;
const MANY: u32 = 4_000;
/// Of a subject so many wait.
const OF_A_SUBJECT: u32 = 100;
const AT_ONCE: usize = 128;
/// The quickest of so many counts is what a count takes.
const TIMES: usize = 100;
/// What a count may take longer for reasons of the machine's.
const SLACK: Duration = Duration::from_millis(2);

async fn enqueue_up_to(queue: &Queue, from: u32, to: u32) -> TestResult {
    let enqueued = stream::iter(from..to).map(|number| async move {
        let record = queued(&format!("sub-{}", number / OF_A_SUBJECT), number);
        assert_eq!(queue.enqueue(record).await?, Enqueued::Created);
        Ok::<_, QueueError>(())
    });
    Ok(enqueued.buffer_unordered(AT_ONCE).try_collect().await?)
}

async fn quickest_count(queue: &Queue, waiting: u32) -> Result<Duration, QueueError> {
    let mut quickest = Duration::MAX;
    for _ in 0..TIMES {
        let began = Instant::now();
        let (counts, backlog) = (queue.counts().await?, queue.backlog());
        quickest = quickest.min(began.elapsed());
        let in_lanes: u64 = backlog.lanes.iter().map(|lane| lane.pending).sum();
        assert_eq!((counts.pending, in_lanes), (waiting.into(), waiting.into()));
    }
    Ok(quickest)
}

/// What a count takes while few wait, and while so many do.
pub(crate) async fn counted(fixture: &QueueFixture, many: u32) -> Result<[Duration; 2], Box<dyn std::error::Error>> {
    let depth = usize::try_from(many)?;
    let settings = QueueSettings { depth_max: depth, owner_depth_max: depth, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    enqueue_up_to(&queue, 0, FEW).await?;
    let of_few = quickest_count(&queue, FEW).await?;
    enqueue_up_to(&queue, FEW, many).await?;
    let of_many = quickest_count(&queue, many).await?;
    assert!(of_many < of_few * 10 + SLACK, "{of_few:?} while {FEW} wait, {of_many:?} while {many} do");
    Ok([of_few, of_many])
}

async fn counting_many_that_wait_takes_no_longer_than_counting_few(fixture: QueueFixture) -> TestResult {
    counted(&fixture, MANY).await.map(drop)
}
