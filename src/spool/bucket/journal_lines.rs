//! Journals that no disk has: any node may read them. Lines are handed over together: at once where a line is to last, else
//! within a moment. One that is lost in between costs that its bytes are made and written again.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::sleep;

use crate::error_chain::ErrorChain;
use crate::job::JobId;
use crate::spool::error::Cause;
use crate::spool::journal::{Durability, JournalSink};
use crate::spool::{JournalEntries, SpoolError};

/// How long a line may wait for others.
const FLUSH_DELAY: Duration = Duration::from_millis(250);
/// Between tries to hand lines over.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why journals can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JournalLinesError(pub String);

/// Where the lines of all jobs are.
#[async_trait]
pub trait JournalLines: Debug + Send + Sync + 'static {
    /// The lines of a job, oldest first, without line breaks; none if it has none.
    async fn read(&self, job: JobId) -> Result<Vec<String>, JournalLinesError>;

    /// Adds lines behind them, all or none. After an error they may be there all the same: a line that is there twice does
    /// no harm.
    async fn append(&self, job: JobId, lines: &[String]) -> Result<(), JournalLinesError>;
}

/// Lines in memory, for tests. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournalLines(Arc<Mutex<HashMap<JobId, Vec<String>>>>);

#[async_trait]
impl JournalLines for MemoryJournalLines {
    async fn read(&self, job: JobId) -> Result<Vec<String>, JournalLinesError> {
        Ok(self.0.lock().get(&job).cloned().unwrap_or_default())
    }

    async fn append(&self, job: JobId, lines: &[String]) -> Result<(), JournalLinesError> {
        self.0.lock().entry(job).or_default().extend_from_slice(lines);
        Ok(())
    }
}

/// What a job has noted.
pub(super) async fn read(lines: &dyn JournalLines, job: JobId) -> Result<JournalEntries, SpoolError> {
    let read = lines.read(job).await.map_err(|error| failed("read", job, &error))?;
    let text: String = read.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    Ok(JournalEntries::parse(text.as_bytes()).0)
}

fn failed(attempted: &'static str, job: JobId, error: &JournalLinesError) -> SpoolError {
    Cause::Journal { attempted, job, detail: error.to_string() }.into()
}

/// The lines of one job on their way. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct PendingLines(Arc<Pending>);

#[derive(Debug)]
struct Pending {
    job: JobId,
    lines: Arc<dyn JournalLines>,
    /// Not handed over yet, oldest first.
    waiting: Mutex<Vec<String>>,
    /// Held while some are handed over, so that they stay in order.
    sending: AsyncMutex<()>,
    /// Whether a task is to hand over what waits.
    is_scheduled: AtomicBool,
    /// Nobody waits for a next try any more.
    is_closed: AtomicBool,
}

impl PendingLines {
    pub(super) fn new(job: JobId, lines: Arc<dyn JournalLines>) -> Self {
        let (is_scheduled, is_closed) = (AtomicBool::new(false), AtomicBool::new(false));
        let (waiting, sending) = (Mutex::default(), AsyncMutex::new(()));
        Self(Arc::new(Pending { job, lines, waiting, sending, is_scheduled, is_closed }))
    }

