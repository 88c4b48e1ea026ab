//! A file that is written beside its place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fsync, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::directory::parent_of;
use super::file_error::{FileError, IoContext};

/// An open directory that files are staged in.
pub(crate) trait ParentDirectory: AsFd {
    /// How errors call the entry `name`.
    fn path_of(&self, name: &OsStr) -> PathBuf;
}

/// A directory that was opened by its path.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    file: File,
    path: PathBuf,
}

impl OpenDirectory {
    /// Opens the directory that `path` is, or is to be, in. Answers the name of `path` in it, too.
    pub(super) fn holding(path: &Path) -> Result<(Self, &OsStr), FileError> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput).context("name", path)?;
        let path = parent_of(path);
        let file = File::open(path).context("open", path)?;
        Ok((Self { file, path: path.to_owned() }, name))
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ParentDirectory for OpenDirectory {
    fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }
}

/// Whether publishing may replace a file of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Yes, in one step. A symbolic link is replaced itself, not followed.
    Replace,
    /// No: publishing fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// A file under a temporary name, being written. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct StagedFile<D: ParentDirectory> {
    file: File,
    pub(super) temporary: TemporaryName<D>,
}

/// A staged file whose bytes are on disk. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct SyncedFile<D: ParentDirectory> {
    temporary: TemporaryName<D>,
}

impl<D: ParentDirectory> StagedFile<D> {
    /// Creates the file `temporary` in `directory`; of the permissions `mode` the umask is taken off.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is such an entry, be it a link; the file system's own.
    pub(crate) fn create(directory: D, temporary: impl Into<OsString>, mode: u32) -> Result<Self, FileError> {
        let name = temporary.into();
        let path = directory.path_of(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        check_name(&name).context("create", &path)?;
        let file = openat(&directory, &name, flags, Mode::from_raw_mode(mode)).context("create", &path)?;
        Ok(Self { file: file.into(), temporary: TemporaryName { directory, name, is_taken: true } })
    }

    /// Gives it exactly these permissions, whatever the umask.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), FileError> {
        fchmod(&self.file, Mode::from_raw_mode(mode)).context("set the permissions of", &self.temporary.path())
    }

    /// Makes the bytes durable.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn sync(self) -> Result<SyncedFile<D>, FileError> {
        self.file.sync_all().context("fsync", &self.temporary.path())?;
        Ok(SyncedFile { temporary: self.temporary })
    }
}

impl<D: ParentDirectory> Write for StagedFile<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<D: ParentDirectory> SyncedFile<D> {
    /// Removes the file. That somebody else has done so already is fine.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn discard(mut self) -> Result<(), FileError> {
        let TemporaryName { directory, name, is_taken } = &mut self.temporary;
        *is_taken = false;
        match unlinkat(&*directory, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).context("remove", &directory.path_of(name)),
        }
    }

    /// Gives the file its name in its directory, durably. `renamed` is called when it is visible there and that is not
    /// yet durable.
    ///
    /// # Errors
    /// The file system's own. If it is the last fsync that fails, the file stays visible.
    pub(crate) fn publish(mut self, name: &OsStr, existing: Existing, renamed: impl FnOnce()) -> Result<(), FileError> {
        let TemporaryName { directory, name: from, is_taken } = &mut self.temporary;
        let path = directory.path_of(name);
        check_name(name).context("rename to", &path)?;
        match existing {
            Existing::Replace => renameat(&*directory, &*from, &*directory, name).context("rename to", &path)?,
            Existing::Keep => rename_to_new(&*directory, from, name).context("rename to", &path)?,
        }
        *is_taken = false;
        renamed();
        fsync(&*directory).context("fsync the directory of", &path)
    }
}

/// A name in a directory, removed when dropped unless its file has been given another.
#[derive(Debug)]
pub(super) struct TemporaryName<D: ParentDirectory> {
    directory: D,
    name: OsString,
    is_taken: bool,
}

impl<D: ParentDirectory> TemporaryName<D> {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path_of(&self.name)
    }
}

impl<D: ParentDirectory> Drop for TemporaryName<D> {
    fn drop(&mut self) {
        if self.is_taken {
            // What matters is why it was not published; a leftover takes space and does no harm.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// A name that leads nowhere but to an entry of its directory.
fn check_name(name: &OsStr) -> io::Result<()> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn rename_to_new(directory: impl AsFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some network and desktop file systems can't refuse to replace. Looking first leaves a gap, which only a
        // second first start in the same instant could hit.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match statat(&directory, to, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(renameat(&directory, from, &directory, to)?),
        },
        Err(error) => Err(error.into()),
    }
}
