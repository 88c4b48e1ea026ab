//! The files that a server serves itself, where they have to change places: from its directory into the bucket, or back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use walkdir::{DirEntry, WalkDir};

use super::home::NodesPlace;
use super::{AT_ONCE, MigrateError, Migrated, Progress, tried};
use crate::bucket::BucketError;
use crate::config::Config;
use crate::durable::TEMPORARY_SUFFIX;
use crate::failpoint::{MigrationStep, reached};
use crate::job::{ContentHash, ContentHasher, SubDir};
use crate::routes::files::media_type;
use crate::writer::{Body, BucketServe, DirectServe, GetCondition, Object, OpenedObject, WriterBackend};

/// Below which they are in the bucket.
const SERVED: &str = "serve/";

/// Files that are looked for before the first of them is copied.
const PAGE: usize = 500;

/// Everything in the serve directory that is served, into the bucket.
pub(super) async fn move_to_bucket(config: &Config, moved: &mut Migrated) -> Result<(), MigrateError> {
    let served = BucketServe::connect(&config.spool.bucket, &config.stores.timeouts)?;
    let root = &config.serve_dir;
    if !root.exists() {
        return Ok(());
    }
    let mut progress = Progress::new();
    let mut found = WalkDir::new(root).into_iter().filter_entry(is_visible);
    loop {
        let (walk, files) = spawn_blocking(move || {
            let files: Vec<_> = found.by_ref().take(PAGE).collect();
            (found, files)
        })
        .await?;
        found = walk;
        let is_last = files.len() < PAGE;
        let unreadable = |error: walkdir::Error| {
            let path = error.path().unwrap_or(root).to_owned();
            MigrateError::Served { path, source: error.into() }
        };
        let files = files.into_iter().collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let copies = files.into_iter().filter(|entry| entry.file_type().is_file()).map(async |entry| {
            let path = entry.into_path();
            let Some((sub_dir, name)) = path.strip_prefix(root).ok().and_then(served_name) else {
                warn!(path = %path.display(), "not one of the names that are served; it stays where it is");
                return Ok(0);
            };
            tried(async || put_in_bucket(&served, &path, &sub_dir, &name).await).await
        });
        let copied: Vec<u64> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
        moved.served(&copied);
        progress.tell(|| info!(files = moved.served_files, bytes = moved.served_bytes, "served files moved so far"));
        if is_last {
            return Ok(());
        }
    }
}

/// Nobody is served what begins with a dot, a file that is half written for example.
fn is_visible(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// The directories and the name of a served file, if it may have them.
fn served_name(path: &Path) -> Option<(SubDir, String)> {
    let path = path.to_str()?;
    let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    is_plain.then_some((SubDir::parse(dirs)?, name.to_owned()))
}

async fn put_in_bucket(served: &BucketServe, path: &Path, sub_dir: &SubDir, name: &str) -> Result<u64, MigrateError> {
    let of_file = |source| MigrateError::Served { path: path.to_owned(), source };
    let file = path.to_owned();
    let (bytes, sha256) = spawn_blocking(move || hash(&file)).await?.map_err(of_file)?;
    let is_there = match served.describe(&sub_dir.join(name)).await {
        // Nobody else writes here, and an object appears as a whole.
        Ok(found) => found.bytes == bytes,
        Err(BucketError::Missing { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_there {
        let body = Body::File { path: path.to_owned(), bytes };
        served.put(&object(sub_dir, name, sha256, body)).await?;
    }
    reached(MigrationStep::ServedCopied);
    Ok(bytes)
}

fn hash(path: &Path) -> io::Result<(u64, ContentHash)> {
    let (mut file, mut hasher, mut bytes) = (File::open(path)?, ContentHasher::default(), 0);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut chunk)? {
            0 => return Ok((bytes, hasher.finish())),
            read => {
                hasher.update(&chunk[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn object(sub_dir: &SubDir, name: &str, sha256: ContentHash, body: Body) -> Object {
    let media_type = media_type(name);
    Object { sub_dir: sub_dir.clone(), name: name.to_owned(), media_type, sha256, body, trace: None }
}

/// Everything that is served from the bucket, into the serve directory.
pub(super) async fn move_to_directory(
    config: &Config,
    place: &NodesPlace<'_>,
    migration: &str,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let served = BucketServe::connect(&config.spool.bucket, &config.stores.timeouts)?;
    let (root, server) = (config.serve_dir.clone(), migration.to_owned());
    let directory = spawn_blocking(move || DirectServe::open(&root, &server)).await??;
    let (mut after, mut progress) = (None, Progress::new());
    loop {
        let page = tried(async || Ok(place.bucket.list(SERVED, after.as_deref()).await?)).await?;
        let copies = page.objects.into_iter().map(async |listed| {
            let path = listed.key.strip_prefix(SERVED).unwrap_or(&listed.key).to_owned();
            let Some((sub_dir, name)) = served_name(Path::new(&path)) else {
                warn!(key = listed.key, "not one of the names that are served; it stays where it is");
                return Ok(0);
            };
            let is_there = config.serve_dir.join(&path).metadata().is_ok_and(|found| found.len() == listed.info.bytes);
            if is_there {
                // It was put there as a whole by an earlier run.
                return Ok(listed.info.bytes);
            }
            tried(async || put_in_directory(config, &served, &directory, &sub_dir, &name).await).await
        });
        let copied: Vec<u64> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
        moved.served(&copied);
        progress.tell(|| info!(files = moved.served_files, bytes = moved.served_bytes, "served files moved so far"));
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn put_in_directory(
    config: &Config,
    served: &BucketServe,
    directory: &DirectServe,
    sub_dir: &SubDir,
    name: &str,
) -> Result<u64, MigrateError> {
    let fetched = Fetched::new(&config.serve_dir)?;
    let (bytes, sha256) = fetched.fetch(served, &sub_dir.join(name)).await?;
    let body = Body::File { path: fetched.0.clone(), bytes };
    directory.put(&object(sub_dir, name, sha256, body)).await?;
    reached(MigrationStep::ServedCopied);
    Ok(bytes)
}

/// A file on its way, which nobody is served; removed when this is dropped.
struct Fetched(PathBuf);

impl Fetched {
    fn new(root: &Path) -> Result<Self, MigrateError> {
        let random =
            getrandom::u64().map_err(|error| MigrateError::Served { path: root.to_owned(), source: error.into() })?;
        Ok(Self(root.join(format!(".{random:016x}{TEMPORARY_SUFFIX}"))))
    }

    async fn fetch(&self, served: &BucketServe, path: &str) -> Result<(u64, ContentHash), MigrateError> {
        let of_file = |source| MigrateError::Served { path: self.0.clone(), source };
        let OpenedObject::Sending(mut object) = served.open(path, &GetCondition::default()).await? else {
            return Err(of_file(io::Error::other("the bucket answered a condition that it was not asked for")));
        };
        let mut file = tokio::fs::File::create_new(&self.0).await.map_err(of_file)?;
        let (mut hasher, mut bytes) = (ContentHasher::default(), 0);
        while let Some(chunk) = object.chunk().await? {
            hasher.update(&chunk);
            bytes += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(of_file)?;
        }
        file.flush().await.map_err(of_file)?;
        if bytes != object.version.bytes {
            let detail = format!("{bytes} of {} bytes came", object.version.bytes);
            return Err(of_file(io::Error::other(detail)));
        }
        Ok((bytes, hasher.finish()))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // A leftover begins with a dot, and is swept by a start.
        let _ = std::fs::remove_file(&self.0);
    }
}
