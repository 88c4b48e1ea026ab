//! The file of sealing keys: one key a line, the newest last.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::geteuid;
use secrecy::zeroize::Zeroizing;

use crate::durable::{self, OWNER_ONLY};

/// What the file is called where no setting names it: in the data directory, or where `pixerve keys` makes it.
pub const SEALING_KEYS: &str = "vault.key";

const KEY_BYTES: usize = 32;
/// Anything larger is no key file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const PREAMBLE: &str = "\
# The register and what is secret of callbacks are sealed with the last key below, and unsealed with any.
# Without this file they are lost: keep a backup, apart from the data.
# To rotate, append a line (head -c 32 /dev/urandom | base64) and restart. Remove an older line once the log says at a
# start that no callback needs it.
";

pub(super) type SealingKey = Zeroizing<[u8; KEY_BYTES]>;

/// Why there are no keys to seal with. The messages never contain one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealingKeysError {
    /// The file can't be read.
    #[error("can't read the sealing keys in `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new file can't be made.
    #[error("can't make new sealing keys in `{}`", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error(
        "the sealing keys in `{path}` may be read by others (mode {mode:04o}): `chmod 600 {path}`, and if others were \
         on this machine, append a new key",
        path = .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It says something else than keys.
    #[error("line {line} of the sealing keys in `{}` is not the base64 of {KEY_BYTES} bytes", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no such file, and it is not for this process to make one.
    #[error(
        "there is no file of sealing keys `{}`: with many nodes each is given the same one, which PIXERVE_VAULT_KEY_FILE names; \
         `pixerve keys` makes it, once", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It has no key. Making one now would not open what is sealed.
    #[error("the file of sealing keys `{}` has no key: restore it from its backup", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The keys in the file at `path`, oldest first and at least one; if there is no file, one is made.
pub(super) fn read_or_make(path: &Path) -> Result<Vec<SealingKey>, SealingKeysError> {
    match read(path) {
        Err(SealingKeysError::Missing { .. }) => make(path).map(|key| vec![key]),
        read => read,
    }
}

/// The keys in the file at `path`, oldest first and at least one.
pub(super) fn read(path: &Path) -> Result<Vec<SealingKey>, SealingKeysError> {
    match File::open(path) {
        Ok(file) => parse_file(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SealingKeysError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(SealingKeysError::Read { path: path.to_owned(), source }),
    }
}

fn parse_file(path: &Path, file: File) -> Result<Vec<SealingKey>, SealingKeysError> {
    let unreadable = |source| SealingKeysError::Read { path: path.to_owned(), source };
    // Asked of the open file, so that it is this one's mode and not that of whatever the path names by then.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o7777;
    // What another user owns, and this one's group may read: so comes a secret that a container is lent.
    let is_lent = metadata.uid() != geteuid().as_raw() && matches!(mode, 0o400 | 0o440 | 0o600 | 0o640);
    if mode & 0o077 != 0 && !is_lent {
        return Err(SealingKeysError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let mut keys = Vec::new();
    for (i, line) in text.lines().enumerate().map(|(i, line)| (i, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        keys.push(parse(line).ok_or_else(|| SealingKeysError::Line { path: path.to_owned(), line: i + 1 })?);
    }
    if keys.is_empty() { Err(SealingKeysError::Empty { path: path.to_owned() }) } else { Ok(keys) }
}

fn parse(line: &str) -> Option<SealingKey> {
    let bytes = Zeroizing::new(STANDARD.decode(line).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// Makes the file at `path` with a random key. One that is there is never overwritten.
pub(super) fn make(path: &Path) -> Result<SealingKey, SealingKeysError> {
    let failed = |source| SealingKeysError::Create { path: path.to_owned(), source };
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(|error| failed(error.into()))?;
    let encoded = Zeroizing::new(STANDARD.encode(key.as_slice()));
    let text = Zeroizing::new(format!("{PREAMBLE}{}\n", *encoded));
    durable::create_file(path, text.as_bytes(), OWNER_ONLY).map_err(|error| failed(error.into()))?;
    Ok(key)
}