    /// Hands over what waits, once more: the attempt is over.
    pub(super) async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        if let Err(error) = self.hand_over().await {
            tracing::warn!(
                job_id = %self.0.job, error = %ErrorChain(&error),
                "last lines of a journal are lost; what they tell of will be done again"
            );
        }
    }

    /// What fails waits on.
    async fn hand_over(&self) -> Result<(), SpoolError> {
        let Pending { job, lines, waiting, sending, .. } = &*self.0;
        let _turn = sending.lock().await;
        let batch = std::mem::take(&mut *waiting.lock());
        if batch.is_empty() {
            return Ok(());
        }
        let sent = lines.append(*job, &batch).await;
        sent.map_err(|error| {
            waiting.lock().splice(..0, batch);
            failed("write", *job, &error)
        })
    }

    /// Unless somebody is about to: hands over what waits in a moment, as often as it takes.
    fn schedule(&self) {
        if self.0.is_scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let pending = self.clone();
        tokio::spawn(async move {
            sleep(FLUSH_DELAY).await;
            let mut is_first = true;
            // Before it looks, so that a line that comes now has a task of its own.
            pending.0.is_scheduled.store(false, Ordering::Release);
            while let Err(error) = pending.hand_over().await {
                if is_first {
                    let job_id = pending.0.job;
                    tracing::warn!(%job_id, error = %ErrorChain(&error), "journal can't be written; will be retried");
                    is_first = false;
                }
                sleep(RETRY_DELAY).await;
                if pending.0.is_closed.load(Ordering::Acquire) {
                    return;
                }
            }
        });
    }
}

#[async_trait]
impl JournalSink for PendingLines {
    async fn append(&self, line: String, durability: Durability) -> Result<(), SpoolError> {
        self.0.waiting.lock().push(line);
        match durability {
            Durability::Durable => self.hand_over().await,
            Durability::Soon => {
                self.schedule();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::clock::Timestamp;

    /// Counts its calls, of which the first `failures` fail.
    #[derive(Debug, Default)]
    struct Counting {
        lines: MemoryJournalLines,
        calls: Mutex<Vec<usize>>,
        failures: Mutex<u32>,
        called: Notify,
    }

    #[async_trait]
    impl JournalLines for Counting {
        async fn read(&self, job: JobId) -> Result<Vec<String>, JournalLinesError> {
            self.lines.read(job).await
        }

        async fn append(&self, job: JobId, lines: &[String]) -> Result<(), JournalLinesError> {
            self.calls.lock().push(lines.len());
            let fails = {
                let mut failures = self.failures.lock();
                let fails = *failures > 0;
                *failures = failures.saturating_sub(1);
                fails
            };
            let away = || JournalLinesError("away".to_owned());
            let outcome = if fails { Err(away()) } else { self.lines.append(job, lines).await };
            self.called.notify_one();
            outcome
        }
    }

    fn pending(lines: &Arc<Counting>) -> PendingLines {
        let lines: Arc<dyn JournalLines> = Arc::clone(lines) as _;
        PendingLines::new(JobId::new(Timestamp::from_millis(1)), lines)
    }

    #[tokio::test]
    async fn lines_that_may_wait_go_together_and_one_that_is_to_last_takes_them_along() {
        let lines = Arc::new(Counting::default());
        let journal = pending(&lines);
        for line in ["one", "two", "three"] {
            journal.append(line.to_owned(), Durability::Soon).await.expect("taken");
        }
        assert_eq!(*lines.calls.lock(), [0; 0], "none yet");
        lines.called.notified().await;
        journal.append("four".to_owned(), Durability::Soon).await.expect("taken");
        journal.append("five".to_owned(), Durability::Durable).await.expect("written");
        assert_eq!(*lines.calls.lock(), [3, 2]);
        let read = lines.read(journal.0.job).await.expect("read");
        assert_eq!(read, ["one", "two", "three", "four", "five"]);
    }

    #[tokio::test]
    async fn lines_that_could_not_be_handed_over_are_in_their_order_once_they_can() {
        let lines = Arc::new(Counting { failures: Mutex::new(2), ..Counting::default() });
        let journal = pending(&lines);
        journal.append("one".to_owned(), Durability::Durable).await.expect_err("away");
        journal.append("two".to_owned(), Durability::Soon).await.expect("taken");
        for _ in 0..3 {
            lines.called.notified().await;
            if lines.calls.lock().len() == 3 {
                break;
            }
        }
        journal.close().await;
        assert_eq!(*lines.calls.lock(), [1, 2, 2]);
        assert_eq!(lines.read(journal.0.job).await.expect("read"), ["one", "two"]);
    }
}
