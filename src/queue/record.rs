//! How a record lies in a store: a version byte, then JSON. A version that was ever released stays readable, and what
//! is written is always the newest.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DeliveryRecord, DeliveryState, DeliveryTry, FileStored, Job};
use crate::clock::Timestamp;
use crate::job::{CallbackTarget, DeliveryId, JobId, KeptAnswer, Owner, UnreadableRecord};

const VERSION: u8 = 1;

/// The layout of all tables together; a store with a newer one is refused.
pub(in crate::queue) const SCHEMA: u32 = 1;

/// A job and what only the queue needs to know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::queue) struct StoredJob {
    pub(in crate::queue) job: Job,
    /// Of its last claim; 0 before the first.
    pub(in crate::queue) token: u64,
    /// How long it was told to wait when `not_before` was set: after a restart it waits no longer than that,
    /// whatever the wall clock has done.
    pub(in crate::queue) wait_ms: u64,
    /// Whether another node was asked to cancel it while it was worked on: it never waits again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::queue) is_called_off: bool,
    /// Whether all of its variants were made: what is left to do takes no place and no memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::queue) is_made: bool,
}

/// What a request is answered with when it is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::queue) struct StoredAnswer {
    pub(in crate::queue) answer: KeptAnswer,
    /// The job that the request became, if it became one.
    pub(in crate::queue) job: Option<JobId>,
    /// When it is given again no more.
    pub(in crate::queue) until: Timestamp,
}

/// Where in a [`StoredJob`] the job's record is, as a JSON Pointer.
const RECORD_OF_JOB: &str = "/job/record";

/// A callback, and what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::queue) struct StoredDelivery {
    pub(in crate::queue) due: Timestamp,
    /// As in [`StoredJob::wait_ms`].
    pub(in crate::queue) wait_ms: u64,
    pub(in crate::queue) attempts: u32,
    /// When what it tells of happened. None in what was written before 0.3.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::queue) since: Option<Timestamp>,
    /// Whose job it tells about, and which host is to be called. None in what was written before 0.3.0: then the job says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::queue) recipient: Option<StoredRecipient>,
    /// The place of its job, by which it is listed. None in what was written before 0.3.0, which is listed nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::queue) seq: Option<u64>,
    #[serde(default)]
    pub(in crate::queue) state: DeliveryState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::queue) last: Option<DeliveryTry>,
    /// What it tells of, if that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::queue) file: Option<FileStored>,
    /// Whether somebody asked for it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::queue) asked_again: bool,
}

impl StoredDelivery {
    /// One about `job` that is owed from now on.
    pub(in crate::queue) fn new(job: &Job, now: Timestamp, file: Option<FileStored>) -> Self {
        Self {
            due: now,
            wait_ms: 0,
            attempts: 0,
            since: Some(now),
            recipient: Some(StoredRecipient::of(job)),
            seq: Some(job.seq),
            state: DeliveryState::Pending,
            last: None,
            file,
            asked_again: false,
        }
    }

    /// What others are told of it.
    pub(in crate::queue) fn shown(self, id: DeliveryId) -> DeliveryRecord {
        let is_pending = self.state == DeliveryState::Pending;
        DeliveryRecord {
            id,
            state: self.state,
            host: self.recipient.map(|recipient| recipient.host).unwrap_or_default(),
            attempts: self.attempts,
            since: self.since.unwrap_or(self.due),
            next_attempt_at: is_pending.then_some(self.due),
            last: self.last,
        }
    }
}

/// What says whose turn a callback is, without its job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::queue) struct StoredRecipient {
    pub(in crate::queue) owner: Owner,
    /// The host alone: a URL's user name, path and query may hold secrets.
    pub(in crate::queue) host: String,
}

impl StoredRecipient {
    pub(in crate::queue) fn of(job: &Job) -> Self {
        let host = job.record.callback.as_ref().map(CallbackTarget::host);
        Self { owner: job.record.owner.clone(), host: host.unwrap_or_default().to_owned() }
    }
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::queue) enum RecordError {
    #[error("the record is empty")]
    Empty,
    #[error("the record has version {0}; this Pixerve reads version {VERSION}")]
    Version(u8),
    #[error(transparent)]
    Unreadable(UnreadableRecord),
}

pub(in crate::queue) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record)?;
    Ok(bytes)
}

pub(in crate::queue) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json)
            .map_err(|error| RecordError::Unreadable(UnreadableRecord::of(json, RECORD_OF_JOB, &error))),
        Some((&version, _)) => Err(RecordError::Version(version)),
        None => Err(RecordError::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_reads_its_golden_record() {
        let golden = [&[1], include_bytes!("../../tests/it/queue/job-v1.json").as_slice()].concat();
        let stored: StoredJob = decode(&golden).expect("it stays readable");
        assert_eq!((stored.token, stored.wait_ms, stored.job.seq), (3, 5000, 7));
    }

    #[test]
    fn a_record_of_an_unknown_version_is_refused() {
        let golden = br#"{"due":7,"wait_ms":3,"attempts":1}"#;
        let delivery: StoredDelivery = serde_json::from_slice(golden).expect("0.1.0 wrote no more");
        let mut bytes = encode(&delivery).expect("it serializes");
        assert_eq!(decode::<StoredDelivery>(&bytes).expect("it is of this version"), delivery);
        bytes[0] = 2;
        assert!(matches!(decode::<StoredDelivery>(&bytes), Err(RecordError::Version(2))));
        assert!(matches!(decode::<StoredDelivery>(&[]), Err(RecordError::Empty)));
    }

    #[test]
    fn why_a_record_is_unreadable_quotes_nothing_of_it() {
        let text = include_str!("../../tests/it/queue/job-v1.json");
        let secret = "https://app.example:port/hook?secret=canary";
        let damaged = text.replacen("https://", &format!("{secret} https://"), 1);
        assert_ne!(damaged, text);
        let bytes = [&[VERSION], damaged.as_bytes()].concat();
        let error = decode::<StoredJob>(&bytes).expect_err("its URL is none");
        assert!(!crate::error_chain::ErrorChain(&error).to_string().contains("canary"), "{error}");
    }
}
