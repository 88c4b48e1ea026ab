//! The beats: what this node tells, and what it makes of the answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{ScriptInvocation, cmd};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::description::random_name;
use super::info::Info;
use super::{ClockState, HeartbeatAnswer, Inner, NodeDescription, NodeId, NodesError, NodesStatus, SCHEMA};
use crate::clock::{Timestamp, millis};
use crate::error_chain::ErrorChain;
use crate::version::VERSION;

/// A clock is measured by a call that took no longer than this: by half of it the measure may be wrong.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// What others are told of this node's clock is so coarse, since each change is written to Redis' disk.
const OFFSET_STEP_MS: u64 = 100;
/// Between two lines in the log about one and the same trouble.
pub(super) const REMIND_EVERY: Duration = Duration::from_mins(1);

/// Beats until `stop`, then says goodbye.
pub(super) async fn run(nodes: &Inner, stop: &CancellationToken) {
    let beating = async {
        let mut heartbeat = Heartbeat::new(nodes);
        loop {
            let began = Instant::now();
            heartbeat.beat().await;
            let interval = nodes.status.borrow().interval(nodes.options.timing.beat_every);
            tokio::select! {
                () = sleep_until(began + interval) => {}
                () = nodes.news.notified() => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = beating => {}
    }
    let beat = beat(nodes, None);
    match nodes.redis.run::<Answer>("saying goodbye", &beat).await {
        Ok(_) => info!(node = %nodes.id, "node left"),
        Err(error) => {
            let error = ErrorChain(&error);
            warn!(node = %nodes.id, %error, "node left without a goodbye; the others will notice soon");
        }
    }
}

/// The script's call for a node that is so, or that leaves.
fn beat<'a>(nodes: &'a Inner, description: Option<&NodeDescription>) -> ScriptInvocation<'a> {
    let options = &nodes.options;
    let text = description.map(|told| serde_json::to_string(told).expect("INVARIANT: plain data becomes JSON"));
    let takes_more = description.is_some_and(|told| !told.is_draining);
    let mut call = nodes.call(&nodes.scripts.beat);
    call.arg(nodes.id.as_str())
        .arg(text.unwrap_or_default())
        .arg(takes_more && options.roles.api)
        .arg(takes_more && options.roles.worker)
        .arg(takes_more)
        .arg(options.record_formats.1)
        .arg(description.map_or(0, |told| told.register_version))
        .arg(millis(options.timing.gone_after))
        .arg(millis(options.timing.lead_for))
        .arg(&options.installation)
        .arg(SCHEMA)
        .arg(random_name());
    call
}

/// The state from one beat to the next.
struct Heartbeat<'a> {
    nodes: &'a Inner,
    /// As the others were told.
    told_offset_ms: i64,
    /// On the monotonic clock.
    memory_asked: Option<Duration>,
    trouble_logged: Option<Duration>,
}

/// What the script answers: the installation, and if that is ours: time in ms, incarnation, leader, how many nodes live, take
/// uploads and take jobs, the record format that all read, the register's version.
type Answer = (String, Option<AnswerOfOurs>);
type AnswerOfOurs = (u64, String, Option<String>, u32, u32, u32, u32, u64);

impl<'a> Heartbeat<'a> {
    fn new(nodes: &'a Inner) -> Self {
        Self { nodes, told_offset_ms: 0, memory_asked: None, trouble_logged: None }
    }

    async fn beat(&mut self) {
        match self.ask().await {
            Ok(heard) => {
                self.note_answer(heard);
                self.look_at_memory().await;
            }
            Err(error) => self.note_trouble(&error),
        }
    }

    async fn ask(&self) -> Result<HeartbeatAnswer, NodesError> {
        let nodes = self.nodes;
        let beat = beat(nodes, Some(&self.description()));
        let (wall, sent) = (nodes.clock.now(), nodes.clock.elapsed());
        let (installation, answer): Answer = nodes.redis.run("beating", &beat).await?;
        let Some(answer) = answer else { return Err(NodesError::OtherInstallation { found: installation }) };
        Ok(self.heard(wall, sent, answer))
    }

    /// What this node is now.
    fn description(&self) -> NodeDescription {
        let options = &self.nodes.options;
        NodeDescription {
            version: VERSION.version.to_owned(),
            roles: options.roles,
            memory_budget: options.memory_budget,
            record_formats: options.record_formats,
            clock_offset_ms: self.told_offset_ms,
            register_version: self.nodes.shown.load(Ordering::Relaxed),
            is_draining: self.nodes.is_draining.load(Ordering::Relaxed),
        }
    }

