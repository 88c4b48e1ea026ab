//! The keys: those that tokens are signed with, those that seal secrets, and whether these open what is sealed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::check::counted;
use super::{Check, Premises};
use crate::auth::{KeyRing, KeyRingError};
use crate::error_chain::ErrorChain;
use crate::queue::QUEUE_DATABASE;
use crate::register::{
    KeptWebhookSecret, REGISTER_DATABASE, Sealer, SealingKeysError, SecretFiles, WEBHOOK_SECRET, WebhookSecretError,
};

const TOKEN_KEYS: &str = "token keys";
const SEALING_KEYS: &str = "sealing keys";
const SEALED: &str = "sealed secrets";

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// `jwt.json`, or what stands in for it.
pub(super) fn token_keys(premises: &Premises) -> Check {
    let path = &premises.jwt_file;
    let shown = path.display();
    match KeyRing::load(path, premises.jwt_secret.as_ref()) {
        Ok(Some(_)) if premises.jwt_secret.is_some() => {
            Check::ok(TOKEN_KEYS, "PIXERVE_JWT_SECRET signs, in place of a file")
        }
        Ok(Some(keys)) => match mode_for_others(path) {
            Some(mode) => Check::warning(
                TOKEN_KEYS,
                format!("others than their owner may read {shown} (mode {mode:04o})"),
                format!(
                    "`chmod 600 {shown}`; if others were on this machine, make new keys: README, \"Keys and their rotation\""
                ),
            ),
            None => Check::ok(TOKEN_KEYS, format!("{shown} has {}", counted(keys.len(), "key"))),
        },
        Ok(None) if premises.is_shared => Check::failed(
            TOKEN_KEYS,
            format!("{shown} is not there, and with many nodes none of them makes it"),
            "`pixerve keys` makes it, once: give every node the same by PIXERVE_JWT_FILE",
        ),
        Ok(None) if premises.data_dir.join(QUEUE_DATABASE).exists() => Check::warning(
            TOKEN_KEYS,
            format!("{shown} is gone, though a server has run here"),
            "restore it from its backup: the next start makes a new one, and refuses every token that was signed before",
        ),
        Ok(None) => Check::ok(TOKEN_KEYS, format!("{shown} is not there yet; the first start makes it")),
        Err(error) => {
            let remedy = match &error {
                KeyRingError::Secret(_) => {
                    "give PIXERVE_JWT_SECRET at least 32 bytes, or unset it for a file of keys".to_owned()
                }
                KeyRingError::Read { .. } => format!("let the user of the server read {shown}"),
                _ => format!(
                    "mend {shown}, or restore it from its backup; README, \"Keys and their rotation\", has its form"
                ),
            };
            Check::failed(TOKEN_KEYS, ErrorChain(&error).to_string(), remedy)
        }
    }
}

/// The file that seals, and what it seals with.
pub(super) fn sealing_keys(premises: &Premises) -> (Check, Option<Sealer>) {
    let path = &premises.sealing_keys;
    let error = match Sealer::open_existing(path) {
        Ok(sealer) => {
            return (
                Check::ok(SEALING_KEYS, format!("{} has {}", path.display(), counted(sealer.keys(), "key"))),
                Some(sealer),
            );
        }
        Err(error) => error,
    };
    (no_sealing_keys(premises, &error), None)
}

fn no_sealing_keys(premises: &Premises, error: &SealingKeysError) -> Check {
    let shown = premises.sealing_keys.display();
    let is_sealed = [REGISTER_DATABASE, "callback.secret"].iter().any(|name| premises.data_dir.join(name).exists());
    match error {
        SealingKeysError::Missing { .. } if premises.is_shared => Check::failed(
            SEALING_KEYS,
            format!("{shown} is not there, and with many nodes none of them makes it"),
            "`pixerve keys` makes it, once: give every node the same by PIXERVE_VAULT_KEY_FILE",
        ),
        SealingKeysError::Missing { .. } if is_sealed => Check::failed(
            SEALING_KEYS,
            format!("{shown} is gone, and {} has what was sealed with it", premises.data_dir.display()),
            format!("restore {shown} from its backup: without it users, stores and secrets of callbacks are lost"),
        ),
        SealingKeysError::Missing { .. } => {
            Check::ok(SEALING_KEYS, format!("{shown} is not there yet; the first start makes it"))
        }
        SealingKeysError::Exposed { mode, .. } => Check::failed(
            SEALING_KEYS,
            format!("others than their owner may read {shown} (mode {mode:04o}); the server refuses to start"),
            format!("`chmod 600 {shown}`, and if others were on this machine, append a new key"),
        ),
        error => Check::failed(SEALING_KEYS, ErrorChain(error).to_string(), format!("restore {shown} from its backup")),
    }
}

/// Whether the keys open the one secret that every data directory has; nothing where no server has started yet.
pub(super) async fn sealed_secrets(data: &Path, sealer: Sealer) -> Option<Check> {
    let kept = Arc::new(SecretFiles::new(data));
    match KeptWebhookSecret::open(kept, Arc::new(sealer)).await {
        Ok(_) => Some(Check::ok(SEALED, "the sealing keys open them")),
        Err(WebhookSecretError::Missing { .. }) => None,
        Err(error @ WebhookSecretError::Unseal { .. }) => Some(Check::failed(
            SEALED,
            format!("the sealing keys don't open {}", data.join(format!("{WEBHOOK_SECRET}.secret")).display()),
            format!("restore the sealing keys that belong to {}; {}", data.display(), ErrorChain(&error)),
        )),
        Err(error) => Some(Check::failed(SEALED, ErrorChain(&error).to_string(), "let the user of the server read it")),
    }
}

/// Whether the keys that lie at `path` now open what a running server seals with `running`: the next start has no others.
#[must_use]
pub fn sealing_keys_in_use(running: &Sealer, path: &Path) -> Check {
    const NAME: &str = "sealing keys in use";
    const CONTEXT: &str = "doctor";
    let shown = path.display();
    let remedy = format!(
        "restore {shown} as it was at the start of the server, before that ends: its next start can open nothing"
    );
    let on_disk = match Sealer::open_existing(path) {
        Ok(on_disk) => on_disk,
        Err(error) => return Check::failed(NAME, ErrorChain(&error).to_string(), remedy),
    };
    let opens = running.seal(CONTEXT, CONTEXT.as_bytes()).map(|sealed| on_disk.unseal(CONTEXT, &sealed).is_ok());
    match opens {
        Ok(true) => Check::ok(NAME, format!("{shown} opens what the server seals")),
        Ok(false) => Check::failed(NAME, format!("{shown} has other keys than the server seals with"), remedy),
        Err(error) => {
            Check::failed(NAME, ErrorChain(&error).to_string(), "see what the system lacks for random numbers")
        }
    }
}

/// Whether anyone but its owner may read or change the file.
fn mode_for_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then_some(mode)
}
