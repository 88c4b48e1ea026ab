//! What the tables have, in the order in which another queue takes it in.

use super::key;
use super::read;
use super::store::{RecordStore, ScanOrder, Table};
use crate::clock::Timestamp;
use crate::job::{ContentHash, OnceToken};
use crate::queue::transfer::TRANSFERRED_AT_ONCE;
use crate::queue::{QueueError, TransferCursor, TransferEntry, TransferPage, TransferredJob};

/// The page behind `from`.
pub(super) fn export<S: RecordStore>(
    records: &S,
    from: Option<&TransferCursor>,
    now: Timestamp,
) -> Result<TransferPage, QueueError> {
    match from {
        None => jobs(records, 0, now),
        Some(TransferCursor::Job(seq)) => jobs(records, seq.saturating_add(1), now),
        Some(TransferCursor::Token(last)) => tokens(records, last.as_ref()),
    }
}

fn jobs<S: RecordStore>(records: &S, from: u64, now: Timestamp) -> Result<TransferPage, QueueError> {
    let keys = key::listing_from(from);
    let listed = records.range(Table::Listing, &keys.start..&keys.end, ScanOrder::Ascending, TRANSFERRED_AT_ONCE)?;
    let mut page = TransferPage::default();
    let mut last = None;
    for (listed, id) in &listed {
        last = key::listed_place(listed).or(last);
        let Some(stored) = key::id(id).map(|id| read::stored(records, &id)).transpose()?.flatten() else {
            page.unreadable += 1;
            continue;
        };
        let deliveries = read::deliveries_of(records, stored.job.record.id)?;
        let request = stored.job.record.idempotency.as_ref();
        let answer = request.map(|request| read::answer(records, &request.key)).transpose()?.flatten();
        let answer = answer.filter(|answer| now < answer.until);
        page.entries.push(TransferEntry::Job(Box::new(TransferredJob::new(stored, deliveries, answer)?)));
    }
    let has_more = listed.len() == TRANSFERRED_AT_ONCE;
    page.next = Some(last.filter(|_| has_more).map_or(TransferCursor::Token(None), TransferCursor::Job));
    Ok(page)
}

fn tokens<S: RecordStore>(records: &S, last: Option<&OnceToken>) -> Result<TransferPage, QueueError> {
    let from = last.map(|last| [key::used_token_end(last).as_slice(), &[0]].concat()).unwrap_or_default();
    let listed =
        records.range(Table::UsedTokensByEnd, &from..key::AFTER_TOKENS, ScanOrder::Ascending, TRANSFERRED_AT_ONCE)?;
    let mut page = TransferPage::default();
    let mut last = None;
    for (ended, _) in &listed {
        let Some(token) = token_of_end(ended) else { continue };
        if let Some(job) = read::user_of_token(records, &token.digest)? {
            page.entries.push(TransferEntry::UsedToken { token, job });
        }
        last = Some(token);
    }
    let has_more = listed.len() == TRANSFERRED_AT_ONCE;
    page.next = last.filter(|_| has_more).map(|token| TransferCursor::Token(Some(token)));
    Ok(page)
}

/// The token of a [`key::used_token_end`] key.
fn token_of_end(key: &[u8]) -> Option<OnceToken> {
    let (good_until, digest) = key.split_first_chunk()?;
    let good_until = Timestamp::from_millis(u64::from_be_bytes(*good_until));
    Some(OnceToken { digest: ContentHash::from_hex(&hex::encode(digest))?, good_until })
}
