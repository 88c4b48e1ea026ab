//! Looking jobs up. A job moves from live to ended in one batch and never back, so a look that goes the same way
//! doesn't miss it.

use std::ops::Range;

use memchr::memmem::Finder;

use super::key;
use super::store::{RecordStore, ScanOrder, Table};
use crate::error_chain::ErrorChain;
use crate::job::{CallbackTarget, ContentHash, DeliveryId, HashKey, IdempotencyKey, JobId, JobRef, Owner};
use crate::queue::listing::ListOrder;
use crate::queue::record::{self, StoredAnswer, StoredDelivery, StoredJob, readable_delivery};
use crate::queue::{
    CallbacksOf, Cursor, DeliveryPage, DeliveryScope, DeliveryState, Filter, Job, PAGE_MAX, Page, PageRequest,
    QueueError,
};

/// Entries of a list that are looked at for one page: those of uploads that began too late are passed over.
const LISTED_AT_MOST: usize = 20_000;
/// Jobs of one hash, or of one `ref`, that are looked up at once.
const INDEXED_AT_ONCE: usize = 4;

/// A job with what only the queue knows of it.
pub(super) fn stored<S: RecordStore>(records: &S, id: &JobId) -> Result<Option<StoredJob>, QueueError> {
    for table in Table::OF_JOBS {
        if let Some(stored) = stored_in(records, table, id)? {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// The same, looked for in one table.
pub(super) fn stored_in<S: RecordStore>(
    records: &S,
    table: Table,
    id: &JobId,
) -> Result<Option<StoredJob>, QueueError> {
    let Some(bytes) = records.get(table, id.as_bytes())? else { return Ok(None) };
    match record::decode(&bytes) {
        Ok(stored) => Ok(Some(stored)),
        // As good as gone: whoever writes sets it aside and rebuilds it, if the spool has it still.
        Err(error) => {
            tracing::error!(job_id = %id, table = table.name(), error = %ErrorChain(&error), "unreadable job record");
            Ok(None)
        }
    }
}

/// The job with this id.
pub(super) fn job<S: RecordStore>(records: &S, id: &JobId) -> Result<Option<Job>, QueueError> {
    Ok(stored(records, id)?.map(|stored| stored.job))
}

/// The job that has used this token.
pub(super) fn user_of_token<S: RecordStore>(records: &S, token: &ContentHash) -> Result<Option<JobId>, QueueError> {
    Ok(records.get(Table::UsedTokens, token.as_bytes())?.and_then(|id| key::id(&id)))
}

/// What the request with this key was answered with, if ever, however long ago.
pub(super) fn answer<S: RecordStore>(records: &S, key: &IdempotencyKey) -> Result<Option<StoredAnswer>, QueueError> {
    let Some(bytes) = records.get(Table::Answers, key.as_bytes())? else { return Ok(None) };
    let decoded = record::decode(&bytes);
    Ok(decoded.inspect_err(|error| tracing::error!(error = %ErrorChain(error), "unreadable answer to a request")).ok())
}

/// The newest job with this hash.
pub(super) fn newest<S: RecordStore>(records: &S, hash: &HashKey) -> Result<Option<Job>, QueueError> {
    newest_in(records, Table::ByHash, key::hash(hash), |_| true)
}

/// Every job with this hash, the newest first.
pub(super) fn of_hash<S: RecordStore>(records: &S, hash: &HashKey) -> Result<Vec<Job>, QueueError> {
    let keys = key::hash(hash);
    let entries = records.range(Table::ByHash, &keys.start..&keys.end, ScanOrder::Descending, usize::MAX)?;
    let jobs = entries.iter().filter_map(|(_, id)| key::id(id)).map(|id| job(records, &id));
    jobs.filter_map(Result::transpose).collect()
}

/// Every job of any of these hashes.
pub(super) fn of_hashes<S: RecordStore>(records: &S, hashes: &[HashKey]) -> Result<Vec<Job>, QueueError> {
    let jobs = hashes.iter().map(|hash| of_hash(records, hash)).collect::<Result<Vec<_>, _>>()?;
    Ok(jobs.into_iter().flatten().collect())
}

/// The newest job of this owner with this hash. Most often the newest of all: only another holder of the user's name has
/// the same hash.
pub(super) fn newest_of<S: RecordStore>(records: &S, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
    newest_in(records, Table::ByHash, key::hash(hash), |job| job.record.owner == *owner)
}

/// The newest job of this owner with this `ref`.
pub(super) fn newest_of_reference<S: RecordStore>(
    records: &S,
    owner: &Owner,
    reference: &JobRef,
) -> Result<Option<Job>, QueueError> {
    let is_it = |job: &Job| job.record.owner == *owner && job.record.reference.as_ref() == Some(reference);
    newest_in(records, Table::ByRef, key::reference(owner, reference), is_it)
}

/// The newest job that an index has under these keys and that `is_it`.
fn newest_in<S: RecordStore>(
    records: &S,
    index: Table,
    mut keys: Range<Vec<u8>>,
    is_it: impl Fn(&Job) -> bool,
) -> Result<Option<Job>, QueueError> {
    loop {
        let entries = records.range(index, &keys.start..&keys.end, ScanOrder::Descending, INDEXED_AT_ONCE)?;
        let Some((last, _)) = entries.last() else { return Ok(None) };
        keys.end.clone_from(last);
        for id in entries.iter().filter_map(|(_, id)| key::id(id)) {
            if let Some(job) = job(records, &id)?.filter(&is_it) {
                return Ok(Some(job));
            }
        }
    }
}

/// How many live jobs have files for the store of this access key. Only the records that have its text in them are read as such.
pub(super) fn live_of_store<S: RecordStore>(records: &S, access_key: &str) -> Result<u64, QueueError> {
    let (text, mut from, mut count) = (Finder::new(access_key), Vec::new(), 0);
    loop {
        let entries = records.range(Table::Jobs, &from..key::AFTER_IDS, ScanOrder::Ascending, PAGE_MAX)?;
        let Some((last, _)) = entries.last() else { return Ok(count) };
        from = [last.as_slice(), &[0]].concat();
        for (id, _) in entries.iter().filter(|(_, record)| text.find(record).is_some()) {
            let Some(id) = key::id(id) else { continue };
            let stored = stored_in(records, Table::Jobs, &id)?;
            let names =
                |stored: &StoredJob| stored.job.record.spec.storage.iter().any(|key| key.access_key == access_key);
            count += u64::from(stored.as_ref().is_some_and(names));
        }
    }
}

/// The live job of this owner with this hash: the newest, since those that wait for it live too. One that lives behind a
/// newer one that has been cancelled is missed.
pub(super) fn live<S: RecordStore>(records: &S, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
    Ok(newest_of(records, hash, owner)?.filter(|job| !job.state.is_terminal()))
}

/// A part of a list, in this order.
pub(super) fn page<S: RecordStore>(
    records: &S,
    filter: &Filter,
    order: ListOrder,
    request: &PageRequest,
) -> Result<Page, QueueError> {
    let limit = request.entries();
    let mut keys = key::listing_behind(filter, order, request.cursor.as_ref(), least_place(records, filter)?)?;
    let begun_before = filter.begun_before();
    let scan = match order {
        ListOrder::NewestFirst => ScanOrder::Descending,
        ListOrder::OldestFirst => ScanOrder::Ascending,
    };
    let at_once = if begun_before.is_some() { PAGE_MAX + 1 } else { limit + 1 };
    let (mut jobs, mut looked_at, mut behind) = (Vec::with_capacity(limit), 0, None);
    loop {
        let entries = records.range(Table::Listing, &keys.start..&keys.end, scan, at_once)?;
        let exhausted = entries.len() < at_once;
        for (listed, id) in entries {
            if looked_at == LISTED_AT_MOST {
                return Ok(Page { jobs, next: behind });
            }
            looked_at += 1;
            behind = key::listed_place(&listed).map(Cursor::behind);
            match order {
                ListOrder::NewestFirst => keys.end.clone_from(&listed),
                ListOrder::OldestFirst => keys.start = [listed.as_slice(), &[0]].concat(),
            }
            let Some(id) = key::id(&id) else { continue };
            if begun_before.is_some_and(|before| id.made_at() >= before) {
                continue;
            }
            let Some(found) = job(records, &id)? else { continue };
            // It may have moved on since it was listed, and another owner's key may begin alike.
            if !lists(filter, &found) || !listed.ends_with(&found.seq.to_be_bytes()) {
                continue;
            }
            if jobs.len() == limit {
                let next = jobs.last().map(|last: &Job| Cursor::behind(last.seq));
                return Ok(Page { jobs, next });
            }
            jobs.push(found);
        }
        if exhausted {
            return Ok(Page { jobs, next: None });
        }
    }
}

/// Where a list may begin. What was queued before places told the time has lower ones than any time.
fn least_place<S: RecordStore>(records: &S, filter: &Filter) -> Result<u64, QueueError> {
    let Some(least) = filter.least_place() else { return Ok(0) };
    let timed = records.get(Table::Meta, key::TIMED_PLACES)?.and_then(|bytes| bytes.try_into().ok());
    let timed_from = timed.map_or(u64::MAX, u64::from_be_bytes);
    Ok(if least / 1000 >= timed_from { least } else { 0 })
}

/// Where a callback is looked for. It moves from the first table to the second, and back when it is asked for again: looked
/// for so, it isn't missed.
const LOOKED_FOR: [Table; 3] = [Table::Outbox, Table::Deliveries, Table::Outbox];

/// What is known of a callback.
pub(super) fn delivery<S: RecordStore>(records: &S, id: &DeliveryId) -> Result<Option<StoredDelivery>, QueueError> {
    for table in LOOKED_FOR {
        if let Some(delivery) = delivery_in(records, table, id)? {
            return Ok(Some(delivery));
        }
    }
    Ok(None)
}

/// The same, looked for in one table.
pub(super) fn delivery_in<S: RecordStore>(
    records: &S,
    table: Table,
    id: &DeliveryId,
) -> Result<Option<StoredDelivery>, QueueError> {
    Ok(records.get(table, &key::delivery(*id))?.and_then(|bytes| readable_delivery(id, &bytes)))
}

/// What is known of a job's callbacks, that of its end first.
pub(super) fn deliveries_of<S: RecordStore>(
    records: &S,
    job: JobId,
) -> Result<Vec<(DeliveryId, StoredDelivery)>, QueueError> {
    let keys = key::deliveries_of(job);
    let mut deliveries = Vec::new();
    for table in LOOKED_FOR {
        for (key, bytes) in records.range(table, &keys.start..&keys.end, ScanOrder::Ascending, usize::MAX)? {
            let Some(id) = key::delivery_id(&key) else { continue };
            deliveries.extend(readable_delivery(&id, &bytes).map(|delivery| (id, delivery)));
        }
    }
    deliveries.sort_by_key(|(id, _)| *id);
    deliveries.dedup_by_key(|(id, _)| *id);
    Ok(deliveries)
}

/// A part of the list of callbacks in a state, of the newest job first.
pub(super) fn delivery_page<S: RecordStore>(
    records: &S,
    scope: &DeliveryScope,
    state: DeliveryState,
    request: &PageRequest,
) -> Result<DeliveryPage, QueueError> {
    let limit = request.entries();
    let mut keys = key::deliveries_before(scope, state, request.cursor.as_ref())?;
    let mut page = DeliveryPage::default();
    loop {
        let entries =
            records.range(Table::DeliveryListing, &keys.start..&keys.end, ScanOrder::Descending, limit + 1)?;
        let exhausted = entries.len() <= limit;
        for (listed, id) in entries {
            if page.deliveries.len() == limit {
                page.next = Some(key::delivery_cursor(scope, &keys.end));
                return Ok(page);
            }
            keys.end.clone_from(&listed);
            let Some(id) = key::delivery_id(&id) else { continue };
            let Some(delivery) = delivery(records, &id)? else { continue };
            // It may have moved on since it was listed, and another's key may begin alike.
            let is_of = delivery.recipient.as_ref().is_some_and(|recipient| scope.has(&recipient.owner));
            if delivery.state == state && is_of {
                page.deliveries.push(delivery.shown(id));
            }
        }
        if exhausted {
            return Ok(page);
        }
    }
}

/// Calls `visit` for the callback of every live job and for every one that is owed; with `Kept`, for every other that may be
/// asked for again, too.
pub(super) fn each_callback<S: RecordStore>(
    records: &S,
    which: CallbacksOf,
    mut visit: impl FnMut(&JobId, &CallbackTarget),
) -> Result<(), QueueError> {
    let tables: &[Table] = match which {
        CallbacksOf::Owed => &[Table::Jobs, Table::Outbox],
        CallbacksOf::Kept => &Table::OF_JOBS,
    };
    for table in tables {
        let mut from = Vec::new();
        loop {
            let entries = records.range(*table, &from..key::AFTER_IDS, ScanOrder::Ascending, PAGE_MAX)?;
            let Some((last, _)) = entries.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for id in entries.iter().filter_map(|(key, _)| key::delivery_id(key)) {
                if let Some(target) = job(records, &id.job)?.and_then(|job| job.record.callback) {
                    visit(&id.job, &target);
                }
            }
        }
    }
    Ok(())
}

fn lists(filter: &Filter, job: &Job) -> bool {
    let owner = &job.record.owner;
    filter.state.is_none_or(|state| state == job.state)
        && filter.owner.as_ref().is_none_or(|listed| listed == owner)
        && (filter.owner.is_some() || filter.user.is_none_or(|user| user == owner.user_key()))
        && filter.covers(job.record.created_at)
}
