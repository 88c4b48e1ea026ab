//! Idle nodes: each waits for a token of its kind of work, so that one job wakes one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::change::wait_of;
use super::scripts::{CLAIMABLE, Scripts};
use crate::clock::SharedClock;
use crate::error_chain::ErrorChain;
use crate::events::JobEvents;
use crate::job::{JobId, RecordVersion};
use crate::queue::{PASS_MAX, Place};
use crate::redis_client::RedisError;

/// A read for tokens blocks for so long, and then looks whether anybody waits still. As long a connection may be cut before that is
/// noticed, which polling makes up for.
const BLOCKED_FOR: Duration = Duration::from_secs(45);
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkKind {
    /// A job for a regular place.
    Regular,
    /// A job for the spare place.
    Spare,
    /// A job of which all is made.
    Made,
    /// A callback that is due.
    Callback,
}

impl WorkKind {
    /// Each where its number says.
    pub(super) const ALL: [Self; 4] = [Self::Regular, Self::Spare, Self::Made, Self::Callback];

    pub(super) fn of(place: Place) -> Self {
        match place {
            Place::Regular => Self::Regular,
            Place::Spare => Self::Spare,
        }
    }

    /// As scripts call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Spare => "spare",
            Self::Made => "made",
            Self::Callback => "callback",
        }
    }
}

/// Bytes of memory for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryAtHand {
    /// With no more than these a claim was short; any number if it was not.
    pub(super) left: u64,
    /// What there is in all.
    pub(super) total: u64,
}

impl MemoryAtHand {
    /// Where it plays no part.
    pub(super) const ANY: Self = Self { left: u64::MAX, total: u64::MAX };
}

/// What is known of the work that there is.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Nothing was left when somebody looked last, but what a token has announced since.
    is_empty: bool,
    /// Then something is due, by [`crate::clock::Clock::elapsed`].
    next_due: Option<Duration>,
    memory: MemoryAtHand,
}

/// Those of this node who wait for one kind of work.
pub(super) struct Waiting {
    scripts: Scripts,
    kind: WorkKind,
    clock: SharedClock,
    realtime_run_max: u32,
    known: Mutex<Known>,
    waiters: Arc<Waiters>,
    /// Reads tokens, once somebody has waited.
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiters {
    count: AtomicUsize,
    /// Somebody has come.
    came: Notify,
    /// There is a token.
    token: Notify,
}

impl Waiting {
    /// `realtime_run_max` is that of [`crate::queue::QueueSettings`].
    pub(super) fn new(scripts: Scripts, kind: WorkKind, clock: SharedClock, realtime_run_max: u32) -> Self {
        let known = Mutex::new(Known { is_empty: false, next_due: None, memory: MemoryAtHand::ANY });
        Self { scripts, kind, clock, realtime_run_max, known, waiters: Arc::default(), reader: Mutex::default() }
    }

    /// Somebody has looked for work: whether nothing was left, when something is due, and with what memory.
    pub(super) fn looked(&self, is_empty: bool, next_due: Option<Duration>, memory: MemoryAtHand) {
        let next_due = next_due.map(|wait| self.clock.elapsed().saturating_add(wait));
        *self.known.lock() = Known { is_empty, next_due, memory };
    }

    /// Something is due after `wait`, or at once.
    pub(super) fn due_within(&self, wait: Duration) {
        let due = self.clock.elapsed().saturating_add(wait);
        let mut known = self.known.lock();
        known.next_due = Some(known.next_due.map_or(due, |before| before.min(due)));
        drop(known);
        self.waiters.token.notify_waiters();
    }

    /// Returns when there may be work, or after `at_most`.
    pub(super) async fn wait(&self, at_most: Duration) {
        let _waiter = self.come();
        let until_work = async {
            loop {
                let token = self.waiters.token.notified();
                tokio::pin!(token);
                // From here on no token is missed.
                token.as_mut().enable();
                let known = *self.known.lock();
                if !known.is_empty && self.finds_work(known.memory).await {
                    return;
                }
                let next_due = self.known.lock().next_due;
                let wait = next_due.map_or(Duration::MAX, |due| due.saturating_sub(self.clock.elapsed()));
                if wait.is_zero() {
                    self.known.lock().is_empty = false;
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait.min(at_most)) => {
                        self.known.lock().is_empty = false;
                        return;
                    }
                    () = token => self.known.lock().is_empty = false,
                }
            }
        };
        // Running out of time is one of the two ways this ends.
        let _: Result<(), _> = tokio::time::timeout(at_most, until_work).await;
    }

