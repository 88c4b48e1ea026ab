//! Finding a file beneath the serve directory, or the private one, and nothing outside of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::percent_decode_str;
use rustix::fs::{AtFlags, CWD, FsWord, Mode, OFlags, ResolveFlags, StatxFlags, fstatfs, openat2, statx};
use rustix::io::Errno;

use super::recent::RecentReads;
use crate::job::ServedPath;

/// File systems of a disk of this machine's that read what is in memory without waiting for that disk: ext2 to ext4, XFS, Btrfs,
/// F2FS. Of one on a network, or of a process, even opening and asking for a size may wait for whoever is at its other end.
const ON_OWN_DISK: [FsWord; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];
/// No device has this number.
const NO_DEVICE: u64 = u64::MAX;

/// Reads a request's path. Segments are decoded one by one, once: an encoded slash is a character of its segment, where it isn't
/// allowed, and what is still encoded afterwards holds a `%`, which isn't.
pub(super) fn parse(path: &str) -> Option<ServedPath> {
    let segments = path.split('/').map(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        (!decoded.contains('/')).then_some(decoded)
    });
    ServedPath::parse(&segments.collect::<Option<Vec<_>>>()?.join("/"))
}

/// An opened file and what identifies its content.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    /// Last written, in seconds since the Unix epoch.
    pub(super) modified_secs: i64,
    /// The rest of that, in nanoseconds.
    pub(super) modified_nanos: i64,
}

impl OpenedFile {
    /// A file that is open; anything else is none that is served.
    pub(super) fn of(file: File) -> Result<Self, OpenError> {
        let metadata = file.metadata().map_err(OpenError::Io)?;
        if !metadata.is_file() {
            return Err(OpenError::NotFound);
        }
        Ok(Self {
            file,
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_secs: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
        })
    }
}

/// Why there is no opened file.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// There is none, or it is none that is served: a directory, a symlink, a device.
    #[error("no such file")]
    NotFound,
    /// No file descriptor or memory is left for it.
    #[error("too many open files")]
    Busy,
    /// The disk or its permissions.
    #[error("opening a stored file")]
    Io(#[source] io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            // A symlink is LOOP as a file and NOTDIR as a directory; NXIO and NODEV are of sockets and devices.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => {
                Self::NotFound
            }
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Busy,
            errno => Self::Io(errno.into()),
        }
    }
}

/// The serve directory, or the private one.
pub(super) struct Tree {
    root: PathBuf,
    /// The device that the root was on when it was last looked at, if that is a disk of this machine's.
    own_disk: AtomicU64,
    /// Its files that were read lately.
    pub(super) reads: Arc<RecentReads>,
}

