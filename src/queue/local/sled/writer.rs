//! The one thread that changes the queue: it does what was asked for meanwhile, syncs once, then answers every call.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::store::StoreOpener;
use super::watchdog::Watchdog;
use crate::clock::SharedClock;
use crate::error_chain::ErrorChain;
use crate::queue::local::Observers;
use crate::queue::local::machine::{Machine, RecoveryCause, RecoveryState};
use crate::queue::local::status::{Outage, StatusChannel};
use crate::queue::local::store::{RecordStore, RecordStoreError};
use crate::queue::{CrashAttribution, QueueError, QueueSettings};

/// Calls that share a sync.
const BATCH_MAX: usize = 256;
/// Between two tries to open a store that failed.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Answers a caller, once it is known whether the batch is durable.
pub(super) type Reply = Box<dyn FnOnce(Result<(), RecordStoreError>) + Send>;
/// What a caller wants done; or told, if the store can't be used.
pub(super) type Work<S> = Box<dyn FnOnce(Result<&mut Machine<S>, RecordStoreError>) -> Reply + Send>;

/// What the writer is asked for.
pub(super) enum Request<S> {
    Work(Work<S>),
    /// Its files are to be rewritten without what was removed from them.
    Rewrite(oneshot::Sender<Result<(), QueueError>>),
    Shutdown(oneshot::Sender<Result<(), QueueError>>),
}

/// What the writer shows to those who ask without it.
pub(super) struct Published<S> {
    /// None while the queue is closed or its store is being opened anew. Whoever reads holds the lock.
    pub(super) records: RwLock<Option<Arc<S>>>,
    pub(super) status: StatusChannel,
    pub(super) observers: Observers,
}

impl<S> Published<S> {
    pub(super) fn new(records: Arc<S>, status: StatusChannel, observers: Observers) -> Self {
        Self { records: RwLock::new(Some(records)), status, observers }
    }

    /// Replaces the store, once nobody reads it.
    fn replace(&self, records: Option<Arc<S>>) {
        *self.records.write() = records;
    }
}

enum Phase<S> {
    Running(Box<Machine<S>>),
    /// The store failed; once it can be opened again, everything goes on.
    Failed {
        known: RecoveryState,
        why: RecordStoreError,
        tried: Option<Duration>,
    },
}

/// A store that is open again, and the machine that goes on with it.
type Recovered<S> = (Arc<S>, Machine<S>);

pub(super) struct QueueWriter<O: StoreOpener> {
    phase: Phase<O::Records>,
    opener: Arc<O>,
    published: Arc<Published<O::Records>>,
    settings: QueueSettings,
    clock: SharedClock,
    attribution: CrashAttribution,
    watchdog: Watchdog,
}

/// Starts the thread. It ends after a shutdown, or when every caller has gone.
pub(super) fn spawn<O: StoreOpener>(
    mut writer: QueueWriter<O>,
    mut requests: mpsc::Receiver<Request<O::Records>>,
) -> Result<(), QueueError> {
    let serve = move || {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        while requests.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
            if let Some(closed) = writer.serve(&mut waiting) {
                // Later calls are refused, from before the store closes.
                requests.close();
                drop(requests);
                // The receiver may have gone.
                let _: Result<(), _> = closed.send(writer.close());
                return;
            }
        }
        writer.published.replace(None);
    };
    let serve_or_abort = move || {
        if catch_unwind(AssertUnwindSafe(serve)).is_err() {
            // Nobody answers the queue's calls any more. A restart loses nothing.
            tracing::error!("queue's writer panicked; aborting the process");
            std::process::abort();
        }
    };
    thread::Builder::new()
        .name("queue-writer".to_owned())
        .spawn(serve_or_abort)
        .map(drop)
        .map_err(QueueError::thread_not_started)
}

impl<O: StoreOpener> QueueWriter<O> {
    pub(super) fn new(
        machine: Machine<O::Records>,
        opener: Arc<O>,
        published: Arc<Published<O::Records>>,
        settings: QueueSettings,
        clock: SharedClock,
        attribution: CrashAttribution,
    ) -> Result<Self, QueueError> {
        let phase = Phase::Running(Box::new(machine));
        let disk = Arc::clone(&opener);
        let watchdog = Watchdog::start(move || disk.write_to_disk())?;
        Ok(Self { phase, opener, published, settings, clock, attribution, watchdog })
    }

    /// Serves one batch, up to a shutdown if it holds one.
    fn serve(&mut self, waiting: &mut Vec<Request<O::Records>>) -> Option<oneshot::Sender<Result<(), QueueError>>> {
        self.reopen_if_failed();
        let mut works = Vec::with_capacity(waiting.len());
        let (mut rewrites, mut shutdown) = (Vec::new(), None);
        for request in waiting.drain(..) {
            match request {
                Request::Work(work) => works.push(work),
                Request::Rewrite(rewritten) => rewrites.push(rewritten),
                Request::Shutdown(closed) => {
                    shutdown = Some(closed);
                    break;
                }
            }
        }
        match &mut self.phase {
            Phase::Running(machine) => {
                let (watchdog, published) = (&self.watchdog, &self.published);
                let served = catch_unwind(AssertUnwindSafe(|| serve_batch(machine, watchdog, published, works)));
                let failed = match served {
                    Ok(()) => machine.broken().cloned(),
                    Err(_) => Some(RecordStoreError::failed("working on the queue", io::Error::other("it panicked"))),
                };
                if let Some(why) = failed {
                    self.suspend(why);
                }
            }
            Phase::Failed { why, .. } => {
                for work in works {
                    work(Err(why.clone()))(Ok(()));
                }
            }
        }
        for rewritten in rewrites {
            // The receiver may have gone.
            let _: Result<(), _> = rewritten.send(self.rewrite());
        }
        shutdown
    }

