//! Notices when the writer hangs: a restart loses nothing, and a server whose queue hangs answers no call.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::queue::QueueError;

/// No batch takes nearly as long.
const BATCH_MAX: Duration = Duration::from_secs(30);

/// A thread that is told when a batch begins and ends.
#[derive(Debug)]
pub(super) struct Watchdog(mpsc::Sender<()>);

impl Watchdog {
    /// One that ends the process if a batch takes too long.
    pub(super) fn start() -> Result<Self, QueueError> {
        Self::with(BATCH_MAX, || {
            tracing::error!(timeout_s = BATCH_MAX.as_secs(), "queue database is stuck; aborting the process");
            std::process::abort();
        })
    }

    fn with(batch_max: Duration, on_hang: impl FnOnce() + Send + 'static) -> Result<Self, QueueError> {
        let (sender, receiver) = mpsc::channel();
        let watch = move || {
            while let Ok(()) = receiver.recv() {
                if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(batch_max) {
                    return on_hang();
                }
            }
        };
        thread::Builder::new()
            .name("queue-watchdog".to_owned())
            .spawn(watch)
            .map_err(QueueError::thread_not_started)?;
        Ok(Self(sender))
    }

    /// Runs a batch that is expected to end in time.
    pub(super) fn watch<T>(&self, batch: impl FnOnce() -> T) -> T {
        // A watchdog that has gone can't be told anything, and needn't.
        let _: Result<(), _> = self.0.send(());
        let outcome = batch();
        let _: Result<(), _> = self.0.send(());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_hangs_is_noticed() {
        let (hung, noticed) = mpsc::channel();
        let watchdog =
            Watchdog::with(Duration::from_millis(1), move || hung.send(()).unwrap_or_default()).expect("it starts");
        watchdog.watch(|| noticed.recv().expect("it is noticed while the batch still runs"));
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
