//! What the queue's state machine asks of whatever keeps its records: ordered tables, and batches that happen wholly
//! or not at all.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use crate::queue::QueueError;

/// The tables. Keys sort as bytes; integers in them are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Id -> record, of pending and processing jobs.
    Jobs,
    /// Id -> record, of completed jobs.
    Success,
    /// Id -> record, of failed and cancelled jobs.
    Failures,
    /// Every job under six keys, one for each way of listing -> id.
    Listing,
    /// Hash, NUL, seq -> id: the newest is the last.
    ByHash,
    /// When it ended, id -> nothing.
    ByDone,
    /// Owner and `ref` (digests), seq -> id: the newest is the last.
    ByRef,
    /// Digest of a token that is good for one upload -> the job that has used it.
    UsedTokens,
    /// When a used token is taken no more, its digest -> nothing.
    UsedTokensByEnd,
    /// Idempotency key -> what its request is answered with.
    Answers,
    /// When an answer is given again no more, its key -> nothing.
    AnswersByEnd,
    /// Callback -> when it is due, of those that are owed.
    Outbox,
    /// Callback -> what became of it, of the others.
    Deliveries,
    /// Every callback under three keys, by whose they are -> callback.
    DeliveryListing,
    /// Schema and high-water marks.
    Meta,
    /// Key -> record that could not be read, kept for a person to look at.
    Unreadable,
}

impl Table {
    pub(super) const ALL: [Self; 16] = [
        Self::Jobs,
        Self::Success,
        Self::Failures,
        Self::Listing,
        Self::ByHash,
        Self::ByDone,
        Self::ByRef,
        Self::UsedTokens,
        Self::UsedTokensByEnd,
        Self::Answers,
        Self::AnswersByEnd,
        Self::Outbox,
        Self::Deliveries,
        Self::DeliveryListing,
        Self::Meta,
        Self::Unreadable,
    ];

    /// The tables that hold jobs' records, in the order in which a job moves through them.
    pub(super) const OF_JOBS: [Self; 3] = [Self::Jobs, Self::Success, Self::Failures];

    /// The tables that hold callbacks.
    pub(super) const OF_DELIVERIES: [Self; 2] = [Self::Outbox, Self::Deliveries];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Success => "success",
            Self::Failures => "failures",
            Self::Listing => "listing",
            Self::ByHash => "by_hash",
            Self::ByDone => "by_done",
            Self::ByRef => "by_ref",
            Self::UsedTokens => "used_tokens",
            Self::UsedTokensByEnd => "used_tokens_by_end",
            Self::Answers => "answers",
            Self::AnswersByEnd => "answers_by_end",
            Self::Outbox => "outbox",
            Self::Deliveries => "deliveries",
            Self::DeliveryListing => "delivery_listing",
            Self::Meta => "meta",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Changes that belong together.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<Change>);

/// One change: a value to write, or none to remove.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl Batch {
    pub(super) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change { table, key: key.into(), value: Some(value.into()) });
    }

    pub(super) fn remove(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.0.push(Change { table, key: key.into(), value: None });
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.0
    }
}

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanOrder {
    Ascending,
    Descending,
}

/// A key and its value.
pub(super) type TableEntry = (Vec<u8>, Vec<u8>);

/// Ordered tables. Every call may block.
pub(super) trait RecordStore: Send + Sync + 'static {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordStoreError>;

    /// The first `limit` entries of a range.
    fn range(
        &self,
        table: Table,
        keys: Range<&[u8]>,
        order: ScanOrder,
        limit: usize,
    ) -> Result<Vec<TableEntry>, RecordStoreError>;

    /// How many entries a range has.
    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, RecordStoreError>;

    /// Makes all changes in the order given, or none; visible at once, durable after [`RecordStore::sync`].
    fn apply(&self, batch: &Batch) -> Result<(), RecordStoreError>;

    /// Makes every change so far as durable as the store can.
    fn sync(&self) -> Result<(), RecordStoreError>;

    /// Closes it well.
    fn close(self) -> Result<(), RecordStoreError>;

    /// The same, and leaves nothing of what was removed in any file of its own.
    fn close_rewritten(self) -> Result<(), RecordStoreError>
    where
        Self: Sized,
    {
        self.close()
    }
}

/// Why a store failed. Cloneable, since every call of a batch has to be told.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum RecordStoreError {
    #[error("no space left")]
    StorageFull,
    #[error("{what} failed")]
    Failed {
        what: &'static str,
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl RecordStoreError {
    pub(super) fn failed(what: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed { what, source: Arc::new(source) }
    }
}

impl From<RecordStoreError> for QueueError {
    fn from(error: RecordStoreError) -> Self {
        match error {
            RecordStoreError::StorageFull => Self::StorageFull,
            error @ RecordStoreError::Failed { what, .. } => {
                Self::Unavailable { what: what.to_owned(), source: Some(Box::new(error)) }
            }
        }
    }
}
