//! What the queue counts.

use std::sync::Arc;
use std::time::Duration;

use super::{Job, Settlement};
use crate::job::{ErrorCode, Priority, State};
use crate::metrics::{CounterBy, Histogram, HistogramBy, Labels, Registry, begin_at_zero, job_seconds, step_seconds};

/// Counts of what happens to jobs. Clones are one.
#[derive(Clone, Debug)]
pub struct QueueMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    ended: CounterBy<2>,
    wait: HistogramBy<1>,
    duration: HistogramBy<1>,
    attempts: CounterBy<1>,
    sync: Histogram,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    /// Its job ended with it.
    Settled,
    /// It failed, and its job waits for another.
    Retried,
    /// It was given back through no fault of its own.
    Released,
    /// Its lease lapsed, or its server died.
    Lost,
    /// The process that made its variants died.
    Crashed,
}

impl AttemptOutcome {
    const ALL: [Self; 5] = [Self::Settled, Self::Retried, Self::Released, Self::Lost, Self::Crashed];

    const fn word(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Retried => "retried",
            Self::Released => "released",
            Self::Lost => "lost",
            Self::Crashed => "crashed",
        }
    }

    const fn labels(self) -> Labels<1> {
        [("outcome", self.word())]
    }

    /// That of an attempt which is settled so, if the job is in `state` afterwards.
    pub(super) fn of(settlement: &Settlement) -> impl FnOnce(State) -> Self + use<> {
        let (is_crash, is_failure) = match settlement {
            Settlement::Crashed { .. } => (true, true),
            Settlement::Completed { .. } | Settlement::Failed { .. } | Settlement::Stopped { .. } => (false, true),
            Settlement::Released
            | Settlement::Postponed { .. }
            | Settlement::Unmade { .. }
            | Settlement::Outgrown { .. } => (false, false),
        };
        move |state| match (is_crash, is_failure) {
            (true, _) => Self::Crashed,
            (_, true) if state.is_terminal() => Self::Settled,
            (_, true) => Self::Retried,
            _ => Self::Released,
        }
    }
}

impl Default for QueueMetrics {
    fn default() -> Self {
        let families = Families {
            ended: CounterBy::default(),
            wait: HistogramBy::new_with_constructor(job_seconds),
            duration: HistogramBy::new_with_constructor(job_seconds),
            attempts: CounterBy::default(),
            sync: step_seconds(),
        };
        let errors = ErrorCode::ALL.iter().filter(|code| code.ends_jobs()).map(|code| code.as_str());
        let ends = [(State::Completed, NO_ERROR), (State::Cancelled, NO_ERROR)];
        let ends = ends.into_iter().chain(errors.map(|error| (State::Failed, error)));
        begin_at_zero(&families.ended, ends.map(|(state, error)| [("state", state.as_str()), ("error", error)]));
        begin_at_zero(&families.wait, Priority::ALL.map(|priority| [("priority", priority.as_str())]));
        let terminal = State::ALL.into_iter().filter(|state| state.is_terminal());
        begin_at_zero(&families.duration, terminal.map(|state| [("state", state.as_str())]));
        begin_at_zero(&families.attempts, AttemptOutcome::ALL.map(AttemptOutcome::labels));
        Self(Arc::new(families))
    }
}

/// The `error` of a job that has none.
const NO_ERROR: &str = "none";
/// Of one whose error has a word that only another version knows.
const OTHER_ERROR: &str = "other";

impl QueueMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { ended, wait, duration, attempts, sync } = &*self.0;
        registry.register("pixerve_jobs_ended", "Jobs by how they ended", ended.clone());
        registry.register("pixerve_job_wait_seconds", "From a job's acceptance to its first attempt", wait.clone());
        registry.register("pixerve_job_duration_seconds", "From a job's acceptance to its end", duration.clone());
        registry.register("pixerve_attempts", "Attempts by how they ended", attempts.clone());
        registry.register("pixerve_sync_duration_seconds", "What the queue waits for its disk", sync.clone());
    }

    /// A job's first attempt begins.
    pub(super) fn first_attempt(&self, job: &Job) {
        let waited = job.started_at.unwrap_or(job.record.created_at).since(job.record.created_at);
        let labels = [("priority", job.record.spec.priority.as_str())];
        self.0.wait.get_or_create(&labels).observe(waited.as_secs_f64());
    }

    /// A job has ended.
    pub(super) fn ended(&self, job: &Job) {
        let error = match (job.state, &job.error) {
            (State::Failed, Some(error)) => ErrorCode::of(&error.code).map_or(OTHER_ERROR, ErrorCode::as_str),
            (State::Failed, None) => OTHER_ERROR,
            _ => NO_ERROR,
        };
        self.0.ended.get_or_create(&[("state", job.state.as_str()), ("error", error)]).inc();
        let took = job.finished_at.unwrap_or(job.record.created_at).since(job.record.created_at);
        self.0.duration.get_or_create(&[("state", job.state.as_str())]).observe(took.as_secs_f64());
    }

    pub(super) fn attempt_ended(&self, outcome: AttemptOutcome) {
        self.0.attempts.get_or_create(&outcome.labels()).inc();
    }

    pub(super) fn synced(&self, took: Duration) {
        self.0.sync.observe(took.as_secs_f64());
    }
}
