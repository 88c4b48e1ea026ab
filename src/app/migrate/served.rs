//! The files that a server serves itself, where they have to change places: from its directories into the bucket, or back. Those that
//! are private stay so.

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
use crate::durable::{OWNER_ONLY, TEMPORARY_SUFFIX};
use crate::failpoint::{MigrationStep, reached};
use crate::job::{ContentHash, ContentHasher, ServedArea, ServedPath};
use crate::routes::files::media_type;
use crate::writer::{Body, BucketServe, DirectServe, GetCondition, Object, OpenedObject, WriterBackend};

/// Files that are looked for before the first of them is copied.
const PAGE: usize = 500;

/// Files that are served alike.
struct Area<'a> {
    /// What their locations start with.
    base: &'static str,
    /// What their keys in the bucket start with.
    keys: &'static str,
    /// The directory that they are in on one machine.
    root: &'a Path,
}

impl Area<'_> {
    fn all(config: &Config) -> [Area<'_>; 2] {
        [
            Area { base: ServedArea::PUBLIC, keys: "serve/", root: &config.serve_dir },
            Area { base: ServedArea::PRIVATE, keys: "private/", root: &config.private_dir },
        ]
    }

    /// The place of a file at `path` below the root, if it may be served there.
    fn served(&self, path: &str) -> Option<ServedPath> {
        ServedPath::parse(&format!("{}{path}", self.base))
    }
}

/// Everything in the serve directory and the private one that is served, into the bucket.
pub(super) async fn move_to_bucket(
    config: &Config,
    place: &NodesPlace<'_>,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let served = BucketServe::new(&place.bucket);
    for area in Area::all(config) {
        move_area_to_bucket(&area, &served, moved).await?;
    }
    Ok(())
}

async fn move_area_to_bucket(area: &Area<'_>, served: &BucketServe, moved: &mut Migrated) -> Result<(), MigrateError> {
    let root = area.root;
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
            let below = path.strip_prefix(root).ok().and_then(Path::to_str);
            let Some(place) = below.and_then(|below| area.served(below)) else {
                warn!(path = %path.display(), "not one of the names that are served; it stays where it is");
                return Ok(0);
            };
            tried(async || put_in_bucket(served, &path, &place).await).await
        });
        let sizes: Vec<u64> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
        moved.served(&sizes);
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

async fn put_in_bucket(served: &BucketServe, path: &Path, place: &ServedPath) -> Result<u64, MigrateError> {
    let of_file = |source| MigrateError::Served { path: path.to_owned(), source };
    let file = path.to_owned();
    let (bytes, sha256) = spawn_blocking(move || hash(&file)).await?.map_err(of_file)?;
    let is_there = match served.describe(place).await {
        // Nobody else writes here, and an object appears as a whole.
        Ok(found) => found.bytes == bytes,
        Err(BucketError::Missing { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_there {
        let body = Body::File { path: path.to_owned(), bytes };
        served.put(&object(place, sha256, body)).await?;
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

fn object(place: &ServedPath, sha256: ContentHash, body: Body) -> Object {
    let ServedPath { area, sub_dir, name } = place.clone();
    Object { area, sub_dir, media_type: media_type(&name), name, sha256, body, trace: None }
}

/// Everything that is served from the bucket, into the serve directory and the private one.
pub(super) async fn move_to_directory(
    config: &Config,
    place: &NodesPlace<'_>,
    migration: &str,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let served = BucketServe::new(&place.bucket);
    let (root, migration) = (config.serve_dir.clone(), migration.to_owned());
    let mut directory = spawn_blocking(move || DirectServe::open(&root, &migration)).await??;
    for area in Area::all(config) {
        // Who has no private files needs no directory for them.
        if area.base == ServedArea::PRIVATE && !place.bucket.list(area.keys, None).await?.objects.is_empty() {
            let root = area.root.to_owned();
            directory = spawn_blocking(move || directory.with_private(&root)).await??;
        }
        move_area_to_directory(&area, place, &served, &directory, moved).await?;
    }
    Ok(())
}

async fn move_area_to_directory(
    area: &Area<'_>,
    place: &NodesPlace<'_>,
    served: &BucketServe,
    directory: &DirectServe,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let (mut after, mut progress) = (None, Progress::new());
    loop {
        let page = tried(async || Ok(place.bucket.list(area.keys, after.as_deref()).await?)).await?;
        let copies = page.objects.into_iter().map(async |listed| {
            let path = listed.key.strip_prefix(area.keys).unwrap_or(&listed.key);
            let Some(place) = area.served(path) else {
                warn!(key = listed.key, "not one of the names that are served; it stays where it is");
                return Ok(0);
            };
            let is_there = area.root.join(path).metadata().is_ok_and(|found| found.len() == listed.info.bytes);
            if is_there {
                // It was put there as a whole by an earlier run.
                return Ok(listed.info.bytes);
            }
            tried(async || put_in_directory(area, served, directory, &place).await).await
        });
        let sizes: Vec<u64> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
        moved.served(&sizes);
        progress.tell(|| info!(files = moved.served_files, bytes = moved.served_bytes, "served files moved so far"));
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn put_in_directory(
    area: &Area<'_>,
    served: &BucketServe,
    directory: &DirectServe,
    place: &ServedPath,
) -> Result<u64, MigrateError> {
    let fetched = Fetched::new(area.root)?;
    let (bytes, sha256) = fetched.fetch(served, place).await?;
    let body = Body::File { path: fetched.0.clone(), bytes };
    directory.put(&object(place, sha256, body)).await?;
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

    async fn fetch(&self, served: &BucketServe, path: &ServedPath) -> Result<(u64, ContentHash), MigrateError> {
        let of_file = |source| MigrateError::Served { path: self.0.clone(), source };
        let OpenedObject::Sending(mut object) = served.open(path, &GetCondition::default()).await? else {
            return Err(of_file(io::Error::other("the bucket answered a condition that it was not asked for")));
        };
        // It may be on its way to where nobody else reads it.
        let created = tokio::fs::File::options().write(true).create_new(true).mode(OWNER_ONLY).open(&self.0).await;
        let mut file = created.map_err(of_file)?;
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