impl Tree {
    /// The directory `root`, if it can be opened. The operator may have it be a symlink.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let (own_disk, reads) = (AtomicU64::new(NO_DEVICE), Arc::default());
        let tree = Self { root: root.to_owned(), own_disk, reads };
        tree.open_root().map(|_| tree).map_err(io::Error::from)
    }

    /// Opened for each request: an operator may restore one that was lost, or mount it again.
    fn open_root(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a stored file. Blocks on the disk.
    ///
    /// Directories are opened one by one, each relative to the last and none through a symlink. A segment can't be
    /// `..` or hold a slash, so no step leaves the tree, whatever is renamed meanwhile.
    pub(super) fn find(&self, path: &ServedPath) -> Result<OpenedFile, OpenError> {
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = self.open_root().map_err(|errno| match OpenError::from(errno) {
            // What is missing is not the file.
            OpenError::NotFound => OpenError::Io(errno.into()),
            error => error,
        })?;
        self.note_disk(&dir);
        for segment in path.directories() {
            dir = rustix::fs::openat(&dir, &*segment, through, Mode::empty())?;
        }
        // NONBLOCK: opening a pipe that someone put there must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, path.name.as_str(), flags, Mode::empty())?;
        OpenedFile::of(File::from(file))
    }

    /// Opens a stored file if that needs no disk: directories and file are known to the kernel, on a file system that waits for
    /// nobody. None if it might, and of whatever is no such file: [`Tree::find`] says what there is.
    ///
    /// The kernel is told the same that `find` does step by step: no symlink, and nothing outside of the root; and to stay on its
    /// file system. That a file was read isn't noted in it, since that is a write to the disk.
    pub(super) fn find_in_memory(&self, path: &ServedPath) -> Option<OpenedFile> {
        let own_disk = self.own_disk.load(Ordering::Relaxed);
        if own_disk == NO_DEVICE {
            return None;
        }
        // Only a place in the tree of directories: what is mounted there is not asked.
        let as_place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat2(CWD, &self.root, as_place, Mode::empty(), ResolveFlags::CACHED).ok()?;
        if device(&root).ok()? != own_disk {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::CACHED;
        let file = openat2(&root, path.below_root(), flags | OFlags::NOATIME, Mode::empty(), within).ok()?;
        OpenedFile::of(File::from(file)).ok()
    }

    /// Notes which device the root is on, if that is a disk of this machine's.
    fn note_disk(&self, root: &OwnedFd) {
        let is_own = fstatfs(root).is_ok_and(|system| ON_OWN_DISK.contains(&system.f_type));
        let own_disk = if is_own { device(root).unwrap_or(NO_DEVICE) } else { NO_DEVICE };
        self.own_disk.store(own_disk, Ordering::Relaxed);
    }
}

/// The number of the device that a directory is on, as far as it is known without asking the device.
fn device(dir: &OwnedFd) -> Result<u64, Errno> {
    let known = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(dir, c"", known, StatxFlags::TYPE)?;
    Ok(u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The file in memory, if this system ever says so: a change elsewhere in the tree of directories may have it look twice.
    fn in_memory(tree: &Tree, location: &str) -> Option<OpenedFile> {
        let path = parse(location).expect("it is plain");
        (0..100).find_map(|_| tree.find_in_memory(&path))
    }

    /// Whether this system can tell what is in memory.
    fn is_told(tree: &Tree) -> bool {
        let as_place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let asks = openat2(CWD, "/", as_place, Mode::empty(), ResolveFlags::CACHED).is_ok();
        asks && tree.own_disk.load(Ordering::Relaxed) != NO_DEVICE
    }

    #[test]
    fn what_is_opened_without_the_disk_is_the_file_that_is_found_on_it() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("a/b")).expect("directories");
        fs::File::create(dir.path().join("a/b/photo.png")).expect("a file").set_len(10).expect("a size");
        let tree = Tree::open(dir.path()).expect("it is there");
        assert!(in_memory(&tree, "/files/a/b/photo.png").is_none(), "whose disk it is on is not known yet");
        let found = tree.find(&parse("/files/a/b/photo.png").expect("plain")).expect("it is there");
        let opened = in_memory(&tree, "/files/a/b/photo.png");
        assert_eq!(opened.is_some(), is_told(&tree));
        if let Some(opened) = opened {
            assert_eq!((opened.inode, opened.bytes), (found.inode, 10));
            assert_eq!((opened.modified_secs, opened.modified_nanos), (found.modified_secs, found.modified_nanos));
        }
        // Another file by the same name.
        fs::remove_file(dir.path().join("a/b/photo.png")).expect("it is there");
        fs::File::create(dir.path().join("a/b/photo.png")).expect("a file").set_len(20).expect("a size");
        assert!(in_memory(&tree, "/files/a/b/photo.png").is_none_or(|opened| opened.bytes == 20));
    }

    #[test]
    fn nothing_but_a_file_in_the_tree_is_opened_without_the_disk() {
        let (dir, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fs::create_dir_all(dir.path().join("real/directory.png")).expect("directories");
        for file in [dir.path().join("real/photo.png"), outside.path().join("photo.png")] {
            fs::File::create(file).expect("a file");
        }
        symlink(dir.path().join("real/photo.png"), dir.path().join("real/link.png")).expect("a link");
        symlink(outside.path().join("photo.png"), dir.path().join("out.png")).expect("a link");
        symlink("real", dir.path().join("inside")).expect("a link");
        symlink(outside.path(), dir.path().join("outside")).expect("a link");
        let tree = Tree::open(dir.path()).expect("it is there");
        let all = [
            "/files/real/link.png",
            "/files/out.png",
            "/files/inside/photo.png",
            "/files/outside/photo.png",
            "/files/real/directory.png",
            "/files/real/none.png",
        ];
        for location in all {
            let path = parse(location).expect("it is plain");
            assert!(matches!(tree.find(&path), Err(OpenError::NotFound)), "{location}");
            assert!(in_memory(&tree, location).is_none(), "{location}");
        }
        assert_eq!(in_memory(&tree, "/files/real/photo.png").is_some(), is_told(&tree));
    }

    #[test]
    fn a_root_that_is_replaced_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        let with_file = |bytes| {
            fs::create_dir(&root).expect("a directory");
            fs::File::create(root.join("a.png")).expect("a file").set_len(bytes).expect("a size");
        };
        with_file(1);
        let tree = Tree::open(&root).expect("it is there");
        tree.find(&parse("/files/a.png").expect("plain")).expect("it is there");
        fs::remove_dir_all(&root).expect("it is there");
        assert!(in_memory(&tree, "/files/a.png").is_none());
        with_file(2);
        assert!(in_memory(&tree, "/files/a.png").is_none_or(|opened| opened.bytes == 2));
    }
}
