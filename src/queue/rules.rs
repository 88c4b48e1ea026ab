//! What becomes of a job and of its callbacks, decided on their records alone: the same for every queue, wherever it keeps
//! them.

use std::time::Duration;

use super::record::{StoredDelivery, StoredJob};
use super::{
    DeliveryOutcome, DeliveryState, DeliveryTry, FileStored, Job, QueueError, QueueSettings, Retry, Settlement,
};
use crate::clock::{Timestamp, millis};
use crate::job::{CallbackTarget, DeliveryId, ErrorCode, JobError, JobRecord, State, StoredFile};

/// Counted for an attempt that died with its node: more than any attempt tells of.
pub(super) const CHANGES_OF_A_LOST_ATTEMPT: u64 = 100_000;

/// What follows the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The job waits in its old place: ready at once, or after this.
    Waits(Option<Duration>),
    /// It has ended.
    Ends(State),
}

/// Ends an attempt.
pub(super) fn settle(stored: &mut StoredJob, settlement: Settlement, settings: &QueueSettings) -> Next {
    let next = match settlement {
        Settlement::Completed { files, placeholder } => {
            stored.job.error = None;
            stored.job.files = files;
            stored.job.placeholder = placeholder;
            Next::Ends(State::Completed)
        }
        Settlement::Failed { error, files, retry } => {
            stored.job.error = Some(error);
            stored.is_made = false;
            add_files(stored, files);
            match retry {
                Retry::After(wait) if stored.job.attempts < settings.attempts_max => Next::Waits(Some(wait)),
                Retry::After(_) | Retry::Never => Next::Ends(State::Failed),
            }
        }
        Settlement::Crashed { error, files } => {
            add_files(stored, files);
            stored.job.error = Some(error);
            stored.is_made = false;
            if count_crash(stored, settings) || stored.job.attempts >= settings.attempts_max {
                Next::Ends(State::Failed)
            } else {
                Next::Waits(None)
            }
        }
        Settlement::Stopped { files } => {
            add_files(stored, files);
            Next::Ends(State::Cancelled)
        }
        Settlement::Released => release(stored),
        Settlement::Postponed { error, files, wait } => {
            refund(stored);
            stored.job.error = Some(error);
            add_files(stored, files);
            Next::Waits(Some(wait))
        }
        Settlement::Unmade { files } => {
            stored.is_made = false;
            add_files(stored, files);
            release(stored)
        }
        Settlement::Outgrown { memory } => {
            stored.job.record.memory = Some(memory);
            release(stored)
        }
    };
    unless_called_off(stored, next)
}

/// What was called off doesn't wait for another attempt.
fn unless_called_off(stored: &mut StoredJob, next: Next) -> Next {
    let is_called_off = std::mem::take(&mut stored.is_called_off);
    if is_called_off && matches!(next, Next::Waits(_)) { Next::Ends(State::Cancelled) } else { next }
}

/// Takes an attempt back that ended through no fault of the job.
pub(super) fn release(stored: &mut StoredJob) -> Next {
    refund(stored);
    Next::Waits(None)
}

/// Ends an attempt whose lease has lapsed; `is_refunded` if it doesn't count.
pub(super) fn reap(
    stored: &mut StoredJob,
    files: Vec<StoredFile>,
    is_refunded: bool,
    settings: &QueueSettings,
) -> Next {
    add_files(stored, files);
    if is_refunded {
        let next = release(stored);
        return unless_called_off(stored, next);
    }
    if stored.is_called_off || stored.job.attempts < settings.attempts_max {
        return unless_called_off(stored, Next::Waits(None));
    }
    let detail = format!("the worker of attempt {} did not renew its lease", stored.job.attempts);
    stored.job.error = Some(JobError::new(ErrorCode::LeaseExpired, detail));
    Next::Ends(State::Failed)
}

/// Counts that a job took its worker down. Answers whether that was once too often; then its error says so.
pub(super) fn count_crash(stored: &mut StoredJob, settings: &QueueSettings) -> bool {
    stored.job.crashes += 1;
    let is_poison = stored.job.crashes >= settings.crashes_max;
    if is_poison {
        let last = stored.job.error.take().map(|error| format!(": {}", error.detail)).unwrap_or_default();
        let detail = format!("it took its worker down {} times{last}", stored.job.crashes);
        stored.job.error = Some(JobError::new(ErrorCode::Poison, detail));
    }
    is_poison
}

/// Notes what is stored. An attempt that stored nothing doesn't undo what an earlier one stored.
pub(super) fn add_files(stored: &mut StoredJob, files: Vec<StoredFile>) {
    if !files.is_empty() {
        stored.job.files = files;
    }
}

/// Takes an attempt back that ended through no fault of the job.
fn refund(stored: &mut StoredJob) {
    stored.job.attempts = stored.job.attempts.saturating_sub(1);
    if stored.job.attempts == 0 {
        stored.job.started_at = None;
    }
}

/// Moves a job to `next`, by now with so many changes more. Refuses what the table of transitions
/// ([`State::may_become`]) doesn't have.
pub(super) fn enter(stored: &mut StoredJob, next: State, now: Timestamp, changes: u64) -> Result<(), QueueError> {
    let before = stored.job.state;
    if !before.may_become(next) {
        let what = format!("a job can't go from {before} to {next}; this is a bug in Pixerve");
        return Err(QueueError::Unavailable { what, source: None });
    }
    stored.job.state = next;
    stored.job.changes += changes;
    if next.is_terminal() {
        stored.job.not_before = None;
        stored.job.finished_at = Some(now);
        if !has_callbacks(&stored.job) {
            stored.job.record.callback = None;
        }
    }
    Ok(())
}

