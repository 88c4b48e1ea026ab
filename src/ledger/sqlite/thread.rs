//! The thread that the database belongs to. What is written at the same time is one commit, so that many share one sync.

use std::any::Any;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::file::LedgerFile;
use crate::error_chain::ErrorChain;
use crate::ledger::LedgerError;

/// Calls that wait, at most: more is more than any disk can keep up with.
const WAITING_MAX: usize = 4096;
/// Writes in one commit, at most.
const BATCH_MAX: usize = 512;

type Done = Box<dyn Any + Send>;
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Done> + Send>;
type Reply = oneshot::Sender<Result<Done, LedgerError>>;

enum Call {
    Write(Work, Reply),
    Read(Work, Reply),
    Purge(Reply),
}

/// The way to the thread. It ends when this is closed or dropped, once everything that waits is done.
pub(super) struct DatabaseThread {
    calls: Mutex<Option<SyncSender<Call>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl DatabaseThread {
    pub(super) fn start(file: LedgerFile) -> Result<Self, std::io::Error> {
        let (calls, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || run(file, &waiting))?;
        Ok(Self { calls: Mutex::new(Some(calls)), thread: Mutex::new(Some(thread)) })
    }

    /// Has `work` done, durable once this has answered. It is done twice if something that shares its commit fails.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.call(|reply| Call::Write(boxed(work), reply)).await
    }

    /// Has `work` done, which changes nothing.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.call(|reply| Call::Read(boxed(work), reply)).await
    }

    pub(super) async fn purge(&self) -> Result<(), LedgerError> {
        self.call(Call::Purge).await
    }

    /// Waits until everything is done, and for the thread.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        self.calls.lock().take();
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LedgerError::Batch { detail: "its thread has died".to_owned() }),
        }
    }

    async fn call<T: 'static>(&self, call: impl FnOnce(Reply) -> Call) -> Result<T, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let sent = match &*self.calls.lock() {
            Some(calls) => calls.try_send(call(reply)),
            None => return Err(LedgerError::Closed),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let detail = format!("{WAITING_MAX} calls wait for its disk");
                return Err(LedgerError::Batch { detail });
            }
            Err(TrySendError::Disconnected(_)) => return Err(LedgerError::Closed),
        }
        let done = answer.await.map_err(|_| LedgerError::Batch { detail: "its thread has died".to_owned() })??;
        Ok(*done.downcast().expect("INVARIANT: a call answers what its caller asks for"))
    }
}

impl fmt::Debug for DatabaseThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseThread").finish_non_exhaustive()
    }
}

fn boxed<T: Send + 'static>(work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static) -> Work {
    Box::new(move |connection| work(connection).map(|done| Box::new(done) as Done))
}

fn run(mut file: LedgerFile, waiting: &Receiver<Call>) {
    while let Ok(first) = waiting.recv() {
        let (mut writes, mut rest) = (Vec::new(), Vec::new());
        for call in std::iter::once(first).chain(waiting.try_iter().take(BATCH_MAX - 1)) {
            match call {
                Call::Write(work, reply) => writes.push((work, reply)),
                other => rest.push(other),
            }
        }
        // Reads that came with writes see them.
        write_all(&mut file, writes);
        for call in rest {
            match call {
                Call::Write(..) => {}
                Call::Read(work, reply) => {
                    let done = work(&file.connection).map_err(|source| LedgerError::database("reading", source));
                    let _ = reply.send(done);
                }
                Call::Purge(reply) => {
                    let done = file.purge().map(|()| Box::new(()) as Done);
                    let _ = reply.send(done.map_err(|source| LedgerError::database("purging", source)));
                }
            }
        }
    }
}

/// One commit for all. If something fails, nothing is done of any: whoever asked asks again.
fn write_all(file: &mut LedgerFile, writes: Vec<(Work, Reply)>) {
    if writes.is_empty() {
        return;
    }
    let (works, replies): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
    let done = file.commit(|connection| works.into_iter().map(|work| work(connection)).collect::<Result<Vec<_>, _>>());
    match done {
        // Whoever doesn't wait any more has given up on an answer, not on what is done.
        Ok(done) => replies.into_iter().zip(done).for_each(|(reply, done)| drop(reply.send(Ok(done)))),
        Err(source) => {
            let error = LedgerError::database("writing to", source);
            let (is_full, detail) = (error.is_full(), ErrorChain(&error).to_string());
            for reply in replies {
                let error =
                    if is_full { LedgerError::StorageFull } else { LedgerError::Batch { detail: detail.clone() } };
                let _ = reply.send(Err(error));
            }
        }
    }
}