    fn heard(&self, wall: Timestamp, sent: Duration, answer: AnswerOfOurs) -> HeartbeatAnswer {
        let at = self.nodes.clock.elapsed();
        let round_trip = at.saturating_sub(sent);
        let (time_ms, incarnation, leader, nodes, api_nodes, workers, record_format, register_version) = answer;
        let before = self.nodes.status.borrow().heard.as_ref().map(|heard| heard.clock_offset_ms);
        let measured = offset_ms(wall.after(round_trip / 2), Timestamp::from_millis(time_ms));
        let clock_offset_ms = before.filter(|_| round_trip > ROUND_TRIP_MAX).unwrap_or(measured);
        HeartbeatAnswer {
            at,
            round_trip,
            incarnation,
            leader: leader.map(NodeId::read),
            nodes,
            api_nodes,
            workers,
            record_format,
            register_version,
            clock_offset_ms,
            clock: ClockState::of(clock_offset_ms, self.nodes.options.clock_leeway),
        }
    }

    fn note_answer(&mut self, heard: HeartbeatAnswer) {
        let before = self.nodes.status.borrow().clone();
        let was_emptied = before.heard.as_ref().is_some_and(|before| before.incarnation != heard.incarnation);
        log_changes(&before, &heard);
        if was_emptied {
            error!(
                incarnation = heard.incarnation,
                "Redis was emptied: records of ended jobs are lost, and jobs that had not ended are queued again from the spool"
            );
        }
        if self.trouble_logged.take().is_some() {
            info!(silent_s = before.age().unwrap_or_default().as_secs(), "Redis answers again");
        }
        if heard.clock_offset_ms.abs_diff(self.told_offset_ms) >= OFFSET_STEP_MS {
            self.told_offset_ms = heard.clock_offset_ms;
        }
        self.nodes.status.send_modify(|status| {
            status.heard = Some(heard);
            status.trouble = None;
            status.times_emptied += u64::from(was_emptied);
        });
    }

    fn note_trouble(&mut self, error: &NodesError) {
        let now = self.nodes.clock.elapsed();
        if self.trouble_logged.is_none_or(|at| now.saturating_sub(at) >= REMIND_EVERY) {
            self.trouble_logged = Some(now);
            warn!(error = %ErrorChain(error), "heartbeat failed; will be tried again each second");
        }
        let text = ErrorChain(error).to_string();
        self.nodes.status.send_modify(|status| status.trouble = Some(text));
    }

    /// Asks for it now and then. That it can't be asked for is known since the start.
    async fn look_at_memory(&mut self) {
        let now = self.nodes.clock.elapsed();
        let every = self.nodes.status.borrow().interval(self.nodes.options.timing.memory_every);
        if self.memory_asked.is_some_and(|at| now.saturating_sub(at) < every) {
            return;
        }
        self.memory_asked = Some(now);
        match self.nodes.redis.query::<String>("asking for its memory", cmd("INFO").arg("memory")).await {
            Ok(text) => {
                let memory = Info::parse(&text).memory();
                self.nodes.status.send_modify(|status| status.memory = memory);
            }
            Err(error) => debug!(error = %ErrorChain(&error), "looking at Redis' memory failed"),
        }
    }
}

/// Says in the log who leads from now on, and what the clock has become.
fn log_changes(before: &NodesStatus, heard: &HeartbeatAnswer) {
    if before.heard.is_none() {
        info!(node = %before.node, nodes = heard.nodes, incarnation = heard.incarnation, "node joined");
    }
    let led = before.heard.as_ref().and_then(|before| before.leader.as_ref()) == Some(&before.node);
    let leads = heard.leader.as_ref() == Some(&before.node);
    if led != leads {
        info!(node = %before.node, leads, "lead changed");
    }
    let clock_before = before.heard.as_ref().map_or(ClockState::Good, |before| before.clock);
    let offset_ms = heard.clock_offset_ms;
    match heard.clock {
        state if state == clock_before => {}
        ClockState::Good => info!(offset_ms, "clock agrees with Redis' again"),
        ClockState::Off => warn!(offset_ms, "clock differs from Redis'; tokens are judged by it"),
        ClockState::Wrong => {
            error!(offset_ms, "clock differs from Redis' by more than auth.leeway; unhealthy until it is set");
        }
    }
}

/// By how many milliseconds `ours` is ahead of `theirs`.
pub(super) fn offset_ms(ours: Timestamp, theirs: Timestamp) -> i64 {
    let ms = |ahead: Duration| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    ms(ours.since(theirs)) - ms(theirs.since(ours))
}
