//! What a callback tells of, and whom: a job that the queue knows, or one that is erased.

use std::sync::Arc;

use bytes::Bytes;

use super::payload::{self, PayloadError};
use crate::clock::Timestamp;
use crate::job::{CallbackTarget, DeliveryId, HashKey, Owner, PublicUrl, TraceContext};
use crate::ledger::ErasedJob;
use crate::queue::DeliveryContent;

/// What a callback tells of.
#[derive(Clone, Debug)]
pub enum CallbackContent {
    /// A job, or a file of one, that the queue knows.
    Job(Box<DeliveryContent>),
    /// A job that is erased.
    Erased(Arc<ErasedJob>),
}

impl CallbackContent {
    /// Where it goes; nowhere if the job owes no callback.
    pub(super) fn target(&self) -> Option<&CallbackTarget> {
        match self {
            Self::Job(content) => content.job.record.callback.as_ref(),
            Self::Erased(job) => Some(&job.recipient.target),
        }
    }

    /// The host alone: a URL's user name, path and query may hold secrets.
    pub(super) fn host(&self) -> &str {
        self.target().map(CallbackTarget::host).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> &HashKey {
        match self {
            Self::Job(content) => &content.job.record.hash,
            Self::Erased(job) => &job.hash,
        }
    }

    /// Whose job it is, and when that was accepted: by that it is known whose secrets sign.
    pub(super) fn accepted(&self) -> (&Owner, Timestamp) {
        match self {
            Self::Job(content) => (&content.job.record.owner, content.job.record.created_at),
            Self::Erased(job) => (&job.owner, job.recipient.accepted_at),
        }
    }

    /// The trace of its upload, which an erased job is no part of any more.
    pub(super) fn trace(&self) -> Option<&TraceContext> {
        match self {
            Self::Job(content) => content.job.record.trace.as_ref(),
            Self::Erased(_) => None,
        }
    }

    /// The JSON that is sent as `id`.
    pub(super) fn body(&self, id: &DeliveryId, public_url: &PublicUrl) -> Result<Bytes, PayloadError> {
        match self {
            Self::Job(content) => payload::body(id, content, public_url),
            Self::Erased(job) => payload::erased_body(id, job, public_url),
        }
    }
}
