//! The durable queue: an embedded database behind one writer thread, which shares each sync among many calls.

mod store;
#[cfg(test)]
mod tests;
mod watchdog;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::store::{DatabaseDirectory, SledRecords, StoreOpener};
use self::writer::{Published, QueueWriter, Request};
use super::machine::{Machine, RecoveryCause};
use super::status::StatusChannel;
use super::store::{RecordStore, RecordStoreError};
use super::{Driver, LocalQueue, Observers, read};
use crate::clock::SharedClock;
use crate::database::{Database, SetAside};
use crate::job::{CallbackTarget, JobId};
use crate::queue::{CallbacksOf, Counts, CrashAttribution, QueueError, QueueSettings};

/// Calls that may wait for the writer.
const WAITING_MAX: usize = 1024;
/// Reads at once; each takes a blocking thread.
const READS_MAX: usize = 4;

/// What the directory of the queue's database is called, in the data directory.
pub const QUEUE_DATABASE: &str = "ConvertQueue.db";

/// A queue in a directory of its own. What it has acknowledged survives the loss of power.
#[derive(Debug)]
pub struct SledQueue {
    driver: WriterThread<SledRecords>,
    directory: Arc<DatabaseDirectory>,
}

impl SledQueue {
    /// Opens the queue in `dir` (`<data>/ConvertQueue.db`), or makes a new one, and requeues every job that was being
    /// worked on when the last server stopped. Blocking. Look at [`SledQueue::set_aside`] afterwards.
    ///
    /// # Errors
    /// Another process has it, a newer Pixerve wrote it, the disk is full, or the file system refuses.
    pub fn open(
        dir: &Path,
        settings: QueueSettings,
        clock: SharedClock,
        attribution: CrashAttribution,
    ) -> Result<Self, QueueError> {
        let directory = Arc::new(DatabaseDirectory::new(PathBuf::from(dir)));
        let driver = WriterThread::start(Arc::clone(&directory), settings, clock, attribution)?;
        Ok(Self { driver, directory })
    }

    /// The UUID of its database: which queue it is, among those of other servers.
    ///
    /// # Errors
    /// The file system's own.
    pub fn uuid(&self) -> Result<String, QueueError> {
        Ok(Database::uuid(self.directory.path())?.unwrap_or_default())
    }

    /// The databases that could not be read, or not wholly, since this queue was opened; most often none. Accepted
    /// jobs that were in them are in the spool still and must be queued again; other history is lost, which has to be
    /// reported. One may be added while the queue runs, if the disk was full and what came back was damaged.
    pub fn set_aside(&self) -> Vec<SetAside> {
        self.directory.set_aside()
    }

    /// Calls `visit` for the callback of each of `which` jobs, live ones among them. Blocking.
    ///
    /// # Errors
    /// If the records can't be read, or the queue is shut down.
    pub fn visit_callbacks(
        &self,
        which: CallbacksOf,
        visit: impl FnMut(&JobId, &CallbackTarget),
    ) -> Result<(), QueueError> {
        let records = self.driver.published.records.read();
        read::each_callback(&**records.as_ref().ok_or_else(QueueError::closed)?, which, visit)
    }
}

impl LocalQueue for SledQueue {
    type Driver = WriterThread<SledRecords>;

    fn driver(&self) -> &Self::Driver {
        &self.driver
    }
}

/// Drives the machine by one thread, which alone changes the records; a few others read them.
pub(super) struct WriterThread<S> {
    requests: mpsc::Sender<Request<S>>,
    published: Arc<Published<S>>,
    reads: Arc<Semaphore>,
}

impl<S: RecordStore> WriterThread<S> {
    /// Opens the store, recovers the queue from it, and starts the writer.
    fn start(
        opener: Arc<impl StoreOpener<Records = S>>,
        settings: QueueSettings,
        clock: SharedClock,
        attribution: CrashAttribution,
    ) -> Result<Self, QueueError> {
        let (records, observers) = (Arc::new(opener.open()?), Observers::default());
        let mut machine = Machine::recover(
            Arc::clone(&records),
            settings.clone(),
            Arc::clone(&clock),
            observers.clone(),
            attribution,
            RecoveryCause::ServerStarted,
        )?;
        let status = StatusChannel::new(machine.status(), Arc::clone(&clock));
        let published = Arc::new(Published::new(records, status, observers));
        let (requests, receiver) = mpsc::channel(WAITING_MAX);
        let writer = QueueWriter::new(machine, opener, Arc::clone(&published), settings, clock, attribution)?;
        writer::spawn(writer, receiver)?;
        Ok(Self { requests, published, reads: Arc::new(Semaphore::new(READS_MAX)) })
    }
}

impl<S: RecordStore> Driver for WriterThread<S> {
    type Records = S;

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<S>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (request, answer) = request(work);
        self.requests.send(request).await.map_err(|_| QueueError::closed())?;
        answer.await.unwrap_or_else(|_| Err(QueueError::closed()))
    }

    async fn try_run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<S>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (request, answer) = request(work);
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                QueueError::Unavailable { what: format!("{WAITING_MAX} calls wait for its disk"), source: None }
            }
            TrySendError::Closed(_) => QueueError::closed(),
        })?;
        answer.await.unwrap_or_else(|_| Err(QueueError::closed()))
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&S) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let published = Arc::clone(&self.published);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let records = published.records.read();
            records.as_ref().ok_or_else(QueueError::closed).and_then(|records| look(records))
        });
        reading.await.unwrap_or_else(|panic| {
            Err(QueueError::Unavailable { what: "reading a record failed".to_owned(), source: Some(Box::new(panic)) })
        })
    }

    fn status(&self) -> &StatusChannel {
        &self.published.status
    }

    fn observers(&self) -> &Observers {
        &self.published.observers
    }

    fn count(&self) -> Result<Counts, QueueError> {
        // A writer that has gone, for whatever reason, publishes nothing new.
        if self.requests.is_closed() {
            return Err(QueueError::closed());
        }
        self.status().current().usable_counts()
    }

    async fn rewrite(&self) -> Result<(), QueueError> {
        let (rewritten, answer) = oneshot::channel();
        self.requests.send(Request::Rewrite(rewritten)).await.map_err(|_| QueueError::closed())?;
        answer.await.unwrap_or_else(|_| Err(QueueError::closed()))
    }

    async fn close(&self) -> Result<(), QueueError> {
        let (closed, answer) = oneshot::channel();
        if self.requests.send(Request::Shutdown(closed)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

fn request<S: RecordStore, T: Send + 'static>(
    work: impl FnOnce(&mut Machine<S>) -> Result<T, QueueError> + Send + 'static,
) -> (Request<S>, oneshot::Receiver<Result<T, QueueError>>) {
    let (sender, answer) = oneshot::channel();
    let work = Box::new(move |machine: Result<&mut Machine<S>, RecordStoreError>| -> writer::Reply {
        let outcome = machine.map_err(QueueError::from).and_then(work);
        Box::new(move |synced| {
            // Whoever asked may have gone.
            let _: Result<(), _> = sender.send(synced.map_err(QueueError::from).and(outcome));
        })
    });
    (Request::Work(work), answer)
}

impl<S> fmt::Debug for WriterThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = WAITING_MAX - self.requests.capacity();
        f.debug_struct("WriterThread").field("waiting", &waiting).finish_non_exhaustive()
    }
}
