//! Notices when the writer hangs: a restart loses nothing, and a server whose queue hangs answers no call. Where the disk
//! hangs too, a restart would not help: then it is waited for.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::queue::QueueError;

/// No batch takes nearly as long.
const BATCH_MAX: Duration = Duration::from_secs(30);

/// For the disk to take one small file, if it is not the disk that hangs.
const DISK_ANSWER_MAX: Duration = Duration::from_secs(10);

/// What the thread is told of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Began,
    Ended,
}

/// A thread that is told when a batch begins and ends.
#[derive(Debug)]
pub(super) struct Watchdog(Sender<Signal>);

/// A batch under way. Dropped, by a panic too, it has ended.
struct WatchedBatch<'a>(&'a Watchdog);

impl Watchdog {
    /// One that ends the process if a batch takes too long while `disk_answers`, which may block, finishes in time.
    pub(super) fn start(disk_answers: impl Fn() + Clone + Send + 'static) -> Result<Self, QueueError> {
        Self::with(BATCH_MAX, move || {
            if !finishes_in(DISK_ANSWER_MAX, disk_answers.clone()) {
                tracing::error!(waited_s = BATCH_MAX.as_secs(), "disk of the queue database does not answer; waiting");
                return;
            }
            tracing::error!(timeout_s = BATCH_MAX.as_secs(), "queue database is stuck; aborting the process");
            std::process::abort();
        })
    }

    /// `on_hang` is called once each `batch_max` that a batch takes.
    fn with(batch_max: Duration, on_hang: impl Fn() + Send + 'static) -> Result<Self, QueueError> {
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("queue-watchdog".to_owned())
            .spawn(move || watch(&receiver, batch_max, on_hang))
            .map_err(QueueError::thread_not_started)?;
        Ok(Self(sender))
    }

    /// Runs a batch that is expected to end in time.
    pub(super) fn watch<T>(&self, batch: impl FnOnce() -> T) -> T {
        self.tell(Signal::Began);
        let _watched = WatchedBatch(self);
        batch()
    }

    fn tell(&self, signal: Signal) {
        // A watchdog that has gone can't be told anything, and needn't.
        let _: Result<(), _> = self.0.send(signal);
    }
}

impl Drop for WatchedBatch<'_> {
    fn drop(&mut self) {
        self.0.tell(Signal::Ended);
    }
}

fn watch(signals: &Receiver<Signal>, batch_max: Duration, on_hang: impl Fn()) {
    while let Ok(signal) = signals.recv() {
        if signal == Signal::Began {
            while let Err(RecvTimeoutError::Timeout) = signals.recv_timeout(batch_max) {
                on_hang();
            }
        }
    }
}

/// Whether `work` ends in that time. It may go on on its thread.
fn finishes_in(at_most: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, finished) = mpsc::channel();
    let worker = thread::Builder::new().name("queue-disk-check".to_owned());
    let started = worker.spawn(move || {
        work();
        // Whoever asked may have given up.
        let _: Result<(), _> = done.send(());
    });
    // A machine that has no thread left is short of something else than a disk.
    started.is_err() || finished.recv_timeout(at_most).is_ok()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_batch_that_hangs_is_noticed() {
        let (hung, noticed) = mpsc::channel();
        let watchdog =
            Watchdog::with(Duration::from_millis(1), move || hung.send(()).unwrap_or_default()).expect("it starts");
        watchdog.watch(|| noticed.recv().expect("it is noticed while the batch still runs"));
    }

    #[test]
    fn a_batch_that_panics_has_ended() {
        let (hung, noticed) = mpsc::channel();
        let watchdog =
            Watchdog::with(Duration::from_millis(200), move || hung.send(()).unwrap_or_default()).expect("it starts");
        for _ in 0..2 {
            let panicked = catch_unwind(AssertUnwindSafe(|| watchdog.watch(|| panic!("as sled may"))));
            assert!(panicked.is_err());
        }
        watchdog.watch(|| ());
        assert_eq!(noticed.recv_timeout(Duration::from_millis(600)), Err(RecvTimeoutError::Timeout), "nothing runs");
        watchdog.watch(|| noticed.recv().expect("what hangs after a panic is noticed still"));
    }

    #[test]
    fn a_disk_that_does_not_answer_is_told_from_one_that_does() {
        assert!(finishes_in(Duration::from_mins(1), || ()));
        let (_asked, never) = mpsc::channel::<()>();
        assert!(!finishes_in(Duration::from_millis(1), move || never.recv().unwrap_or_default()));
    }

    #[test]
    fn batches_that_end_are_not_noticed() {
        let (hung, noticed) = mpsc::channel::<()>();
        let watchdog = Watchdog::with(BATCH_MAX, move || hung.send(()).unwrap_or_default()).expect("it starts");
        assert_eq!((0..100).map(|i| watchdog.watch(|| i)).sum::<i32>(), 4950);
        drop(watchdog);
        assert!(noticed.recv().is_err(), "its thread ended without raising an alarm");
    }
}
