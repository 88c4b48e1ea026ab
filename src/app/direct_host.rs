//! What this server serves itself: the store that files of `directHost` go to, and where `/files` and `/private` find them.

use std::path::Path;

use super::shared_state::SharedState;
use super::start_error::StartError;
use crate::config::Config;
use crate::disks::{DiskHealth, RootKind};
use crate::routes::files::FileSource;
use crate::worker::DirectStore;
#[cfg(feature = "s3")]
use crate::writer::BucketServe;
use crate::writer::DirectServe;

/// Where those files go, and where they come from.
pub(super) struct DirectHost {
    pub(super) store: DirectStore,
    pub(super) files: FileSource,
    /// None where this server keeps no private files.
    pub(super) private_files: Option<FileSource>,
}

impl DirectHost {
    /// As `config` says: in a directory, or in what is `shared` with other nodes. `server` tells this server from others that
    /// serve the same directory; what `disks` watches of directories is there. Blocks on a directory's disk; to a bucket nothing is sent.
    pub(super) fn open(
        config: &Config,
        server: &str,
        disks: &DiskHealth,
        shared: Option<&SharedState>,
    ) -> Result<Self, StartError> {
        match (config.served_dir(), shared) {
            (Some(dir), _) => {
                let private = config.private_files_dir().filter(|_| disks.has(RootKind::Private));
                Self::in_directories(dir, private, server)
            }
            #[cfg(feature = "s3")]
            (None, Some(shared)) => Ok(Self::in_bucket(config, shared.bucket.served.clone())),
            // No settings come so far that name a bucket which is not there.
            (None, _) => Err(StartError::Serve(config.serve.why_unusable(None).unwrap_or_default())),
        }
    }

    fn in_directories(dir: &Path, private: Option<&Path>, server: &str) -> Result<Self, StartError> {
        let mut store = DirectServe::open(dir, server)?;
        let source = |dir: &Path| {
            FileSource::directory(dir).map_err(|source| StartError::Directory { path: dir.to_owned(), source })
        };
        let (files, private_files) = (source(dir)?, private.map(source).transpose()?);
        if let Some(private) = private {
            store = store.with_private(private)?;
        }
        Ok(Self { store: DirectStore::directory(store), files, private_files })
    }

    #[cfg(feature = "s3")]
    fn in_bucket(config: &Config, served: BucketServe) -> Self {
        let files = match (&config.serve_redirect, &config.spool.bucket.url) {
            (Some(origin), Some(url)) => FileSource::redirect(origin, &url.prefix),
            _ => FileSource::bucket(served.clone()),
        };
        // Nobody else sends those: a redirect would show them to whoever has its address.
        let private_files = Some(FileSource::bucket(served.clone()));
        Self { store: DirectStore::bucket(served), files, private_files }
    }
}
