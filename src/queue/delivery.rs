//! Callbacks: on their way out of the queue, and what became of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cursor, Job};
use crate::clock::Timestamp;
use crate::job::{DeliveryId, Owner, StoredFile, UserKey};

/// A callback that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which one.
    pub id: DeliveryId,
    /// Whose job it tells about.
    pub owner: Owner,
    /// The host that is to be called.
    pub host: String,
    /// Tries made before this one.
    pub attempts: u32,
}

/// What a callback tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryContent {
    /// The job as it is now.
    pub job: Job,
    /// The file that is in all of its stores, if it is about that.
    pub file: Option<FileStored>,
}

/// That a file is in all of its stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStored {
    /// The file.
    pub file: StoredFile,
    /// How often the job had changed by then, as its events count it; more where that would not be more than another file's.
    pub sequence: u64,
}

/// One try to deliver a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTry {
    /// When it began.
    pub at: Timestamp,
    /// Which one it is since the callback was owed, from 1.
    #[serde(default)]
    pub number: u32,
    /// What the receiver answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took.
    pub duration_ms: u64,
    /// Why it failed, in words that hold no secret; none if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of a try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver has it.
    Delivered,
    /// It is not tried again by itself.
    GivenUp,
    /// Nothing came of it, and nothing will before the queue is opened again: then it is due. It counts as no try.
    Held,
    /// To be retried after this has passed.
    Retry(Duration),
}

/// Where a callback is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is owed.
    #[default]
    Pending,
    /// The receiver has it.
    Delivered,
    /// It is not tried again by itself.
    GivenUp,
}

impl DeliveryState {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::GivenUp];

    /// Its word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

/// What is known of a callback, as long as its job's record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Which one.
    pub id: DeliveryId,
    /// Where it is.
    pub state: DeliveryState,
    /// The host that is called.
    pub host: String,
    /// Tries made since it was owed, or asked for again.
    pub attempts: u32,
    /// When what it tells of happened.
    pub since: Timestamp,
    /// When it is tried next, while it is owed.
    pub next_attempt_at: Option<Timestamp>,
    /// The last try.
    pub last: Option<DeliveryTry>,
}

/// Whose callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryScope {
    /// Everybody's.
    All,
    /// Those of all owners of a user.
    User(UserKey),
    /// Those of one owner.
    Owner(Owner),
}

impl DeliveryScope {
    /// Whether those of `owner` are among them.
    #[must_use]
    pub fn has(&self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::User(user) => owner.user_key() == *user,
            Self::Owner(own) => owner == own,
        }
    }
}

/// Which callbacks to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbacksOf {
    /// Those that are owed, and those of jobs that have not ended.
    Owed,
    /// Every one that may be made, or made again.
    Kept,
}

/// A part of a list of callbacks, those of the newest job first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryPage {
    /// At most as many as were asked for.
    pub deliveries: Vec<DeliveryRecord>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}
