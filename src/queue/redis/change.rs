//! A job as it was found, and what it is changed to if nobody else has changed it meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use super::fields::{self, FieldChanges, Fields};
use super::scripts::{APPLY, LOAD};
use super::{RedisQueue, random, unreadable};
use crate::clock::{Timestamp, millis};
use crate::job::{DeliveryId, DeliverySubject, JobId, State};
use crate::queue::record::{self, StoredDelivery, StoredJob, readable_delivery};
use crate::queue::rules::{self, Next, ToldCallbacks};
use crate::queue::{DeliveryState, QueueError};

/// Decisions that are made anew because somebody was quicker, before that is no chance any more.
const DECISIONS_MAX: u32 = 16;

/// A job as Redis has it.
pub(super) struct Found {
    /// By Redis' time.
    pub(super) now: Timestamp,
    pub(super) stored: StoredJob,
    /// What is known of its callbacks, if that was asked for.
    pub(super) deliveries: HashMap<DeliveryId, StoredDelivery>,
    /// Whether its lease has lapsed.
    pub(super) has_lapsed: bool,
    /// Whether its last claim was never confirmed.
    pub(super) is_unconfirmed: bool,
    fields: Fields,
}

/// Whether a job's callbacks are looked at, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Callbacks,
    JobAlone,
}

/// A decided change.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) moves: Move,
    /// Changes that were known here alone, and that its record counts now.
    pub(super) counted: u64,
    /// Only if its lease has lapsed.
    pub(super) only_lapsed: bool,
    pub(super) deliveries: Vec<DeliveryChange>,
}

/// Where a job goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Move {
    /// It stays.
    #[default]
    Stays,
    /// It waits: ready, or delayed until then.
    Waits(Option<Timestamp>),
    /// It has ended.
    Ends,
}

/// A callback to write, or none to remove it.
#[derive(Debug)]
pub(super) struct DeliveryChange {
    pub(super) id: DeliveryId,
    pub(super) delivery: Option<StoredDelivery>,
    /// When it is due, if that isn't what its record says.
    pub(super) due: Due,
}

/// When a callback that is owed is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    AsRecorded,
    /// When a node starts.
    Held,
}

impl DeliveryChange {
    pub(super) fn put(id: DeliveryId, delivery: StoredDelivery) -> Self {
        Self { id, delivery: Some(delivery), due: Due::AsRecorded }
    }

    pub(super) fn remove(id: DeliveryId) -> Self {
        Self { id, delivery: None, due: Due::AsRecorded }
    }
}

impl ToldCallbacks for Found {
    fn has(&self, id: &DeliveryId) -> Result<bool, QueueError> {
        Ok(self.deliveries.contains_key(id))
    }

    fn last_sequence(&self) -> Result<u64, QueueError> {
        let told = self.deliveries.values().filter_map(|delivery| Some(delivery.file.as_ref()?.sequence));
        Ok(told.max().unwrap_or(0))
    }
}

impl RedisQueue {
    /// The job as it is now, if there is one.
    pub(super) async fn load(&self, id: &JobId, with: With) -> Result<Option<Found>, QueueError> {
        self.usable()?;
        let wanted = if with == With::Callbacks { "1" } else { "0" };
        let answer: (u64, Fields, Fields, String) = self.scripts.run(&LOAD, &[&id.to_string(), wanted]).await?;
        let (now_ms, fields, known, expires) = answer;
        let Some(stored) = fields::job(&fields)? else { return Ok(None) };
        let mut deliveries = HashMap::new();
        for (name, bytes) in &known {
            let Some(id) = DeliveryId::parse(name) else { continue };
            deliveries.extend(readable_delivery(&id, bytes).map(|delivery| (id, delivery)));
        }
        Ok(Some(Found {
            now: Timestamp::from_millis(now_ms),
            stored,
            deliveries,
            has_lapsed: expires.parse::<f64>().is_ok_and(|expires| expires <= lossy(now_ms)),
            is_unconfirmed: fields.contains_key("uc"),
            fields,
        }))
    }

    /// Decides on a job as it is, and applies that unless somebody has changed the job meanwhile: then it is decided anew.
    /// Answers what `decide` did; none if there is no such job.
    pub(super) async fn change<T>(
        &self,
        id: &JobId,
        with: With,
        mut decide: impl FnMut(&mut Found) -> Result<Decision<T>, QueueError> + Send,
    ) -> Result<Option<T>, QueueError>
    where
        T: Send,
    {
        for _ in 0..DECISIONS_MAX {
            let Some(mut found) = self.load(id, with).await? else { return Ok(None) };
            let (change, answer) = match decide(&mut found)? {
                Decision::Leave(answer) => return Ok(Some(answer)),
                Decision::Apply(change, answer) => (change, answer),
            };
            let counted = change.counted;
            if self.apply(id, &found, change).await? {
                self.events.counted(*id, counted);
                self.events.recorded(*id);
                return Ok(Some(answer));
            }
        }
        let what = format!("job {id} changes too often to be changed");
        Err(QueueError::Unavailable { what, source: None })
    }

