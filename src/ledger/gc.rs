//! Comparisons of what stores have with what the ledger knows ("garbage comparison"): what is asked for, what is found, and who
//! is at it. There is one at a time, whichever node does it.

use std::fmt::{self, Debug};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::{NoContext, Uuid};

use super::LedgerError;
use crate::clock::Timestamp;

/// A UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GcId(Uuid);

impl GcId {
    /// A new one for a comparison that begins `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let nanos = u32::try_from(now.as_millis() % 1000).unwrap_or(0) * 1_000_000;
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, now.as_secs(), nanos)))
    }
}

impl fmt::Display for GcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl FromStr for GcId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What is to be done with what nothing is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// It is written down, as far as records and names tell whose it is.
    pub adopt: bool,
    /// It is deleted: with `adopt` what is left of it then.
    pub delete: bool,
    /// What is younger is left alone.
    pub older_than: Duration,
}

impl GcRequest {
    /// Nothing younger is ever touched: what has just been written may not be written down yet.
    pub const OLDER_THAN_MIN: Duration = Duration::from_hours(24);
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GcState {
    /// It goes on.
    Running,
    /// All that could be looked at was.
    Done,
    /// It broke off, since the ledger or the queue can't be asked: the report says of what it saw until then.
    Failed,
    /// The server that was at it stopped, or died.
    Stopped,
}

impl GcState {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRun {
    /// Its id.
    pub id: GcId,
    /// What was asked for.
    pub request: GcRequest,
    /// How far it is.
    pub state: GcState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it has found so far.
    pub report: GcReport,
}

impl GcRun {
    /// One that begins now.
    #[must_use]
    pub fn begin(request: GcRequest, now: Timestamp) -> Self {
        let report = GcReport::default();
        Self { id: GcId::new(now), request, state: GcState::Running, started_at: now, ended_at: None, report }
    }
}

/// How many files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileCount {
    /// How many; a file in two stores is two.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl FileCount {
    /// One more.
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcReport {
    /// What the ledger knows.
    pub known: FileCount,
    /// What has a name of ours, and nobody knows.
    pub unknown: UnknownFiles,
    /// What is unknown and too young to be touched.
    pub young: u64,
    /// What is unknown, and a live job or an erasure has to do with.
    pub busy: u64,
    /// What has a name that isn't ours. It is never touched.
    pub foreign: u64,
    /// What the ledger knows and no store has.
    pub missing: MissingFiles,
    /// What was written down.
    pub adopted: FileCount,
    /// What was deleted.
    pub deleted: FileCount,
    /// What was to be deleted, and isn't: its store refuses, or somebody has written it meanwhile.
    pub left: u64,
    /// Every store, and why it could not be looked at.
    pub stores: Vec<GcStore>,
}

/// Files that nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownFiles {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them can be written down, and why the others can't.
    pub adoptable: AdoptableCount,
    /// The first of them.
    pub examples: Vec<UnknownFile>,
}

/// Files by what is known of their owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptableCount {
    /// The record of their job says that they are stored.
    pub by_record: u64,
    /// Their names, or other files of the same owner, tell whose they are.
    pub by_name: u64,
    /// Their names have a digest of an owner of whom nothing else is known.
    pub unknown_owner: u64,
    /// Their names may be those of several owners' files.
    pub unclear_owner: u64,
}

/// A file that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownFile {
    /// `directHost`, `s3` or `gcs`.
    pub backend: String,
    /// Where.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since it was written, by its store's clock.
    pub age: u64,
    /// Whether it can be written down.
    pub adoptable: bool,
}

/// Places that the ledger names and at which nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingFiles {
    /// How many.
    pub files: u64,
    /// How many places were looked for: not those in stores that could not be looked at, nor of jobs that have just ended; where there
    /// are millions, a part.
    pub looked_for: u64,
    /// The first of them.
    pub examples: Vec<MissingFile>,
}

/// A place at which nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingFile {
    /// `directHost`, `s3` or `gcs`.
    pub backend: String,
    /// Where.
    pub location: String,
    /// The job whose file it was.
    pub job_id: String,
}

/// A store that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcStore {
    /// `directHost`, `s3` or `gcs`.
    pub backend: String,
    /// What it is registered under; none for what the server serves itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub access_key: Option<String>,
    /// What every location in it begins with.
    pub base: String,
    /// How many files it has, as far as was looked.
    pub files: u64,
    /// Why it could not be looked at to its end, or why a file could not be deleted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

/// Who is at it, and what came of it.
#[async_trait]
pub trait GcRuns: Debug + Send + Sync {
    /// Begins a comparison, unless another is under way: then its id is answered. Of two that begin at the same time, both may be
    /// told so.
    async fn begin_gc(&self, run: &GcRun) -> Result<Option<GcId>, LedgerError>;

    /// Notes how far it is. One that goes on must be noted every [`GC_NOTED_EVERY`]: else it counts as stopped.
    async fn note_gc(&self, run: &GcRun) -> Result<(), LedgerError>;

    /// A comparison that goes on, or that ended not long ago.
    async fn gc_run(&self, id: &GcId) -> Result<Option<GcRun>, LedgerError>;
}

/// How often a comparison that goes on is noted.
pub const GC_NOTED_EVERY: Duration = Duration::from_secs(10);
/// One that was noted longer ago has stopped.
#[cfg(feature = "s3")]
pub(super) const GC_STOPPED_AFTER: Duration = Duration::from_mins(1);
