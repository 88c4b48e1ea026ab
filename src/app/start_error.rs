//! Why a server didn't start.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::JoinError;

use super::home_mark::HomeMarkError;
use crate::auth::KeyRingError;
use crate::bucket::BucketError;
use crate::disks::DirectoryError;
use crate::ledger::LedgerError;
use crate::nodes::{Finding, NodesError};
use crate::queue::QueueError;
use crate::redis_client::RedisError;
use crate::register::{InstallationError, PresetFilesError, RegisterError, SealingKeysError, WebhookSecretError};
use crate::spool::SpoolError;
use crate::worker::ReconcileError;
use crate::writer::WriteError;

/// Why the server didn't start: what was attempted, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("the directory {path} can't be used")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Unwritable(#[from] DirectoryError),
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    Presets(#[from] PresetFilesError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    SealingKeys(#[from] SealingKeysError),
    #[error(transparent)]
    CallbackSecret(#[from] WebhookSecretError),
    #[error(
        "there is no file of sealing keys `{path}`, but there are registrations or callbacks that it sealed: restore it from its \
         backup, or say by PIXERVE_VAULT_KEY_FILE where it is. If there is none, make a new one (umask 077; head -c 32 \
         /dev/urandom | base64 > {path}): then what was sealed stays unreadable", path = .path.display()
    )]
    SealingKeysMissing { path: PathBuf },
    #[error(
        "the memory for all jobs ({bytes} bytes, half of what this machine or its cgroup has) fits no job, which takes \
         {least}: give it more, or set PIXERVE_WORKER_MEMORY_BUDGET", least = crate::pipeline::JOB_BYTES_MIN
    )]
    MemoryBudget { bytes: u64 },
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    RedisClient(#[from] RedisError),
    #[error(transparent)]
    Nodes(#[from] NodesError),
    #[error(
        "the register in the bucket is of installation {ours}, and the nodes on this Redis share that of {found}: one of \
         PIXERVE_SPOOL_URL, PIXERVE_SPOOL_ENDPOINT and PIXERVE_QUEUE_URL names what belongs to others"
    )]
    OtherRegister { ours: String, found: String },
    #[error("Redis can't be used: {}", shown(.findings))]
    Redis { findings: Vec<Finding> },
    #[error(transparent)]
    Home(#[from] HomeMarkError),
    #[error("Redis answers no beat of this node: {why}")]
    NotHeard { why: String },
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    DirectServe(#[from] WriteError),
    #[error("{0}")]
    Serve(String),
    #[error(
        "serve_dir ({}) and private_dir ({}) lie one in the other, links followed: what is below serve_dir is served to anyone. \
         PIXERVE_PRIVATE_DIR chooses another directory for private files", .serve.display(), .private.display()
    )]
    PrivateIsServed { serve: PathBuf, private: PathBuf },
    #[error("the client that makes callbacks can't be started")]
    Callback(#[source] reqwest::Error),
    #[error("the encoders can't be started")]
    Engine(#[source] rayon::ThreadPoolBuildError),
    #[error("can't listen on {addr}; is another server running there? PIXERVE_ADDR chooses another")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("can't listen on the socket that the service manager lends (LISTEN_FDS); it must be one TCP socket")]
    LentSocket { source: std::io::Error },
    #[error(
        "no child process can be started for jobs; PIXERVE_WORKER_SANDBOX=off does without, and without its protection"
    )]
    Sandbox(#[source] std::io::Error),
    #[error(
        "a job's child process can't be confined on this system: {0}; PIXERVE_WORKER_SANDBOX=on starts all the same"
    )]
    Confinement(String),
    #[error("a start-up task died: {0}")]
    Task(#[from] JoinError),
}

/// All of them, each in a line.
fn shown(findings: &[Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
    lines.concat()
}

impl StartError {
    /// Whether it comes of a Redis that can't be reached, didn't answer in time, or takes no changes for the moment.
    #[cfg(feature = "s3")]
    pub(super) fn is_for_want_of_redis(&self) -> bool {
        match self {
            Self::NotHeard { .. } => return true,
            Self::RedisClient(error) | Self::Nodes(NodesError::Redis(error)) => return error.may_pass(),
            _ => {}
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let of_nodes = error.downcast_ref().and_then(|error| match error {
                NodesError::Redis(error) => Some(error),
                _ => None,
            });
            if of_nodes.or_else(|| error.downcast_ref()).is_some_and(RedisError::may_pass) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Whether the settings, or a file that they name, have to be changed before another start can succeed: a service
    /// manager needn't try again.
    #[must_use]
    pub fn is_about_settings(&self) -> bool {
        match self {
            Self::Keys(error) => !matches!(error, KeyRingError::Create { .. }),
            Self::SealingKeys(error) => !matches!(error, SealingKeysError::Create { .. }),
            Self::Register(RegisterError::Installation(error)) => {
                matches!(error, InstallationError::OtherSealingKey { .. } | InstallationError::Other { .. })
            }
            Self::Register(error) => matches!(error, RegisterError::WrongKeys { .. }),
            Self::Presets(_)
            | Self::SealingKeysMissing { .. }
            | Self::MemoryBudget { .. }
            | Self::Confinement(_)
            | Self::Serve(_)
            | Self::PrivateIsServed { .. }
            | Self::Redis { .. }
            | Self::OtherRegister { .. }
            | Self::Home(HomeMarkError::Marked(_)) => true,
            _ => false,
        }
    }
}
