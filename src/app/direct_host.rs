//! What this server serves itself: the store that files of `directHost` go to, and where `/files` finds them.

use std::path::Path;

use super::shared_state::SharedState;
use super::start_error::StartError;
use crate::config::Config;
use crate::routes::files::FileSource;
use crate::worker::DirectStore;
#[cfg(feature = "s3")]
use crate::writer::BucketServe;
use crate::writer::DirectServe;

/// Where those files go, and where they come from.
pub(super) struct DirectHost {
    pub(super) store: DirectStore,
    pub(super) files: FileSource,
}

impl DirectHost {
    /// As `config` says: in a directory, or in what is `shared` with other nodes. `server` tells this server from others that
    /// serve the same directory. Blocks on a directory's disk; to a bucket nothing is sent.
    pub(super) fn open(config: &Config, server: &str, shared: Option<&SharedState>) -> Result<Self, StartError> {
        match (config.served_dir(), shared) {
            (Some(dir), _) => Self::in_directory(dir, server),
            #[cfg(feature = "s3")]
            (None, Some(shared)) => Ok(Self::in_bucket(config, shared.bucket.served.clone())),
            // No settings come so far that name a bucket which is not there.
            (None, _) => Err(StartError::Serve(config.serve.why_unusable(None).unwrap_or_default())),
        }
    }

    fn in_directory(dir: &Path, server: &str) -> Result<Self, StartError> {
        let store = DirectServe::open(dir, server)?;
        let files =
            FileSource::directory(dir).map_err(|source| StartError::Directory { path: dir.to_owned(), source })?;
        Ok(Self { store: DirectStore::directory(store), files })
    }

    #[cfg(feature = "s3")]
    fn in_bucket(config: &Config, served: BucketServe) -> Self {
        let files = match (&config.serve_redirect, &config.spool.bucket.url) {
            (Some(origin), Some(url)) => FileSource::redirect(origin, &url.prefix),
            _ => FileSource::bucket(served.clone()),
        };
        Self { store: DirectStore::bucket(served), files }
    }
}