    /// Has the store close, rewrite its files and open again. Whoever reads waits meanwhile.
    fn rewrite(&mut self) -> Result<(), QueueError> {
        let known = match &mut self.phase {
            Phase::Running(machine) => {
                machine.sync()?;
                machine.recovery_state()
            }
            Phase::Failed { why, .. } => return Err(why.clone().into()),
        };
        let began = self.clock.elapsed();
        let mut published = self.published.records.write();
        let why = RecordStoreError::failed("rewriting", io::Error::other("it could not be opened again"));
        // The machine goes, so that the store that is published is the last one.
        self.phase = Phase::Failed { known: known.clone(), why, tried: None };
        let rewritten = match published.take().and_then(Arc::into_inner) {
            Some(records) => records.close_rewritten(),
            None => Err(RecordStoreError::failed("rewriting", io::Error::other("it is in use"))),
        };
        let (records, mut machine) = self.recover(known).inspect_err(|error| {
            tracing::error!(error = %ErrorChain(error), "rewritten queue database could not be reopened; will be retried");
            self.published.status.publish_outage(Outage::from(&RecordStoreError::failed("rewriting", io::Error::other("reopening failed"))));
        })?;
        self.published.status.publish(machine.status());
        *published = Some(records);
        drop(published);
        self.phase = Phase::Running(Box::new(machine));
        rewritten?;
        let took_ms = crate::clock::millis(self.clock.elapsed().saturating_sub(began));
        tracing::info!(took_ms, "queue database rewritten without what was removed");
        Ok(())
    }

    /// Opens the store, and has the queue go on as far as it is `known`.
    fn recover(&self, known: RecoveryState) -> Result<Recovered<O::Records>, QueueError> {
        let records = Arc::new(self.opener.open()?);
        let (settings, clock) = (self.settings.clone(), Arc::clone(&self.clock));
        let (observers, cause) = (self.published.observers.clone(), RecoveryCause::StoreReopened(known));
        let machine = Machine::recover(Arc::clone(&records), settings, clock, observers, self.attribution, cause)?;
        Ok((records, machine))
    }

    /// Serves nothing until the store could be opened again.
    fn suspend(&mut self, why: RecordStoreError) {
        let Phase::Running(machine) = &self.phase else { return };
        tracing::error!(error = %ErrorChain(&why), "queue database failed; it will be reopened as soon as possible");
        let known = machine.recovery_state();
        self.published.status.publish_outage(Outage::from(&why));
        // The machine goes, but the store stays for those who read, until there is a better one.
        self.phase = Phase::Failed { known, why, tried: None };
    }

    fn reopen_if_failed(&mut self) {
        let now = self.clock.elapsed();
        let Phase::Failed { known, why, tried } = &mut self.phase else { return };
        let too_soon = tried.is_some_and(|tried| now < tried.saturating_add(REOPEN_EVERY));
        // Any other failure has nothing to do with how full the disk is.
        let full = matches!(why, RecordStoreError::StorageFull) && !self.opener.has_room();
        if too_soon || full {
            return;
        }
        *tried = Some(now);
        self.published.replace(None);
        let known = known.clone();
        let opened = self.recover(known);
        let Phase::Failed { why, .. } = &mut self.phase else { return };
        match opened {
            Ok((records, mut machine)) => {
                tracing::info!("queue database reopened");
                self.published.status.publish(machine.status());
                self.published.replace(Some(records));
                self.published.observers.events.all_recorded();
                self.phase = Phase::Running(Box::new(machine));
            }
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "queue database could not be reopened; will be retried");
                if matches!(error, QueueError::StorageFull) {
                    *why = RecordStoreError::StorageFull;
                    self.published.status.publish_outage(Outage::StorageFull);
                }
            }
        }
    }

    /// Nobody is working any more as far as the queue is concerned; then closes the store.
    fn close(self) -> Result<(), QueueError> {
        let released = match self.phase {
            Phase::Running(mut machine) => {
                let released = machine.release_leases().and_then(|()| Ok(machine.sync()?));
                self.published.status.publish(machine.status());
                self.published.status.publish_outage(Outage::Closed);
                released
            }
            Phase::Failed { why, .. } => Err(why.into()),
        };
        let records = self.published.records.write().take();
        // The machine is gone and readers borrow: this is the last one.
        if let Some(records) = records.and_then(Arc::into_inner) {
            records.close()?;
        }
        released
    }
}

fn serve_batch<S: RecordStore>(
    machine: &mut Machine<S>,
    watchdog: &Watchdog,
    published: &Published<S>,
    works: Vec<Work<S>>,
) {
    let (replies, synced) = watchdog.watch(|| {
        let replies: Vec<Reply> = works.into_iter().map(|work| work(Ok(&mut *machine))).collect();
        (replies, machine.sync())
    });
    // Before the replies: whoever was told of a failure finds it everywhere.
    match &synced {
        Ok(()) => published.status.publish(machine.status()),
        Err(why) => published.status.publish_outage(Outage::from(why)),
    }
    for reply in replies {
        reply(synced.clone());
    }
}
