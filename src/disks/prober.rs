//! The thread that looks at one directory. Only it waits for that disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::directory::{DirectoryError, ProbedDirectory};
use super::{LOOK_PERIOD, PROBE_PERIOD, RootKind};

/// What a prober knows.
#[derive(Clone, Debug, Default)]
pub(super) struct ProberState {
    pub(super) free_bytes: Option<u64>,
    /// Why nothing could be written the last time.
    pub(super) trouble: Option<String>,
    /// When the look began that has not ended yet.
    pub(super) looking_since: Option<Instant>,
    is_stopped: bool,
}

/// A handle of the thread.
#[derive(Debug)]
pub(super) struct Prober {
    kind: RootKind,
    path: PathBuf,
    state: Arc<Mutex<ProberState>>,
    wake: SyncSender<()>,
}

impl Prober {
    /// Starts it, with what the first look came to.
    pub(super) fn start(directory: ProbedDirectory, first: Result<(), DirectoryError>) -> Result<Self, DirectoryError> {
        let trouble = first.err().map(|error| error.trouble());
        let state = ProberState { free_bytes: directory.free_bytes(), trouble, ..ProberState::default() };
        let (path, state) = (directory.path().to_owned(), Arc::new(Mutex::new(state)));
        let (wake, woken) = sync_channel(1);
        let (name, kind) = (format!("disk-{}", directory.kind().name()), directory.kind());
        let work = {
            let state = Arc::clone(&state);
            move || look_until_stopped(&directory, &state, &woken)
        };
        let started = thread::Builder::new().name(name).spawn(work);
        started.map_err(|cause| DirectoryError::new(kind, &path, cause))?;
        Ok(Self { kind, path, state, wake })
    }

    pub(super) fn kind(&self) -> RootKind {
        self.kind
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn state(&self) -> ProberState {
        self.state.lock().clone()
    }

    /// Has it probe now. If it is asked already, or at work, that is soon enough.
    pub(super) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// Has it end, as soon as its disk lets it.
    pub(super) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.wake();
    }
}

fn look_until_stopped(directory: &ProbedDirectory, state: &Mutex<ProberState>, woken: &Receiver<()>) {
    let mut since_probe = Duration::ZERO;
    loop {
        let is_asked = match woken.recv_timeout(LOOK_PERIOD) {
            Ok(()) => true,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => false,
        };
        since_probe += LOOK_PERIOD;
        let is_due = {
            let mut state = state.lock();
            if state.is_stopped {
                return;
            }
            state.looking_since = Some(Instant::now());
            is_asked || since_probe >= PROBE_PERIOD || state.trouble.is_some()
        };
        let free_bytes = directory.free_bytes();
        let probed = is_due.then(|| directory.probe());
        let mut state = state.lock();
        state.looking_since = None;
        state.free_bytes = free_bytes;
        match probed {
            None => continue,
            Some(Ok(())) => state.trouble = None,
            // It says nothing about the directory: what was known of it stays.
            Some(Err(error)) if error.is_our_shortage() => {}
            Some(Err(error)) => state.trouble = Some(error.trouble()),
        }
        since_probe = Duration::ZERO;
    }
}