    /// Moves a job to where it goes after an attempt, with the callbacks that it owes if it has ended. `found.deliveries` must
    /// be there.
    pub(super) fn go_on(&self, found: &mut Found, next: Next) -> Result<(Change, State), QueueError> {
        let counted = self.events.unrecorded(found.stored.job.record.id);
        let (changes, now) = (counted + 1, found.now);
        match next {
            Next::Waits(wait) => {
                found.stored.job.not_before = wait.map(|wait| now.after(wait));
                found.stored.wait_ms = wait.map_or(0, millis);
                rules::enter(&mut found.stored, State::Pending, now, changes)?;
                let moves = Move::Waits(found.stored.job.not_before);
                Ok((Change { moves, counted, ..Change::default() }, State::Pending))
            }
            Next::Ends(state) => {
                rules::enter(&mut found.stored, state, now, changes)?;
                let job = &found.stored.job;
                let owed = rules::owed_at_end(job, &*found, now, job.changes)?;
                let deliveries = owed.into_iter().map(|(id, delivery)| DeliveryChange::put(id, delivery)).collect();
                Ok((Change { moves: Move::Ends, counted, deliveries, ..Change::default() }, state))
            }
        }
    }

    /// Whether a change was applied; if not, the job is another by now.
    async fn apply(&self, id: &JobId, found: &Found, change: Change) -> Result<bool, QueueError> {
        let FieldChanges { set, removed } = FieldChanges::between(&found.fields, &found.stored)?;
        let revision = fields::number(&found.fields, "rv").to_string();
        // A name that no other change has.
        let name = random()?.to_string();
        let (place, due) = match change.moves {
            Move::Stays => ("-", String::new()),
            Move::Waits(None) => ("r", String::new()),
            Move::Waits(Some(due)) => ("d", due.as_millis().to_string()),
            Move::Ends => ("e", String::new()),
        };
        let lapsed = if change.only_lapsed { "1" } else { "0" };
        let changes = found.stored.job.changes.saturating_sub(fields::number(&found.fields, "ch")).to_string();
        let mut args: Vec<Vec<u8>> = [&id.to_string(), &revision, &name, place, &due, lapsed, &changes]
            .map(|text| text.as_bytes().to_vec())
            .into();
        args.push(set.len().to_string().into());
        for (field, value) in set {
            args.extend([field.into(), value]);
        }
        args.push(removed.len().to_string().into());
        args.extend(removed.into_iter().map(Vec::from));
        for delivery in &change.deliveries {
            args.extend(delivery_args(delivery)?);
        }
        let answer: String = self.scripts.run(&APPLY, &args).await?;
        Ok(answer == "applied")
    }
}

/// What a decision is.
pub(super) enum Decision<T> {
    /// Nothing is changed.
    Leave(T),
    /// This is, as the job now is.
    Apply(Change, T),
}

/// As [`APPLY`] takes a callback.
pub(super) fn delivery_args(change: &DeliveryChange) -> Result<[Vec<u8>; 6], QueueError> {
    let id = change.id.to_string().into_bytes();
    let Some(delivery) = &change.delivery else { return Ok([id, vec![], vec![], vec![], vec![], vec![]]) };
    let record = record::encode(delivery).map_err(|error| unreadable("writing a callback's record", error))?;
    let due = match (delivery.state, change.due) {
        (DeliveryState::Pending, Due::AsRecorded) => delivery.due.as_millis().to_string(),
        (DeliveryState::Pending, Due::Held) => "held".to_owned(),
        _ => String::new(),
    };
    let since = delivery.since.unwrap_or(delivery.due).as_millis().to_string();
    let state = delivery_state_word(delivery.state).as_bytes().to_vec();
    Ok([id, record, state, due.into(), since.into(), listed(change.id, delivery.seq.unwrap_or(0))])
}

/// What a state of a callback is called.
pub(super) fn delivery_state_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "p",
        DeliveryState::Delivered => "d",
        DeliveryState::GivenUp => "g",
    }
}

/// A callback's place in lists, which are read backwards: the newest job first, and in it the end before its files. Behind a NUL
/// comes its id.
fn listed(id: DeliveryId, seq: u64) -> Vec<u8> {
    let subject: &[u8] = match id.subject {
        DeliverySubject::End => &[0xFF, 0xFF, 0xFF],
        DeliverySubject::Cancelled => &[0xFE, 0xFF, 0xFF],
        DeliverySubject::File(index) => &[&[0xFD], (!index).to_be_bytes().as_slice()].concat(),
        // Never in the queue.
        DeliverySubject::Erased => &[0xFC],
    };
    [seq.to_be_bytes().as_slice(), subject, &[0], id.to_string().as_bytes()].concat()
}

/// Until so many milliseconds have passed; none if nothing is said.
pub(super) fn wait_of(millis: &str) -> Option<Duration> {
    millis.parse().ok().map(Duration::from_millis)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn lossy(millis: u64) -> f64 {
    millis as f64
}
