//! What is to be uploaded: files by name, those of directories that are pictures, the standard input.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::cli::error::CliError;
use crate::job::SourceFormat;

/// Bytes that tell a picture from other files.
const HEAD_BYTES: usize = 16;
/// What the standard input is called on the command line.
const STDIN: &str = "-";

/// One file to upload.
#[derive(Debug)]
pub(super) struct Picture {
    /// As people know it.
    pub(super) shown: String,
    source: PictureSource,
}

#[derive(Debug)]
enum PictureSource {
    /// Opened for each try: a thousand files wait without a descriptor each.
    Path(PathBuf),
    /// What came by the standard input, in a file without a name: it may have to be sent twice.
    Input(File),
}

/// What the arguments of a command name.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) pictures: Vec<Picture>,
    /// What is left out, by name.
    pub(super) omitted: Vec<(String, Omitted)>,
}

/// What is wrong with a file that was to be uploaded.
#[derive(Debug)]
pub(super) enum Omitted {
    /// A file of a directory that is no picture.
    NoPicture,
    /// It can't be read.
    Unreadable(CliError),
}

impl Picture {
    /// A file that somebody named: whether it is a picture is for the server to say.
    fn named(path: &Path) -> Self {
        Self { shown: path.display().to_string(), source: PictureSource::Path(path.to_owned()) }
    }

    /// Its name for the server, which makes the stem of all names of it.
    pub(super) fn file_name(&self) -> String {
        match &self.source {
            PictureSource::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            PictureSource::Input(_) => "image".to_owned(),
        }
    }

    /// Its bytes from the first, and how many they are.
    ///
    /// # Errors
    /// If it can't be read, or is no file.
    pub(super) fn open(&self) -> Result<(File, u64), CliError> {
        let open = || {
            let file = match &self.source {
                PictureSource::Path(path) => File::open(path)?,
                PictureSource::Input(file) => {
                    let mut file = file.try_clone()?;
                    file.seek(SeekFrom::Start(0))?;
                    file
                }
            };
            let metadata = file.metadata()?;
            // Of a pipe or a device nobody knows how much will come.
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file; - reads the standard input"));
            }
            Ok((file, metadata.len()))
        };
        open().map_err(|source| CliError::File { what: format!("reading {}", self.shown), source })
    }
}

/// The files that the arguments of a command name.
///
/// # Errors
/// If the standard input is named and can't be kept.
pub(super) fn find(arguments: &[PathBuf]) -> Result<Found, CliError> {
    let mut found = Found::default();
    for argument in arguments {
        if argument == Path::new(STDIN) {
            found.pictures.push(read_stdin()?);
        } else if argument.is_dir() {
            walk(argument, &mut found);
        } else {
            found.pictures.push(Picture::named(argument));
        }
    }
    Ok(found)
}

fn read_stdin() -> Result<Picture, CliError> {
    let read = || {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut io::stdin().lock(), &mut file)?;
        Ok(file)
    };
    let file =
        read().map_err(|source| CliError::File { what: "keeping the standard input in a file".to_owned(), source })?;
    Ok(Picture { shown: STDIN.to_owned(), source: PictureSource::Input(file) })
}

/// The pictures below a directory, in the order of their names. Symlinks are not followed.
fn walk(directory: &Path, Found { pictures, omitted }: &mut Found) {
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) if entry.file_type().is_file() => entry,
            Ok(_) => continue,
            Err(error) => {
                let path = error.path().unwrap_or(directory).display().to_string();
                let source = error.into_io_error().unwrap_or_else(|| io::Error::other("it can't be walked"));
                let what = format!("reading the directory {path}");
                omitted.push((path, Omitted::Unreadable(CliError::File { what, source })));
                continue;
            }
        };
        let picture = Picture::named(entry.path());
        match is_picture(&picture) {
            Ok(true) => pictures.push(picture),
            Ok(false) => omitted.push((picture.shown, Omitted::NoPicture)),
            Err(error) => omitted.push((picture.shown, Omitted::Unreadable(error))),
        }
    }
}

/// By its first bytes: a name may say anything.
fn is_picture(picture: &Picture) -> Result<bool, CliError> {
    let (file, _) = picture.open()?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|source| CliError::File { what: format!("reading {}", picture.shown), source })?;
    Ok(SourceFormat::ALL.into_iter().any(|format| (format.info().begins)(&head)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
    fn a_directory_is_walked_for_what_begins_as_a_picture_does_whatever_its_name() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("b")).expect("made");
        for (name, bytes) in [
            ("a.txt", &b"\xFF\xD8\xFF\xE0 and more"[..]),
            ("b/c.jpg", b"\x89PNG\r\n\x1A\n"),
            ("b/notes.jpg", b"no picture"),
            ("empty.png", b""),
        ] {
            std::fs::write(path(name), bytes).expect("written");
        }
        symlink(path("a.txt"), path("link.jpg")).expect("made");
        let Found { pictures, omitted } = find(&[root.path().to_owned(), path("b/notes.jpg")]).expect("found");
        let shown: Vec<_> = pictures.iter().map(|picture| picture.shown.clone()).collect();
        let expected = ["a.txt", "b/c.jpg", "b/notes.jpg"].map(|name| path(name).display().to_string());
        assert_eq!(shown, expected, "what is named is sent");
        let omitted: Vec<_> =
            omitted.into_iter().map(|(name, why)| (name, matches!(why, Omitted::NoPicture))).collect();
        let expected = ["b/notes.jpg", "empty.png"].map(|name| (path(name).display().to_string(), true));
        assert_eq!(omitted, expected);
    }
}
