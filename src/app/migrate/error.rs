//! Why a migration stops.

use std::io;
use std::path::PathBuf;

use tokio::task::JoinError;

use crate::app::home_mark::{HomeMarkError, MarkedHome};
use crate::app::start_error::StartError;
use crate::bucket::BucketError;
use crate::job::JobId;
use crate::ledger::LedgerError;
use crate::nodes::NodesError;
use crate::queue::QueueError;
use crate::redis_client::RedisError;
use crate::register::{RegisterError, SealingKeysError, SecretsError, WebhookSecretError};
use crate::spool::SpoolError;
use crate::worker::ReconcileError;
use crate::writer::WriteError;

/// Why a migration stopped, or didn't begin. What it has copied stays, and the next run goes on from there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MigrateError {
    #[error(
        "a migration needs the settings of both homes: of the machine PIXERVE_DATA_DIR, and of the nodes PIXERVE_QUEUE_URL and \
         PIXERVE_SPOOL_URL, which are not set"
    )]
    OneHome,
    #[error("this program was built without the cargo feature s3, and so knows no home of many nodes")]
    NotBuiltIn,
    #[error("nothing is kept in `{path}`: PIXERVE_DATA_DIR is to name the data directory of the server that moves", path = .path.display())]
    NoInstallation { path: PathBuf },
    #[error("a server is running on `{path}`: stop it first", path = .path.display())]
    ServerRuns { path: PathBuf },
    #[error(
        "{count} nodes are running, {ids} among them: stop all of them first; one that was killed is gone after some seconds"
    )]
    NodesRun { count: usize, ids: String },
    #[error("{home} is not empty: {what}. It is to be one that nobody has used")]
    NotEmpty { home: String, what: String },
    #[error("nothing can be moved from {home}: {marked}")]
    SourceMarked { home: String, marked: MarkedHome },
    #[error("nothing can be moved to {home}: {marked}")]
    DestinationMarked { home: String, marked: MarkedHome },
    #[error("this installation is on its way to {begun}, and can't go to {asked} meanwhile; {place} says so")]
    OtherDestination { begun: String, asked: String, place: String },
    #[error(
        "none of the {sealed} sealed things in {home} was sealed with a key in the file of sealing keys `{path}`: name the file that the \
         servers there had, by PIXERVE_VAULT_KEY_FILE", path = .path.display()
    )]
    WrongKeys { home: String, sealed: usize, path: PathBuf },
    #[error(
        "{count} jobs have no original any more, {ids} among them: nodes would take them for ended. Cancel them first \
         (DELETE /cancel?job_id=...), on the server that has them"
    )]
    OriginalsMissing { count: usize, ids: String },
    #[error("the original of job {job} is not what was accepted: {why}")]
    Original { job: JobId, why: String },
    #[error("the journal of job {job} is not the same there as here")]
    Journal { job: JobId },
    #[error("job {job} is not there after it was moved")]
    NotThere { job: JobId },
    #[error("the served file `{path}` can't be used")]
    Served { path: PathBuf, source: io::Error },
    #[error(
        "what is in Redis is of another migration, or somebody has used it: name a database that is empty (PIXERVE_QUEUE_URL)"
    )]
    RedisUsed,
    #[error("Redis can't be reached")]
    RedisAway,
    #[error(transparent)]
    Mark(#[from] HomeMarkError),
    #[error(transparent)]
    SealingKeys(#[from] SealingKeysError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Nodes(#[from] NodesError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(
        "{count} erasures are under way in {home}: start it again until they are done (GET /erasures/<id> says so)"
    )]
    ErasuresRun { home: String, count: usize },
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    CallbackSecret(#[from] WebhookSecretError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error("a task of the migration died: {0}")]
    Task(#[from] JoinError),
}

impl MigrateError {
    /// Whether settings, or what they name, have to be changed before another run can succeed.
    #[must_use]
    pub fn is_about_settings(&self) -> bool {
        match self {
            Self::OneHome
            | Self::NotBuiltIn
            | Self::NoInstallation { .. }
            | Self::NotEmpty { .. }
            | Self::SourceMarked { .. }
            | Self::DestinationMarked { .. }
            | Self::OtherDestination { .. }
            | Self::WrongKeys { .. }
            | Self::RedisUsed
            | Self::SealingKeys(_) => true,
            Self::Start(error) => error.is_about_settings(),
            _ => false,
        }
    }

    /// Whether the same may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Bucket(error) => error.may_pass(),
            #[cfg(feature = "s3")]
            Self::Mark(HomeMarkError::Bucket(error)) => error.may_pass(),
            Self::Queue(error) => matches!(error, QueueError::Unavailable { .. }),
            Self::Spool(error) => error.is_shortage(),
            Self::Write(error) => error.is_transient(),
            _ => false,
        }
    }
}
