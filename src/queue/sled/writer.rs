//! The one thread that changes the queue: it does whatever is asked meanwhile, syncs once, then answers everybody.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::link::Shared;
use super::store::Source;
use super::watchdog::Watchdog;
use crate::clock::SharedClock;
use crate::queue::machine::{Carried, Machine, Start};
use crate::queue::signal::Down;
use crate::queue::store::{Store, StoreError};
use crate::queue::{Blame, QueueError, QueueSettings};

/// Calls that share a sync.
const BATCH_MAX: usize = 256;
/// Between two tries to open a store that failed.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Tells a caller, once it is known whether the batch is durable.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// What a caller wants done; or told, if the store can't be used.
pub(super) type Work<S> = Box<dyn FnOnce(Result<&mut Machine<S>, StoreError>) -> Answer + Send>;

/// What the writer is asked for.
pub(super) enum Request<S> {
    Work(Work<S>),
    Shutdown(oneshot::Sender<Result<(), QueueError>>),
}

enum Phase<S> {
    Running(Box<Machine<S>>),
    /// The store failed; once it can be opened again, everything goes on.
    Down {
        carried: Carried,
        why: StoreError,
        tried: Option<Duration>,
    },
}

pub(super) struct Writer<O: Source> {
    phase: Phase<O::Store>,
    source: Arc<O>,
    shared: Arc<Shared<O::Store>>,
    settings: QueueSettings,
    clock: SharedClock,
    blame: Blame,
    watchdog: Watchdog,
}

/// Starts the thread. It ends after a shutdown, or when every caller has gone.
pub(super) fn spawn<O: Source>(
    mut writer: Writer<O>,
    mut requests: mpsc::Receiver<Request<O::Store>>,
) -> Result<(), QueueError> {
    let write = move || {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        while requests.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
            if let Some(closed) = writer.serve(&mut waiting) {
                // Whoever asks later is refused, and told so before the store closes.
                requests.close();
                drop(requests);
                // The receiver may have gone.
                let _: Result<(), _> = closed.send(writer.close());
                return;
            }
        }
        writer.shared.swap(None);
    };
    thread::Builder::new().name("queue-writer".to_owned()).spawn(write).map(drop).map_err(spawn_failed)
}

pub(super) fn spawn_failed(source: io::Error) -> QueueError {
    QueueError::Unavailable { what: "starting its threads failed".to_owned(), source: Some(Box::new(source)) }
}

impl<O: Source> Writer<O> {
    pub(super) fn new(
        machine: Machine<O::Store>,
        source: Arc<O>,
        shared: Arc<Shared<O::Store>>,
        settings: QueueSettings,
        clock: SharedClock,
        blame: Blame,
    ) -> Result<Self, QueueError> {
        let phase = Phase::Running(Box::new(machine));
        Ok(Self { phase, source, shared, settings, clock, blame, watchdog: Watchdog::start()? })
    }

    /// Serves one batch, up to a shutdown if it holds one.
    fn serve(&mut self, waiting: &mut Vec<Request<O::Store>>) -> Option<oneshot::Sender<Result<(), QueueError>>> {
        self.reopen_if_down();
        let mut works = Vec::with_capacity(waiting.len());
        let mut shutdown = None;
        for request in waiting.drain(..) {
            match request {
                Request::Work(work) => works.push(work),
                Request::Shutdown(closed) => {
                    shutdown = Some(closed);
                    break;
                }
            }
        }
        match &mut self.phase {
            Phase::Running(machine) => {
                let (watchdog, shared) = (&self.watchdog, &self.shared);
                let served = catch_unwind(AssertUnwindSafe(|| serve_batch(machine, watchdog, shared, works)));
                let failed = match served {
                    Ok(()) => machine.broken().cloned(),
                    Err(_) => Some(StoreError::failed("working on the queue", io::Error::other("it panicked"))),
                };
                if let Some(why) = failed {
                    self.go_down(why);
                }
            }
            Phase::Down { why, .. } => {
                for work in works {
                    work(Err(why.clone()))(Ok(()));
                }
            }
        }
        shutdown
    }

    fn go_down(&mut self, why: StoreError) {
        let Phase::Running(machine) = &self.phase else { return };
        tracing::error!(error = %why, "the queue's store failed; it is opened again as soon as it can be");
        let carried = machine.carry();
        self.shared.signal.show(self.shared.signal.pulse().down(Down::from(&why)));
        // The machine goes, but the store stays for those who read, until there is a better one.
        self.phase = Phase::Down { carried, why, tried: None };
    }

    fn reopen_if_down(&mut self) {
        let now = self.clock.elapsed();
        let Phase::Down { carried, why, tried } = &mut self.phase else { return };
        let too_soon = tried.is_some_and(|tried| now < tried.saturating_add(REOPEN_EVERY));
        // Any other failure has nothing to do with how full the disk is.
        let full = matches!(why, StoreError::StorageFull) && !self.source.has_room();
        if too_soon || full {
            return;
        }
        *tried = Some(now);
        self.shared.swap(None);
        let start = Start::Store(carried.clone());
        let opened = self.source.open().and_then(|store| {
            let store = Arc::new(store);
            let (settings, clock) = (self.settings.clone(), Arc::clone(&self.clock));
            Machine::recover(Arc::clone(&store), settings, clock, self.blame, start).map(|machine| (store, machine))
        });
        match opened {
            Ok((store, mut machine)) => {
                tracing::info!("the queue's store is open again");
                self.shared.signal.show(machine.pulse());
                self.shared.swap(Some(store));
                self.phase = Phase::Running(Box::new(machine));
            }
            Err(error) => {
                tracing::error!(%error, "the queue's store can't be opened yet");
                if matches!(error, QueueError::StorageFull) {
                    *why = StoreError::StorageFull;
                    self.shared.signal.show(self.shared.signal.pulse().down(Down::Full));
                }
            }
        }
    }

    /// Nobody is working any more as far as the queue is concerned; then closes the store.
    fn close(self) -> Result<(), QueueError> {
        let stood_down = match self.phase {
            Phase::Running(mut machine) => {
                let stood_down = machine.stand_down().and_then(|()| Ok(machine.sync()?));
                self.shared.signal.show(machine.pulse().down(Down::Closed));
                stood_down
            }
            Phase::Down { why, .. } => Err(why.into()),
        };
        let store = self.shared.store.write().take();
        // The machine is gone and readers borrow: this is the last one.
        if let Some(store) = store.and_then(Arc::into_inner) {
            store.close()?;
        }
        stood_down
    }
}

fn serve_batch<S: Store>(machine: &mut Machine<S>, watchdog: &Watchdog, shared: &Shared<S>, works: Vec<Work<S>>) {
    let (answers, synced) = watchdog.watch(|| {
        let answers: Vec<Answer> = works.into_iter().map(|work| work(Ok(&mut *machine))).collect();
        (answers, machine.sync())
    });
    // Before the answers: whoever was told of a failure finds it everywhere.
    shared.signal.show(match &synced {
        Ok(()) => machine.pulse(),
        Err(why) => shared.signal.pulse().down(Down::from(why)),
    });
    for answer in answers {
        answer(synced.clone());
    }
}
