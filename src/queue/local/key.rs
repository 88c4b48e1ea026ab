//! The keys of the tables. Every one can be derived from the job's record.

use std::ops::Range;

use super::store::{Batch, Table};
use crate::clock::Timestamp;
use crate::job::{
    ContentHash, DeliveryId, DeliverySubject, HashKey, IdempotencyKey, JobId, JobRef, OnceToken, Owner, State,
};
use crate::queue::listing::ListOrder;
use crate::queue::{Cursor, DeliveryScope, DeliveryState, Filter, Job, QueueError};

const OWNER_BYTES: usize = 16;
const SEQ_BYTES: usize = 8;

pub(super) const SCHEMA: &[u8] = b"schema";
pub(super) const SEQ: &[u8] = b"seq";
pub(super) const TOKEN: &[u8] = b"token";
/// There if the last server was stopping.
pub(super) const DRAINING: &[u8] = b"draining";

/// When this began: the time from which on places tell when a job was queued; every job is listed by its user then.
pub(super) const TIMED_PLACES: &[u8] = b"timed_places";

/// There once no ended job has the URL of a callback in clear that is owed no more.
pub(super) const CALLBACKS_FORGOTTEN: &[u8] = b"callbacks_forgotten";

/// The table that a job in this state is in.
pub(super) fn home(state: State) -> Table {
    match state {
        State::Pending | State::Processing => Table::Jobs,
        State::Completed => Table::Success,
        State::Failed | State::Cancelled => Table::Failures,
    }
}

/// Puts a new job into every index.
pub(super) fn add(batch: &mut Batch, job: &Job) {
    for filter in lists(job, None) {
        batch.put(Table::Listing, listed(&filter, job.seq), *job.record.id.as_bytes());
    }
    batch.put(Table::ByHash, of_hash(&job.record.hash, job.seq), *job.record.id.as_bytes());
    if let Some(reference) = &job.record.reference {
        batch.put(Table::ByRef, of_reference(&job.record.owner, reference, job.seq), *job.record.id.as_bytes());
    }
    for filter in lists(job, Some(job.state)) {
        batch.put(Table::Listing, listed(&filter, job.seq), *job.record.id.as_bytes());
    }
}

/// Lists a job by its user, which versions before 0.3.0 did not.
pub(super) fn list_by_user(batch: &mut Batch, job: &Job) {
    let [_, _, by_user] = lists(job, None);
    let [_, _, by_user_and_state] = lists(job, Some(job.state));
    for filter in [by_user, by_user_and_state] {
        batch.put(Table::Listing, listed(&filter, job.seq), *job.record.id.as_bytes());
    }
}

/// Moves a job that was in state `before` to where it is listed now.
pub(super) fn move_on(batch: &mut Batch, job: &Job, before: State) {
    for filter in lists(job, Some(before)) {
        batch.remove(Table::Listing, listed(&filter, job.seq));
    }
    for filter in lists(job, Some(job.state)) {
        batch.put(Table::Listing, listed(&filter, job.seq), *job.record.id.as_bytes());
    }
}

/// Takes a job out of every index and table.
pub(super) fn remove(batch: &mut Batch, job: &Job) {
    for filter in lists(job, None).into_iter().chain(lists(job, Some(job.state))) {
        batch.remove(Table::Listing, listed(&filter, job.seq));
    }
    batch.remove(Table::ByHash, of_hash(&job.record.hash, job.seq));
    if let Some(reference) = &job.record.reference {
        batch.remove(Table::ByRef, of_reference(&job.record.owner, reference, job.seq));
    }
    if let Some(finished) = job.finished_at {
        batch.remove(Table::ByDone, done(finished, &job.record.id));
    }
    batch.remove(home(job.state), *job.record.id.as_bytes());
}

/// Everything that a filter lists, oldest first.
pub(super) fn listing(filter: &Filter) -> Range<Vec<u8>> {
    listed(filter, 0)..listed(filter, u64::MAX)
}

/// All jobs from this place on, oldest first.
pub(super) fn listing_from(seq: u64) -> Range<Vec<u8>> {
    listed(&Filter::default(), seq)..listed(&Filter::default(), u64::MAX)
}

