//! From async callers to the writer thread and back; and reads, which don't need it.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::store::Source;
use super::writer::{self, Request, Writer};
use crate::clock::SharedClock;
use crate::queue::machine::{Machine, Start};
use crate::queue::signal::Signal;
use crate::queue::store::{Store, StoreError};
use crate::queue::{Blame, Counts, QueueError, QueueSettings};

/// Calls that may wait for the writer.
const WAITING_MAX: usize = 1024;
/// Reads at once; each takes a blocking thread.
const READS_MAX: usize = 4;

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared<S> {
    /// None while the queue is closed or its store is being opened anew. Whoever reads holds the lock.
    pub(super) store: RwLock<Option<Arc<S>>>,
    pub(super) signal: Signal,
}

impl<S> Shared<S> {
    /// Replaces the store, once nobody reads it.
    pub(super) fn swap(&self, store: Option<Arc<S>>) {
        *self.store.write() = store;
    }
}

/// The callers' end.
pub(super) struct Link<S> {
    requests: mpsc::Sender<Request<S>>,
    shared: Arc<Shared<S>>,
    reads: Arc<Semaphore>,
}

impl<S: Store> Link<S> {
    /// Opens the store, recovers the queue from it, and starts the writer.
    pub(super) fn open(
        source: Arc<impl Source<Store = S>>,
        settings: QueueSettings,
        clock: SharedClock,
        blame: Blame,
    ) -> Result<Self, QueueError> {
        let store = Arc::new(source.open()?);
        let mut machine =
            Machine::recover(Arc::clone(&store), settings.clone(), Arc::clone(&clock), blame, Start::Server)?;
        let signal = Signal::new(machine.pulse());
        let shared = Arc::new(Shared { store: RwLock::new(Some(store)), signal });
        let (requests, receiver) = mpsc::channel(WAITING_MAX);
        writer::spawn(Writer::new(machine, source, Arc::clone(&shared), settings, clock, blame)?, receiver)?;
        Ok(Self { requests, shared, reads: Arc::new(Semaphore::new(READS_MAX)) })
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.shared.signal
    }

    /// How many jobs there are, as the writer said last; an error while it can't do anything. Never waits.
    pub(super) fn counts(&self) -> Result<Counts, QueueError> {
        // A writer that has gone, for whatever reason, says nothing new.
        if self.requests.is_closed() {
            return Err(QueueError::closed());
        }
        self.signal().pulse().usable_counts()
    }

    /// Has the writer do `work`, and answers once that is durable. Waits its turn if many others do.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<S>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (request, answer) = request(work);
        self.requests.send(request).await.map_err(|_| QueueError::closed())?;
        answer.await.unwrap_or_else(|_| Err(QueueError::closed()))
    }

    /// The same for a stranger's call, which fails at once instead of waiting its turn.
    pub(super) async fn try_call<T: Send + 'static>(
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

    /// Looks something up beside the writer.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&S) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let store = shared.store.read();
            store.as_ref().ok_or_else(QueueError::closed).and_then(|store| look(store))
        });
        reading.await.unwrap_or_else(|panic| {
            Err(QueueError::Unavailable { what: "reading a record failed".to_owned(), source: Some(Box::new(panic)) })
        })
    }

    /// Has the writer settle what it was asked for before, and end.
    pub(super) async fn shutdown(&self) -> Result<(), QueueError> {
        let (closed, answer) = oneshot::channel();
        if self.requests.send(Request::Shutdown(closed)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

fn request<S: Store, T: Send + 'static>(
    work: impl FnOnce(&mut Machine<S>) -> Result<T, QueueError> + Send + 'static,
) -> (Request<S>, oneshot::Receiver<Result<T, QueueError>>) {
    let (sender, answer) = oneshot::channel();
    let work = Box::new(move |machine: Result<&mut Machine<S>, StoreError>| -> writer::Answer {
        let outcome = machine.map_err(QueueError::from).and_then(work);
        Box::new(move |synced| {
            // Whoever asked may have gone.
            let _: Result<(), _> = sender.send(synced.map_err(QueueError::from).and(outcome));
        })
    });
    (Request::Work(work), answer)
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("waiting", &(WAITING_MAX - self.requests.capacity())).finish_non_exhaustive()
    }
}
