//! The real binary, in a process of its own that can be killed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::api::Api;
use super::app::{WAIT_MAX, poll_delay};
use super::token::SECRET;

/// Directories, a port and settings: what a server keeps from one life to the next.
pub(crate) struct Home {
    pub(crate) addr: SocketAddr,
    settings: Vec<(String, String)>,
    dirs: TempDir,
}

impl Home {
    /// A home with the settings of `TestApp`, and these.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        Self::below(&std::env::temp_dir(), settings)
    }

    /// The same in a directory of the test's choice.
    pub(crate) fn below(parent: &Path, settings: &[(&str, &str)]) -> Self {
        let (dirs, addr) = (tempfile::tempdir_in(parent).expect("a temporary directory"), reserve_port());
        let path = |name: &str| dirs.path().join(name).display().to_string();
        let mut all = vec![
            ("PIXERVE_ADDR".to_owned(), addr.to_string()),
            ("PIXERVE_DATA_DIR".to_owned(), path("data")),
            ("PIXERVE_SERVE_DIR".to_owned(), path("serve")),
            ("PIXERVE_PRIVATE_DIR".to_owned(), path("private")),
            ("PIXERVE_LOG_FILE".to_owned(), path("pixerve.log")),
        ];
        let ours = [
            ("PIXERVE_JWT_SECRET", SECRET),
            ("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8"),
            ("PIXERVE_STORAGE_FREE_DISK_MIN", "0"),
            ("PIXERVE_LOG_ROTATION", "never"),
        ];
        all.extend(ours.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self { addr, settings: all, dirs }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dirs.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root().join("data")
    }

    pub(crate) fn serve_dir(&self) -> PathBuf {
        self.root().join("serve")
    }

    /// Everything its servers logged to their file.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("pixerve.log")).unwrap_or_default()
    }

    /// Everything its servers wrote to their terminal.
    pub(crate) fn terminal(&self) -> String {
        std::fs::read_to_string(self.root().join("terminal")).unwrap_or_default()
    }

    /// Starts a server, without waiting for it.
    pub(crate) fn spawn(&self, further: &[(&str, &str)]) -> ServerProcess {
        self.run(Command::new(env!("CARGO_BIN_EXE_pixerve")), further)
    }

    /// The same, by a program that is given the server's binary as its last argument and becomes it.
    pub(crate) fn spawn_by(&self, mut program: Command, further: &[(&str, &str)]) -> ServerProcess {
        program.arg(env!("CARGO_BIN_EXE_pixerve"));
        self.run(program, further)
    }

    /// Starts a server on this socket, which outlives it, as systemd does.
    pub(crate) fn spawn_on(&self, socket: &TcpListener, further: &[(&str, &str)]) -> ServerProcess {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" serve"#]);
        shell.arg(env!("CARGO_BIN_EXE_pixerve"));
        let socket = socket.try_clone().expect("a descriptor");
        self.run_from(OwnedFd::from(socket).into(), shell, further)
    }

    /// The program itself, run beside the servers of this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixerve"));
        command.args(arguments).current_dir(self.root()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, program: Command, further: &[(&str, &str)]) -> ServerProcess {
        self.run_from(Stdio::null(), program, further)
    }

    fn run_from(&self, input: Stdio, mut program: Command, further: &[(&str, &str)]) -> ServerProcess {
        let terminal = File::options().create(true).append(true).open(self.root().join("terminal")).expect("a file");
        let child = program
            .current_dir(self.root())
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .envs(further.iter().copied())
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(terminal)
            .spawn()
            .expect("the program starts");
        let mut api = Api::default();
        api.at(self.addr);
        ServerProcess { child, api }
    }

    /// Starts a server and waits until it answers.
    pub(crate) async fn start(&self) -> ServerProcess {
        self.start_with(&[]).await
    }

    /// The same with further variables of the environment.
    pub(crate) async fn start_with(&self, further: &[(&str, &str)]) -> ServerProcess {
        let mut running = self.spawn(further);
        self.answers(&mut running).await;
        running
    }

    /// Starts a server of another build and waits until it answers.
    pub(crate) async fn start_build(&self, program: &Path) -> ServerProcess {
        let mut running = self.run(Command::new(program), &[]);
        self.answers(&mut running).await;
        running
    }

    /// Waits until a server that was spawned answers.
    pub(crate) async fn answers(&self, running: &mut ServerProcess) {
        let started = Instant::now();
        while !running.is_healthy().await {
            let ended = running.child.try_wait().expect("its state");
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.terminal());
            assert!(started.elapsed() < WAIT_MAX, "the server does not start:\n{}", self.terminal());
            poll_delay().await;
        }
    }
}

/// A server process and, by `Deref`, a client for it. Killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    api: Api,
}

impl ServerProcess {
    pub(crate) async fn is_healthy(&self) -> bool {
        let answer = self.request(reqwest::Method::GET, "/health").send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM: it may take its time.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// SIGKILL: gone when this returns, whatever it was doing.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// How it ended, if it has.
    pub(crate) fn ended_already(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    /// Waits until it has ended: how.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(started.elapsed() < WAIT_MAX, "the server does not end");
            poll_delay().await;
        }
    }
}

impl Deref for ServerProcess {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Ended already, most often.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that stays free while nobody listens there: below those that the system gives to whoever asks for
/// any, and given to nobody else of this process, whose server may be between two lives.
pub(crate) fn reserve_port() -> SocketAddr {
    // Where another process of tests is not likely to be.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(getrandom::u32().expect("randomness")));
    std::iter::repeat_with(|| 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port"))))
        .find(|addr| TcpListener::bind(addr).is_ok())
        .expect("a free port")
}
