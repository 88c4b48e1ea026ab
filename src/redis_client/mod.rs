//! Redis, or Valkey, as many nodes share it: connections, time-outs, and scripts that may run twice.
//!
//! Every change is one Lua script, so that it happens wholly or not at all. A call that is given up may be carried out
//! later, so callers write scripts that do no harm when they run twice.

mod error;
mod sentinels;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, IntoConnectionInfo, ScriptInvocation};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub use error::RedisError;
use sentinels::Sentinels;
pub use settings::RedisSettings;

use crate::clock::SharedClock;

/// How long a call is waited for. A Redis that is paused for longer makes calls fail, and leases are longer than that.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What was sent and is not acknowledged for so long was sent to nobody.
const UNANSWERED_MAX: Duration = Duration::from_secs(5);
/// What a blocking read waits for beyond the time that Redis was told.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);
/// Tries to connect before the calls that wait for it fail; the next call begins anew.
const CONNECT_RETRIES: usize = 1;
/// What is attempted where nothing else is.
const CONNECTING: &str = "connecting";

/// A connection to Redis that is made anew when it is lost. Clones are one.
#[derive(Clone)]
pub struct RedisClient(Arc<Inner>);

struct Inner {
    primary: Primary,
    /// None before the first call, and after one that showed that it leads nowhere.
    connection: RwLock<Option<Arc<Connection>>>,
    /// Held by whoever makes one.
    connecting: Mutex<()>,
    clock: SharedClock,
    /// When the last answer came, in milliseconds of [`crate::clock::Clock::elapsed`]; [`NEVER`] before the first.
    answered_ms: AtomicU64,
    /// The same of the last call that failed for want of an answer.
    failed_ms: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// Where the Redis is that takes changes.
enum Primary {
    At(redis::Client),
    Watched(Sentinels),
}

struct Connection {
    /// For connections beside it.
    client: redis::Client,
    manager: ConnectionManager,
}

impl RedisClient {
    /// A client of the Redis at `url`; where there are `sentinels`, of the one that they name as the primary of the service
    /// that `url` has as its host. It is connected to when it is needed. Belongs on a runtime.
    ///
    /// # Errors
    /// [`RedisError::BadUrl`].
    pub fn new(url: &str, sentinels: &[SecretString], clock: SharedClock) -> Result<Self, RedisError> {
        // Without it a Redis that is gone without a word is waited for as long as the kernel sends again: a quarter of an hour.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNANSWERED_MAX).set_keepalive(keepalive());
        let info = url.into_connection_info().map_err(RedisError::BadUrl)?.set_tcp_settings(tcp);
        let primary = if sentinels.is_empty() {
            Primary::At(redis::Client::open(info).map_err(RedisError::BadUrl)?)
        } else {
            Primary::Watched(Sentinels::new(&info, sentinels)?)
        };
        Ok(Self(Arc::new(Inner {
            primary,
            connection: RwLock::new(None),
            connecting: Mutex::new(()),
            clock,
            answered_ms: AtomicU64::new(NEVER),
            failed_ms: AtomicU64::new(NEVER),
        })))
    }

    /// Runs a script. It may run twice, or later than this returns.
    ///
    /// # Errors
    /// Redis', with `what` was attempted.
    pub async fn run<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut connection = self.connection(what).await?.manager.clone();
        let answer = script.invoke_async(&mut connection).await;
        self.noted(what, ANSWER_TIMEOUT, answer)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// Redis', with `what` was attempted.
    pub async fn query<T: FromRedisValue>(&self, what: &'static str, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connection(what).await?.manager.clone();
        let answer = command.query_async(&mut connection).await;
        self.noted(what, ANSWER_TIMEOUT, answer)
    }

    /// Runs a command on a connection of its own ([`RedisClient::blocking_connection`]), which was made for reads of at most
    /// `longest`.
    ///
    /// # Errors
    /// Redis', with `what` was attempted.
    pub async fn query_on<T: FromRedisValue>(
        &self,
        what: &'static str,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
        longest: Duration,
    ) -> Result<T, RedisError> {
        let answer = command.query_async(connection).await;
        self.noted(what, longest + BLOCKING_GRACE, answer)
    }

