//! The scripts, and how they are called.

use std::fmt::Display;
use std::sync::LazyLock;

use redis::{FromRedisValue, Script, ToRedisArgs};

use crate::clock::{SharedClock, Timestamp};
use crate::redis_client::{RedisClient, RedisError};

/// A script with what it shares with others in front.
macro_rules! scripts {
    ($($name:ident = $flags:literal, [$($part:literal),*], $what:literal;)*) => {
        $(pub(super) static $name: QueueScript = QueueScript {
            what: $what,
            script: LazyLock::new(|| Script::new(concat!(
                "#!lua", $flags, "\n", include_str!("scripts/common.lua"),
                $(include_str!(concat!("scripts/", $part, ".lua"))),*
            ))),
        };)*
    };
}

// Only what takes jobs in is refused while Redis' memory is full: everything else makes room.
scripts! {
    ENQUEUE = "", ["request", "enqueue"], "taking a job in";
    BEGIN_REQUEST = "", ["request", "begin_request"], "beginning a request";
    EXTEND_REQUEST = " flags=allow-oom", ["request", "extend_request"], "renewing a request's lease";
    KEEP_ANSWER = " flags=allow-oom", ["request", "keep_answer"], "keeping an answer";
    END_REQUEST = " flags=allow-oom", ["request", "end_request"], "ending a request";
    CLAIM = " flags=allow-oom", ["turns", "lease", "claim"], "claiming jobs";
    CLAIM_MADE = " flags=allow-oom", ["turns", "lease", "claim_made"], "claiming made jobs";
    CLAIMABLE = " flags=allow-oom", ["turns", "claimable"], "looking for work";
    EXTEND = " flags=allow-oom", ["extend"], "renewing a lease";
    MADE = " flags=allow-oom", ["made"], "noting that a job is made";
    APPLY = " flags=allow-oom", ["apply"], "changing a job";
    LOAD = " flags=allow-oom", ["load"], "looking a job up";
    NEWEST = " flags=allow-oom", ["newest"], "looking for the newest job";
    PAGE = " flags=allow-oom", ["page"], "listing jobs";
    NAMING = " flags=allow-oom", ["naming"], "searching live jobs";
    WAITING_FOR = " flags=allow-oom", ["waiting_for"], "looking jobs up";
    DELIVERIES = " flags=allow-oom", ["deliveries"], "listing callbacks";
    DUE = " flags=allow-oom", ["due"], "looking for callbacks that are due";
    RELEASE_HELD = " flags=allow-oom", ["release_held"], "releasing held callbacks";
    EXPIRED = " flags=allow-oom", ["expired"], "looking for lapsed leases";
    JOURNAL = " flags=allow-oom", ["journal"], "writing a job's journal";
    KNOWN = " flags=allow-oom", ["known"], "looking jobs up";
    PUT_OFF = " flags=allow-oom", ["put_off"], "giving a job back";
    LEFT_SPOOL = " flags=allow-oom", ["left_spool"], "noting that originals are gone";
    PURGE = " flags=allow-oom", ["purge"], "removing old records";
    FORGET_TOKENS = " flags=allow-oom", ["forget_tokens"], "forgetting used tokens";
    DROP_LIVE = " flags=allow-oom", ["drop_live"], "dropping a job";
    ERASE = " flags=allow-oom", ["request", "erase"], "erasing a job";
    STATUS = " flags=allow-oom", ["status"], "counting jobs";
    RESERVE = "", ["reserve"], "looking whether the queue is unused";
    EXPORT = " flags=allow-oom", ["export"], "listing all jobs";
    EXPORT_TOKENS = " flags=allow-oom", ["export_tokens"], "listing used tokens";
    KEPT_ANSWER = " flags=allow-oom", ["request", "kept_answer"], "reading an answer";
    IMPORT = "", ["request", "import"], "taking a job in from another queue";
    IMPORT_TOKENS = "", ["import_tokens"], "taking used tokens in from another queue";
}

/// A script, and what it attempts.
pub(super) struct QueueScript {
    what: &'static str,
    script: LazyLock<Script>,
}

/// Whose time rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// Redis' own: the same for all nodes.
    Redis,
    /// The clock's, as far as it never jumps. For tests, which stop it.
    Clock,
}

/// The queue's part of a Redis.
#[derive(Clone)]
pub(super) struct Scripts {
    pub(super) client: RedisClient,
    /// What all keys begin with.
    prefix: String,
    clock: SharedClock,
    /// When the clock began to run; none if Redis' time rules.
    clock_began: Option<Timestamp>,
}

impl Scripts {
    pub(super) fn new(client: RedisClient, prefix: String, clock: SharedClock, time: TimeSource) -> Self {
        let clock_began = (time == TimeSource::Clock).then(|| clock.now().before(clock.elapsed()));
        Self { client, prefix, clock, clock_began }
    }

    /// A key of the queue's.
    pub(super) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a script that does no harm if it runs twice, once more if nobody knows whether it ran.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &QueueScript,
        args: &[impl ToRedisArgs],
    ) -> Result<T, RedisError> {
        match self.run_once(script, args).await {
            Err(error) if error.is_unknown() => self.run_once(script, args).await,
            done => done,
        }
    }

    /// Runs a script once, as far as we know.
    pub(super) async fn run_once<T: FromRedisValue>(
        &self,
        script: &QueueScript,
        args: &[impl ToRedisArgs],
    ) -> Result<T, RedisError> {
        let time = self.clock_began.map(|began| began.after(self.clock.elapsed()).as_millis().to_string());
        let mut invocation = script.script.key(&self.prefix);
        invocation.arg(time.unwrap_or_default());
        for arg in args {
            invocation.arg(arg);
        }
        self.client.run(script.what, &invocation).await
    }
}