/// The part of a list behind a cursor, from this place on.
pub(super) fn listing_behind(
    filter: &Filter,
    order: ListOrder,
    cursor: Option<&Cursor>,
    least_place: u64,
) -> Result<Range<Vec<u8>>, QueueError> {
    let behind = cursor.map(Cursor::place).transpose()?;
    let (first, end) = match order {
        ListOrder::NewestFirst => (least_place, behind.unwrap_or(u64::MAX)),
        ListOrder::OldestFirst => (least_place.max(behind.map_or(0, |place| place.saturating_add(1))), u64::MAX),
    };
    // Of a range that ends before it begins nothing can be read.
    Ok(listed(filter, first.min(end))..listed(filter, end))
}

/// The place of the job that is listed here.
pub(super) fn listed_place(listed: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*listed.last_chunk()?))
}

/// Every job with this hash, oldest first.
pub(super) fn hash(hash: &HashKey) -> Range<Vec<u8>> {
    of_hash(hash, 0)..of_hash(hash, u64::MAX)
}

/// Every job of this owner with this `ref`, oldest first.
pub(super) fn reference(owner: &Owner, reference: &JobRef) -> Range<Vec<u8>> {
    of_reference(owner, reference, 0)..of_reference(owner, reference, u64::MAX)
}

/// A job that ended then.
pub(super) fn done(finished: Timestamp, id: &JobId) -> Vec<u8> {
    [finished.as_millis().to_be_bytes().as_slice(), id.as_bytes()].concat()
}

/// What ended before then.
pub(super) fn done_before(finished: Timestamp) -> Range<Vec<u8>> {
    Vec::new()..finished.as_millis().to_be_bytes().to_vec()
}

/// A used token that is taken no more from then on.
pub(super) fn used_token_end(token: &OnceToken) -> Vec<u8> {
    [token.good_until.as_millis().to_be_bytes().as_slice(), token.digest.as_bytes()].concat()
}

/// Behind every [`used_token_end`] key.
pub(super) const AFTER_TOKENS: &[u8] = &[0xFF; 41];

/// The digest at the end of a [`used_token_end`] key.
pub(super) fn digest_of_used_token_end(key: &[u8]) -> Option<&[u8]> {
    key.get(8..)
}

/// The answer to the request with this key is given again no more from then on.
pub(super) fn answer_end(until: Timestamp, key: &IdempotencyKey) -> Vec<u8> {
    [until.as_millis().to_be_bytes().as_slice(), key.as_bytes()].concat()
}

/// The key at the end of an [`answer_end`] key.
pub(super) fn key_of_answer_end(key: &[u8]) -> Option<&[u8]> {
    key.get(8..)
}

/// The id at the end of a [`done`] key.
pub(super) fn id_of_done(key: &[u8]) -> Option<JobId> {
    id(key.get(8..)?)
}

/// Behind every id.
pub(super) const AFTER_IDS: &[u8] = &[0xFF; 17];

/// An id that is a key or a value.
pub(super) fn id(bytes: &[u8]) -> Option<JobId> {
    bytes.try_into().ok().map(JobId::from_bytes)
}

/// A callback. One that tells that a job completed or failed has its job's id alone, as versions before 0.3.0 had it.
pub(super) fn delivery(id: DeliveryId) -> Vec<u8> {
    let subject: &[u8] = match id.subject {
        DeliverySubject::End => &[],
        DeliverySubject::Cancelled => &[1],
        DeliverySubject::File(index) => &[&[2], index.to_be_bytes().as_slice()].concat(),
        // Never in the queue, which has nothing of the job by then; whoever asks for it finds nothing.
        DeliverySubject::Erased => &[3],
    };
    [id.job.as_bytes().as_slice(), subject].concat()
}

/// The callback that this key, or value, is.
pub(super) fn delivery_id(bytes: &[u8]) -> Option<DeliveryId> {
    let (job, subject) = bytes.split_at_checked(16)?;
    let subject = match subject {
        [] => DeliverySubject::End,
        [1] => DeliverySubject::Cancelled,
        [2, index @ ..] => DeliverySubject::File(u16::from_be_bytes(index.try_into().ok()?)),
        _ => return None,
    };
    Some(DeliveryId { job: id(job)?, subject })
}

/// Every callback about a job.
pub(super) fn deliveries_of(job: JobId) -> Range<Vec<u8>> {
    let first = DeliveryId { job, subject: DeliverySubject::End };
    delivery(first)..[job.as_bytes().as_slice(), &[0xFF]].concat()
}

