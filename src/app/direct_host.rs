//! What this server serves itself: the store that files of `directHost` go to, and where `/files` finds them.

use std::path::Path;

use super::start_error::StartError;
use crate::bucket::BucketSettings;
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
    pub(super) fn open(config: &Config, bucket: Option<&BucketSettings>, server: &str) -> Result<Self, StartError> {
        if let Some(dir) = config.served_dir() {
            return Self::in_directory(dir, server);
        }
        let why = config.serve.why_unusable(bucket.and_then(|bucket| bucket.url.as_ref()));
        #[cfg(feature = "s3")]
        if let (None, Some(bucket)) = (&why, bucket) {
            return Self::in_bucket(config, bucket);
        }
        Err(StartError::Serve(why.unwrap_or_default()))
    }

    fn in_directory(dir: &Path, server: &str) -> Result<Self, StartError> {
        let store = DirectServe::open(dir, server)?;
        let files =
            FileSource::directory(dir).map_err(|source| StartError::Directory { path: dir.to_owned(), source })?;
        Ok(Self { store: DirectStore::directory(store), files })
    }

    #[cfg(feature = "s3")]
    fn in_bucket(config: &Config, bucket: &BucketSettings) -> Result<Self, StartError> {
        let served = BucketServe::connect(bucket, &config.stores.timeouts).map_err(StartError::ServeBucket)?;
        let files = match (&config.serve_redirect, &bucket.url) {
            (Some(origin), Some(url)) => FileSource::redirect(origin, &url.prefix),
            _ => FileSource::bucket(served.clone()),
        };
        Ok(Self { store: DirectStore::bucket(served), files })
    }
}
