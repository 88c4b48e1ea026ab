//! What is in the data directory is its owner's alone, whatever the umask was when it was made.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::error_chain::ErrorChain;

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// What was found.
#[derive(Default)]
struct Tightened {
    changed: u64,
    /// One of those that could not be changed, and why.
    failed: Option<(PathBuf, io::Error)>,
}

/// Takes the permissions of others off everything below `data`, but for what is below `serve`, which may lie in there. What
/// belongs to somebody else stays as it is, with a warning. Follows no links.
pub(super) fn tighten(data: &Path, serve: &Path) {
    let mut tightened = Tightened::default();
    let serve = fs::canonicalize(serve).unwrap_or_else(|_| serve.to_owned());
    tightened.walk(data, &serve);
    if tightened.changed > 0 {
        info!(directory = %data.display(), files = tightened.changed, "permissions of others taken off the data directory");
    }
    if let Some((path, error)) = tightened.failed {
        warn!(path = %path.display(), error = %ErrorChain(&error), "permissions of others can't be taken off");
    }
}

/// Whether anyone but its owner may read or change the file.
pub(super) fn mode_for_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}

impl Tightened {
    fn walk(&mut self, path: &Path, serve: &Path) {
        if let Err(error) = self.visit(path, serve) {
            self.failed.get_or_insert((path.to_owned(), error));
        }
    }

    fn visit(&mut self, path: &Path, serve: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        if !(found.is_dir() || found.is_file()) || (found.is_dir() && fs::canonicalize(path)? == serve) {
            return Ok(());
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
            self.changed += 1;
        }
        if found.is_dir() {
            for entry in fs::read_dir(path)? {
                self.walk(&entry?.path(), serve);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
    }

    #[test]
    fn everything_below_becomes_private_but_what_is_served_and_what_a_link_leads_to() {
        let dirs = tempfile::tempdir().expect("a directory");
        let (data, outside) = (dirs.path().join("data"), dirs.path().join("outside"));
        for dir in [&data.join("queue.db/blobs"), &data.join("serve/sub"), &outside] {
            fs::create_dir_all(dir).expect("made");
        }
        for file in ["queue.db/conf", "serve/sub/a.jpg"] {
            fs::File::create(data.join(file)).expect("made");
            fs::set_permissions(data.join(file), Permissions::from_mode(0o644)).expect("set");
        }
        std::os::unix::fs::symlink(&outside, data.join("link")).expect("linked");
        for dir in [&outside, &data, &data.join("serve")] {
            fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("set");
        }
        tighten(&data, &data.join("serve"));
        for (path, expected) in [("", 0o700), ("queue.db", 0o700), ("queue.db/blobs", 0o700), ("queue.db/conf", 0o600)]
        {
            assert_eq!(mode(&data.join(path)), expected, "{path}");
        }
        for (path, expected) in [(data.join("serve"), 0o755), (data.join("serve/sub/a.jpg"), 0o644), (outside, 0o755)] {
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}