    /// A connection of its own for reads that block for at most `longest`: behind them everything else would wait.
    ///
    /// # Errors
    /// Redis'.
    pub async fn blocking_connection(&self, longest: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(longest + BLOCKING_GRACE));
        let connected = self.connection(CONNECTING).await?;
        let connection = connected.client.get_multiplexed_async_connection_with_config(&config).await;
        self.noted(CONNECTING, CONNECT_TIMEOUT, connection)
    }

    /// A connection that listens to channels.
    ///
    /// # Errors
    /// Redis'.
    pub async fn listener(&self) -> Result<PubSub, RedisError> {
        let connected = self.connection(CONNECTING).await?;
        match timeout(CONNECT_TIMEOUT, connected.client.get_async_pubsub()).await {
            Ok(connection) => self.noted(CONNECTING, CONNECT_TIMEOUT, connection),
            Err(_) => Err(RedisError::TimedOut { what: CONNECTING, seconds: CONNECT_TIMEOUT.as_secs() }),
        }
    }

    /// The connection that there is, or a new one, for an attempt to do `what`.
    async fn connection(&self, what: &'static str) -> Result<Arc<Connection>, RedisError> {
        if let Some(connection) = self.there() {
            return Ok(connection);
        }
        let connection = timeout(ANSWER_TIMEOUT, self.connect(what)).await;
        let connection = connection.unwrap_or(Err(RedisError::TimedOut { what, seconds: ANSWER_TIMEOUT.as_secs() }));
        if connection.is_err() {
            self.0.failed_ms.store(self.now_ms(), Ordering::Relaxed);
        }
        connection
    }

    async fn connect(&self, what: &'static str) -> Result<Arc<Connection>, RedisError> {
        let _alone = self.0.connecting.lock().await;
        if let Some(connection) = self.there() {
            return Ok(connection);
        }
        let client = match &self.0.primary {
            Primary::At(client) => client.clone(),
            Primary::Watched(sentinels) => sentinels.primary(what).await?,
        };
        let manager = manager(&client).map_err(RedisError::BadUrl)?;
        let connection = Arc::new(Connection { client, manager });
        *self.0.connection.write() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn there(&self) -> Option<Arc<Connection>> {
        self.0.connection.read().clone()
    }

    /// How long ago the last answer came; none before the first.
    #[must_use]
    pub fn last_answer(&self) -> Option<Duration> {
        self.since(&self.0.answered_ms)
    }

    /// How long ago the last call failed for want of an answer; none if none ever did.
    #[must_use]
    pub fn last_failure(&self) -> Option<Duration> {
        self.since(&self.0.failed_ms)
    }

    fn since(&self, moment_ms: &AtomicU64) -> Option<Duration> {
        let at = moment_ms.load(Ordering::Relaxed);
        (at != NEVER).then(|| self.0.clock.elapsed().saturating_sub(Duration::from_millis(at)))
    }

    /// Notes what came of an attempt to do `what` that was given up after `limit`.
    fn noted<T>(&self, what: &'static str, limit: Duration, answer: redis::RedisResult<T>) -> Result<T, RedisError> {
        let answer = answer.map_err(|error| RedisError::of(what, limit, error));
        match &answer {
            Ok(_) => self.0.answered_ms.store(self.now_ms(), Ordering::Relaxed),
            Err(error) if error.is_unknown() => self.0.failed_ms.store(self.now_ms(), Ordering::Relaxed),
            Err(_) => {}
        }
        // Its name may lead to another by now, which is the primary, or to one that answers; or Sentinel names another.
        let is_lost = match &answer {
            Err(RedisError::ReadOnly { .. }) => true,
            Err(RedisError::TimedOut { .. }) => self.last_answer().is_none_or(|ago| ago > 2 * ANSWER_TIMEOUT),
            // A connection to one address is made anew without that.
            Err(RedisError::Unreachable { .. }) => matches!(self.0.primary, Primary::Watched(_)),
            _ => false,
        };
        if is_lost {
            *self.0.connection.write() = None;
        }
        answer
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.clock.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

/// One that only listens hears of a Redis that is gone, too.
fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3)
}

fn manager(client: &redis::Client) -> redis::RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT))
        .set_number_of_retries(CONNECT_RETRIES)
        .set_max_delay(Duration::from_millis(500));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// By hand, since the address may hold a password.
impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClient").field("last_answer", &self.last_answer()).finish_non_exhaustive()
    }
}
