//! What whoever asks for a comparison, and whoever does it, tell each other in one process.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::GcRun;

/// Of comparisons: that one has begun, and that one has come further. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct GcSignals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: Mutex<Vec<GcRun>>,
    wake: Notify,
    ended: watch::Sender<u64>,
}

impl GcSignals {
    /// This one has begun, and is to be carried out by this process.
    pub fn begun(&self, run: GcRun) {
        self.0.begun.lock().push(run);
        self.0.wake.notify_one();
    }

    /// Waits for one that has begun.
    pub async fn next(&self) -> GcRun {
        loop {
            let begun = self.0.begun.lock().pop();
            if let Some(run) = begun {
                return run;
            }
            self.0.wake.notified().await;
        }
    }

    /// Some comparison has ended.
    pub fn ended(&self) {
        self.0.ended.send_modify(|times| *times += 1);
    }

    /// Sees each time that one has ended, from now on.
    #[must_use]
    pub fn ends(&self) -> watch::Receiver<u64> {
        self.0.ended.subscribe()
    }
}
