//! What the process is told by signals: to stop, or to read its keys again. None that may be sent to it kills it by
//! itself, but for SIGKILL and those that a fault raises.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// To stop in order. The signal's name.
    Stop(&'static str),
    /// To read the keys of tokens again.
    ReloadKeys,
}

/// Signals that stop the server in order, though all but the first two are meant for something else: their default is
/// to kill.
const STOPPING: [(i32, &str); 12] = [
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGPWR, "SIGPWR"),
    (libc::SIGSTKFLT, "SIGSTKFLT"),
    (libc::SIGXCPU, "SIGXCPU"),
];

/// Of those, the ones that end the process at once when it is stopping already.
const INSISTING: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// The exit code of a process that was told twice to stop. Nothing is lost by it: what was under way is in the spool.
const EXIT_AT_ONCE: i32 = 0;

/// Where signals arrive.
pub(super) struct Signals {
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Signals {
    /// Listens from now on. For the whole process; on a runtime.
    ///
    /// # Errors
    /// The system's own.
    pub(super) fn listen() -> io::Result<Self> {
        // A second signal ends the process in its handler, which waits for nothing: no thread, no disk, no log.
        let is_stopping = Arc::new(AtomicBool::new(false));
        for signal in INSISTING {
            flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, Arc::clone(&is_stopping))?;
        }
        let (sender, requests) = mpsc::unbounded_channel();
        for (number, name) in all_stopping() {
            flag::register(number, Arc::clone(&is_stopping))?;
            forward(signal(SignalKind::from_raw(number))?, Request::Stop(name), sender.clone());
        }
        forward(signal(SignalKind::hangup())?, Request::ReloadKeys, sender);
        // A file that would grow beyond a limit of the process: whoever writes it is told, instead.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self { requests })
    }

    /// The next thing that is asked for.
    pub(super) async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // Those who forward end with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Returns once the server is told to stop: by which signal. Drops what else is asked for.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            if let Request::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}

fn all_stopping() -> impl Iterator<Item = (i32, &'static str)> {
    let realtime = (libc::SIGRTMIN()..=libc::SIGRTMAX()).map(|number| (number, "a real-time signal"));
    STOPPING.into_iter().chain(realtime)
}

fn forward(mut signal: Signal, request: Request, sender: mpsc::UnboundedSender<Request>) {
    tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(request).is_ok() {} });
}
