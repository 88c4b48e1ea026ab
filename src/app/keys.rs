//! `pixerve keys`: the keys that many nodes share, made once.

use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, bail};

use crate::auth::KeyRing;
use crate::register::{SEALING_KEYS, Sealer};

const SIGNING_KEYS: &str = "jwt.json";

/// Where the new keys are.
#[derive(Debug)]
pub struct NewKeys {
    /// What tokens are signed with: for `PIXERVE_JWT_FILE`.
    pub signing_keys: PathBuf,
    /// What the register and callbacks are sealed with: for `PIXERVE_VAULT_KEY_FILE`.
    pub sealing_keys: PathBuf,
}

/// Makes both key files in `directory`, readable by their owner alone.
///
/// # Errors
/// If one of them is there already, or can't be written. Then none is made.
pub fn keys(directory: &Path) -> anyhow::Result<NewKeys> {
    let directory = absolute(directory).context("finding the directory")?;
    let keys = NewKeys { signing_keys: directory.join(SIGNING_KEYS), sealing_keys: directory.join(SEALING_KEYS) };
    for path in [&keys.signing_keys, &keys.sealing_keys] {
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} is there already; it is not overwritten, since what it signed or sealed needs it",
                path.display()
            );
        }
    }
    Sealer::make_key_file(&keys.sealing_keys)?;
    if let Err(error) = KeyRing::generate(&keys.signing_keys) {
        // Nothing is sealed with it yet; left there, it would be in the way of the next try.
        std::fs::remove_file(&keys.sealing_keys)
            .with_context(|| format!("removing {}", keys.sealing_keys.display()))?;
        return Err(error.into());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn both_files_are_made_once_for_their_owner_alone_and_can_be_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = keys(directory.path()).expect("made");
        for path in [&made.signing_keys, &made.sealing_keys] {
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(KeyRing::load_existing(&made.signing_keys, None).expect("read").len(), 1);
        assert_eq!(Sealer::open_existing(&made.sealing_keys).expect("read").keys(), 1);

        let before = [&made.signing_keys, &made.sealing_keys].map(|path| fs::read(path).expect("read"));
        let error = keys(directory.path()).expect_err("they are there").to_string();
        assert!(error.contains("jwt.json is there already"), "{error}");
        fs::remove_file(&made.signing_keys).expect("removed");
        let error = keys(directory.path()).expect_err("one is there").to_string();
        assert!(error.contains("vault.key is there already") && !made.signing_keys.exists(), "{error}");
        assert_eq!(fs::read(&made.sealing_keys).expect("read"), before[1]);
    }

    #[test]
    fn keys_that_are_given_to_every_node_are_never_made_by_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jwt.json");
        let error = KeyRing::load_existing(&path, None).expect_err("there are none").to_string();
        assert!(error.contains("PIXERVE_JWT_FILE") && error.contains("`pixerve keys`"), "{error}");
        let error = Sealer::open_existing(&path).expect_err("there are none").to_string();
        assert!(error.contains("PIXERVE_VAULT_KEY_FILE") && error.contains("`pixerve keys`"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }
}