/// Where a callback of this state is listed: as one of all, of its user and of its owner.
pub(super) fn listed_delivery(id: DeliveryId, owner: &Owner, state: DeliveryState, seq: u64) -> [Vec<u8>; 3] {
    let scopes = [DeliveryScope::All, DeliveryScope::User(owner.user_key()), DeliveryScope::Owner(owner.clone())];
    // Within a job the list has its end first, too: it is read backwards.
    let subject: Vec<u8> = delivery(id)[16..].iter().map(|byte| !byte).chain([0xFF]).collect();
    scopes.map(|scope| [deliveries_at(&scope, state, seq), subject.clone()].concat())
}

/// The part of the list of callbacks of a state that is older than a cursor.
pub(super) fn deliveries_before(
    scope: &DeliveryScope,
    state: DeliveryState,
    cursor: Option<&Cursor>,
) -> Result<Range<Vec<u8>>, QueueError> {
    let start = deliveries_at(scope, state, 0);
    let all = start.len() - SEQ_BYTES;
    let end = match cursor {
        None => vec![0xFF; SEQ_BYTES + 1],
        Some(Cursor(text)) => hex::decode(text).map_err(|_| QueueError::BadCursor)?,
    };
    let end = [&start[..all], end.as_slice()].concat();
    Ok(start..end)
}

/// Where the page after the callback that is listed here begins.
pub(super) fn delivery_cursor(scope: &DeliveryScope, listed: &[u8]) -> Cursor {
    let before = deliveries_at(scope, DeliveryState::Pending, 0).len() - SEQ_BYTES;
    Cursor(hex::encode(&listed[before..]))
}

fn deliveries_at(scope: &DeliveryScope, state: DeliveryState, seq: u64) -> Vec<u8> {
    let state = match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::GivenUp => 2,
    };
    let (tag, whose) = match scope {
        DeliveryScope::All => (0, Vec::new()),
        DeliveryScope::User(user) => (1, user.as_bytes()[..OWNER_BYTES].to_vec()),
        DeliveryScope::Owner(owner) => (2, short(owner).to_vec()),
    };
    [&[tag], whose.as_slice(), &[state], &seq.to_be_bytes()].concat()
}

/// The lists that a job is in, or those of this state: of all jobs, of its owner, of its user.
fn lists(job: &Job, state: Option<State>) -> [Filter; 3] {
    let of = |owner, user| Filter { state, owner, user, ..Filter::default() };
    let owner = &job.record.owner;
    [of(None, None), of(Some(owner.clone()), None), of(None, Some(owner.user_key()))]
}

fn listed(filter: &Filter, seq: u64) -> Vec<u8> {
    let (tag, whose) = match (&filter.owner, &filter.user) {
        (None, None) => (0, Vec::new()),
        (Some(owner), _) => (2, short(owner).to_vec()),
        (None, Some(user)) => (4, user.as_bytes()[..OWNER_BYTES].to_vec()),
    };
    let mut key = vec![u8::from(filter.state.is_some()) | tag];
    key.extend_from_slice(&whose);
    key.extend(filter.state.map(number));
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

fn of_hash(hash: &HashKey, seq: u64) -> Vec<u8> {
    [hash.as_str().as_bytes(), &[0], &seq.to_be_bytes()].concat()
}

fn of_reference(owner: &Owner, reference: &JobRef, seq: u64) -> Vec<u8> {
    // Of one length, whatever the caller's text is: no key is the beginning of another's.
    let reference = ContentHash::of(reference.as_str().as_bytes());
    [owner.digest().as_slice(), reference.as_bytes(), &seq.to_be_bytes()].concat()
}

/// Enough of the digest to tell owners apart in a key. Whoever reads compares the owner itself.
fn short(owner: &Owner) -> [u8; OWNER_BYTES] {
    let mut short = [0; OWNER_BYTES];
    short.copy_from_slice(&owner.digest()[..OWNER_BYTES]);
    short
}

fn number(state: State) -> u8 {
    match state {
        State::Pending => 0,
        State::Processing => 1,
        State::Completed => 2,
        State::Failed => 3,
        State::Cancelled => 4,
    }
}