    /// Whether a look would find something. One that can't be had may.
    async fn finds_work(&self, memory: MemoryAtHand) -> bool {
        if self.kind == WorkKind::Callback {
            // Whoever asked takes what is due.
            return true;
        }
        let args = [
            self.kind.word().to_owned(),
            memory.left.to_string(),
            memory.total.to_string(),
            self.realtime_run_max.max(1).to_string(),
            PASS_MAX.as_millis().to_string(),
            RecordVersion::newest().number().to_string(),
        ];
        match self.scripts.run::<(u8, String)>(&CLAIMABLE, &args).await {
            Ok((found, next_due)) => {
                self.looked(found == 0, wait_of(&next_due), memory);
                found != 0
            }
            // Whoever asked for work hears of it.
            Err(_) => true,
        }
    }

    fn come(&self) -> Waiter<'_> {
        self.waiters.count.fetch_add(1, Ordering::AcqRel);
        self.waiters.came.notify_one();
        self.reader.lock().get_or_insert_with(|| {
            tokio::spawn(read_tokens(self.scripts.clone(), self.kind, Arc::clone(&self.waiters)))
        });
        Waiter(&self.waiters)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.lock().take() {
            reader.abort();
        }
    }
}

/// One who waits.
struct Waiter<'a>(&'a Waiters);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes tokens while somebody waits for one.
async fn read_tokens(scripts: Scripts, kind: WorkKind, waiters: Arc<Waiters>) {
    let list = scripts.key(format_args!("wake:{}", kind.word()));
    let mut connection = None;
    loop {
        while waiters.count.load(Ordering::Acquire) == 0 {
            waiters.came.notified().await;
        }
        match next_token(&scripts, &mut connection, &list).await {
            Ok(true) if waiters.count.load(Ordering::Acquire) > 0 => waiters.token.notify_waiters(),
            // Nobody here wants it any more.
            Ok(true) => {
                let back = redis::Cmd::lpush(&list, "1");
                let _: Result<u64, RedisError> = scripts.client.query("giving a token back", &back).await;
            }
            Ok(false) => {}
            Err(error) => {
                connection = None;
                tracing::debug!(error = %ErrorChain(&error), "waiting for work failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether there was a token, or none for long.
async fn next_token(
    scripts: &Scripts,
    connection: &mut Option<MultiplexedConnection>,
    list: &str,
) -> Result<bool, RedisError> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(scripts.client.blocking_connection(BLOCKED_FOR).await?),
    };
    let read = redis::Cmd::blpop(list, BLOCKED_FOR.as_secs_f64());
    let token: Option<(String, String)> =
        scripts.client.query_on("waiting for work", connection, &read, BLOCKED_FOR).await?;
    Ok(token.is_some())
}

/// Passes on, as long as it runs, what any node changes of a job, and which jobs this node is to stop.
pub(super) async fn listen(scripts: Scripts, events: JobEvents, stop: impl Fn(JobId) + Send) {
    let [changed, stopped] = ["changed", "stop"].map(|channel| scripts.key(channel));
    loop {
        match scripts.client.listener().await {
            Ok(mut listener) => {
                if listener.subscribe(&[&changed, &stopped]).await.is_ok() {
                    // What was changed before it listened.
                    events.all_recorded();
                    let mut messages = listener.on_message();
                    while let Some(message) = messages.next().await {
                        let id = message.get_payload::<String>().ok().and_then(|id| id.parse().ok());
                        match id {
                            Some(id) if message.get_channel_name() == stopped => stop(id),
                            Some(id) => events.recorded(id),
                            None => {}
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "listening for changes of jobs failed"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
