//! What says of a data directory, or of a bucket, that what was kept there has moved, or is on its way: no server starts on one.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
#[cfg(feature = "s3")]
use std::sync::Arc;

#[cfg(feature = "s3")]
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinError, spawn_blocking};

#[cfg(feature = "s3")]
use crate::bucket::{Bucket, BucketError};
#[cfg(feature = "s3")]
use crate::durable::{self, FileError, OWNER_ONLY};

/// Its file in the data directory, and its object in the bucket.
const NAME: &str = "migration.json";
/// Anything larger is none.
#[cfg(feature = "s3")]
const BYTES_MAX: u64 = 64 * 1024;
/// The layout of what is written.
const FORMAT: u32 = 1;

/// Where a migration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// To what many nodes share.
    Nodes,
    /// To one machine.
    Machine,
}

impl Destination {
    /// As the command line has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Machine => "machine",
        }
    }

    fn back(self) -> Self {
        match self {
            Self::Nodes => Self::Machine,
            Self::Machine => Self::Nodes,
        }
    }
}

/// What a home is to a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HomeState {
    /// It is copied from here, and not all of it is there.
    Leaving,
    /// It is copied to here, and not all of it is.
    Arriving,
    /// It was copied from here, and goes on there.
    Left,
}

/// What is written down in a home that a migration has to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HomeMark {
    format: u32,
    /// A UUID, the same in both homes.
    pub(super) migration: String,
    pub(super) to: Destination,
    pub(super) state: HomeState,
    /// The other home, in words.
    pub(super) other: String,
}

/// Why a mark can't be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HomeMarkError {
    #[error("can't read {place}, which says where this installation has moved")]
    Read { place: String, source: io::Error },
    #[error("{place}, which says where this installation has moved, is damaged, or of a newer Pixerve: {detail}")]
    Damaged { place: String, detail: String },
    #[error("{0}")]
    Marked(MarkedHome),
    #[error("can't write or remove {place}, which says where this installation moves")]
    Write { place: String, source: io::Error },
    #[error("a task that uses the mark of a migration died: {0}")]
    Task(#[from] JoinError),
    #[cfg(feature = "s3")]
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl HomeMark {
    pub(super) fn new(migration: String, to: Destination, state: HomeState, other: String) -> Self {
        Self { format: FORMAT, migration, to, state, other }
    }

    fn parse(bytes: &[u8], place: &str) -> Result<Self, HomeMarkError> {
        let damaged = |detail: String| HomeMarkError::Damaged { place: place.to_owned(), detail };
        let mark: Self = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if mark.format == FORMAT {
            Ok(mark)
        } else {
            Err(damaged(format!("it has format {}; this Pixerve reads format {FORMAT}", mark.format)))
        }
    }

    #[cfg(feature = "s3")]
    fn text(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("INVARIANT: words and a number become JSON")
    }
}

/// A marked home, for whoever was about to use it: what has become of it, and what to do.
#[derive(Debug)]
pub struct MarkedHome {
    pub(super) mark: HomeMark,
    /// Where the mark is.
    pub(super) place: String,
}

impl fmt::Display for MarkedHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mark: HomeMark { to, state, other, .. }, place } = self;
        let (forth, back) = (to.as_str(), to.back().as_str());
        match state {
            HomeState::Leaving => write!(
                f,
                "what is kept here is being moved to {other}, and not all of it is there: `pixerve migrate --to {forth}` goes on with \
                 that. To stay here instead, remove {place}, and empty the other before it is moved again"
            ),
            HomeState::Arriving => write!(
                f,
                "not all is here that is being moved from {other}: `pixerve migrate --to {forth}` goes on with that"
            ),
            HomeState::Left => write!(
                f,
                "what was kept here has moved to {other}, and goes on there; `pixerve migrate --to {back}`, into a home that is empty, \
                 moves it back. To go on here with what was here then, without anything that has happened there since, remove {place}"
            ),
        }
    }
}

/// Where the mark of a home is.
#[derive(Clone, Debug)]
pub(super) enum MarkPlace {
    File(PathBuf),
    #[cfg(feature = "s3")]
    Object(Arc<Bucket>),
}

impl MarkPlace {
    pub(super) fn in_directory(data_dir: &Path) -> Self {
        Self::File(data_dir.join(NAME))
    }

    /// For a server that starts. It is to hold already what keeps a migration out: one that begins later sees it.
    pub(super) async fn refuse_marked(&self) -> Result<(), HomeMarkError> {
        match self.read().await? {
            None => Ok(()),
            Some(mark) => Err(HomeMarkError::Marked(MarkedHome { mark, place: self.to_string() })),
        }
    }

    pub(super) async fn read(&self) -> Result<Option<HomeMark>, HomeMarkError> {
        let place = self.to_string();
        let bytes = match self {
            Self::File(path) => {
                let path = path.clone();
                match spawn_blocking(move || fs::read(path)).await? {
                    Ok(bytes) => bytes,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(HomeMarkError::Read { place, source }),
                }
            }
            #[cfg(feature = "s3")]
            Self::Object(bucket) => match bucket.get(NAME, BYTES_MAX).await {
                Ok(bytes) => bytes.to_vec(),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        HomeMark::parse(&bytes, &place).map(Some)
    }

    /// Durable once it has answered.
    #[cfg(feature = "s3")]
    pub(super) async fn write(&self, mark: &HomeMark) -> Result<(), HomeMarkError> {
        let text = mark.text();
        match self {
            Self::File(path) => {
                let path = path.clone();
                let written = spawn_blocking(move || durable::replace_file(&path, &text, OWNER_ONLY)).await?;
                written.map_err(|error| self.not_written(error))
            }
            Self::Object(bucket) => Ok(bucket.put(NAME, Bytes::from(text)).await?),
        }
    }

    #[cfg(feature = "s3")]
    pub(super) async fn remove(&self) -> Result<(), HomeMarkError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let removed = spawn_blocking(move || durable::remove_file(&path)).await?;
                removed.map_err(|error| self.not_written(error))
            }
            Self::Object(bucket) => Ok(bucket.delete(NAME).await?),
        }
    }

    #[cfg(feature = "s3")]
    fn not_written(&self, error: FileError) -> HomeMarkError {
        HomeMarkError::Write { place: self.to_string(), source: error.into() }
    }
}

impl fmt::Display for MarkPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            #[cfg(feature = "s3")]
            Self::Object(_) => write!(f, "the object `{NAME}` of the bucket"),
        }
    }
}