/// Whether anything of an ended job is told, was, or will be once it is erased.
fn has_callbacks(job: &Job) -> bool {
    let told =
        |target: &CallbackTarget| target.event(job.state).is_some() || target.tells_files() || target.tells_erasure();
    job.record.callback.as_ref().is_some_and(told)
}

/// The callbacks of a job that are known already.
pub(super) trait ToldCallbacks {
    /// Whether this one is.
    fn has(&self, id: &DeliveryId) -> Result<bool, QueueError>;

    /// The `sequence` of the file that was told of last, 0 before the first.
    fn last_sequence(&self) -> Result<u64, QueueError>;
}

/// The callbacks that `job`, which has just ended after so many changes, owes and that are not known yet.
pub(super) fn owed_at_end(
    job: &Job,
    told: &impl ToldCallbacks,
    now: Timestamp,
    changes: u64,
) -> Result<Vec<(DeliveryId, StoredDelivery)>, QueueError> {
    let mut owed = Vec::new();
    let Some(target) = &job.record.callback else { return Ok(owed) };
    if let Some(id) = DeliveryId::of_end(job.record.id, job.state).filter(|_| target.event(job.state).is_some()) {
        owed.push((id, StoredDelivery::new(job, job.finished_at.unwrap_or(now), None)));
    }
    if target.tells_files() {
        let names = job.record.expected_files();
        let mut last = told.last_sequence()?;
        for file in job.files.iter().filter(|file| is_everywhere(file, &job.record)) {
            let index = names.iter().position(|name| *name == file.name).and_then(|at| u16::try_from(at).ok());
            if let Some(index) = index {
                owed.extend(owed_of_file(job, index, file.clone(), told, &mut last, now, changes)?);
            }
        }
    }
    Ok(owed)
}

/// The callback that tells of a file of a job that has changed so often, unless it is known. Files that were stored at once, or
/// before a restart, are told of in an order too: each has a greater `sequence` than the `last` one.
pub(super) fn owed_of_file(
    job: &Job,
    index: u16,
    file: StoredFile,
    told: &impl ToldCallbacks,
    last: &mut u64,
    now: Timestamp,
    changes: u64,
) -> Result<Option<(DeliveryId, StoredDelivery)>, QueueError> {
    let id = DeliveryId::of_file(job.record.id, index);
    if told.has(&id)? {
        return Ok(None);
    }
    let sequence = changes.max(*last + 1);
    *last = sequence;
    Ok(Some((id, StoredDelivery::new(job, now, Some(FileStored { file, sequence })))))
}

/// Whether a file is in every store of its job.
fn is_everywhere(file: &StoredFile, record: &JobRecord) -> bool {
    file.stored.len() >= record.spec.places()
}

/// What follows a try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterTry {
    /// Nothing: it is older than those that were counted.
    Nothing,
    /// It is due at once.
    Due,
    /// It is due after this.
    Waits(Duration),
    /// It is owed, and due when the queue is opened again.
    Held,
    /// It is owed no more; `drops_files` if what is owed of its job's files isn't either.
    Settled {
        /// Whoever knows how the job ended knows of its files.
        drops_files: bool,
    },
}

/// Notes a try to deliver a callback that is owed, and moves its record to where it is then.
pub(super) fn tried(
    id: &DeliveryId,
    delivery: &mut StoredDelivery,
    tried: DeliveryTry,
    outcome: DeliveryOutcome,
    now: Timestamp,
) -> AfterTry {
    let is_older_than_asked = tried.number > delivery.attempts.saturating_add(1);
    // Whoever began it was thought to be dead, and another has tried as often since.
    let is_counted = tried.number != 0 && tried.number <= delivery.attempts;
    if is_counted && outcome != DeliveryOutcome::Delivered {
        return AfterTry::Nothing;
    }
    delivery.last = Some(tried);
    let outcome = match outcome {
        // It was asked for again during this try, which so is none of those that count from then on.
        DeliveryOutcome::GivenUp | DeliveryOutcome::Retry(_) if is_older_than_asked => return AfterTry::Due,
        // What nobody owed any more must not be owed for ever for want of a key.
        DeliveryOutcome::Held if delivery.asked_again => DeliveryOutcome::GivenUp,
        outcome => outcome,
    };
    if outcome != DeliveryOutcome::Held {
        delivery.attempts = delivery.attempts.saturating_add(1);
    }
    match outcome {
        DeliveryOutcome::Delivered => {
            delivery.state = DeliveryState::Delivered;
            AfterTry::Settled { drops_files: !id.is_of_file() }
        }
        DeliveryOutcome::GivenUp => {
            delivery.state = DeliveryState::GivenUp;
            AfterTry::Settled { drops_files: false }
        }
        DeliveryOutcome::Held => AfterTry::Held,
        DeliveryOutcome::Retry(wait) => {
            delivery.due = now.after(wait);
            delivery.wait_ms = millis(wait);
            AfterTry::Waits(wait)
        }
    }
}

/// Forgets where the callback of an ended job goes, if its URL is there in clear, as versions before 0.3.0 kept it. Answers
/// whether it was.
pub(super) fn forget_if_clear(job: &mut Job) -> bool {
    job.record.callback.take_if(|target| target.sealed_url.is_none()).is_some()
}

/// Lets a callback be owed again, whatever became of it.
pub(super) fn ask_again(delivery: &mut StoredDelivery, now: Timestamp) {
    delivery.due = now;
    delivery.wait_ms = 0;
    delivery.attempts = 0;
    delivery.asked_again = true;
    delivery.state = DeliveryState::Pending;
}
