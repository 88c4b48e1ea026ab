//! What this server serves itself: the store that files of `directHost` go to, and where `/files` finds them.

use std::path::Path;

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
    /// As `config` says. `server` tells this server from others that serve the same directory. Blocks on a directory's disk;
    /// to a bucket nothing is sent.
    pub(super) fn open(config: &Config, server: &str) -> Result<Self, StartError> {
        match config.served_dir() {
            Some(dir) => Self::in_directory(dir, server),
            None => Self::in_bucket(config),
        }
    }

    fn in_directory(dir: &Path, server: &str) -> Result<Self, StartError> {
        let store = DirectServe::open(dir, server)?;
        let files =
            FileSource::directory(dir).map_err(|source| StartError::Directory { path: dir.to_owned(), source })?;
        Ok(Self { store: DirectStore::directory(store), files })
    }

    #[cfg(feature = "s3")]
    fn in_bucket(config: &Config) -> Result<Self, StartError> {
        let bucket = &config.spool.bucket;
        let served = BucketServe::connect(bucket, &config.stores.timeouts).map_err(StartError::ServeBucket)?;
        let files = match (&config.serve_redirect, &bucket.url) {
            (Some(origin), Some(url)) => FileSource::redirect(origin, &url.prefix),
            _ => FileSource::bucket(served.clone()),
        };
        Ok(Self { store: DirectStore::bucket(served), files })
    }

    /// No settings come so far that name a bucket.
    #[cfg(not(feature = "s3"))]
    fn in_bucket(config: &Config) -> Result<Self, StartError> {
        Err(StartError::Serve(config.serve.why_unusable(None).unwrap_or_default()))
    }
}
