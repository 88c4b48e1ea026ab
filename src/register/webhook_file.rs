//! The secret for calls about jobs of the keys of `jwt.json`: sealed in a file of its own, so that the command line can show
//! and renew it beside a running server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::seal::{KeyAge, SealError, UnsealError};
use super::{Sealer, WebhookSecrets};
use crate::clock::Timestamp;
use crate::durable::{self, FileError, OWNER_ONLY};
use crate::job::{SealedText, WebhookSecret};

/// The file in the data directory.
const FILE: &str = "callback.secret";
const CONTEXT: &str = "callback-secret";

/// The secrets in the file, as they were read last. Clones are one.
#[derive(Clone, Debug)]
pub struct WebhookSecretFile {
    path: PathBuf,
    sealer: Arc<Sealer>,
    secrets: Arc<RwLock<WebhookSecrets>>,
}

/// Why there is no secret. The messages never contain one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookFileError {
    /// The file can't be read.
    #[error("can't read the callback secret in `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be written.
    #[error("can't write the callback secret")]
    Write(#[source] io::Error),
    /// It was sealed with another key, or damaged.
    #[error(
        "can't unseal the callback secret in `{path}`: restore the sealing key that it was sealed with, or remove the file \
         for a new secret, which every receiver has to be given",
        path = .path.display()
    )]
    Unseal {
        /// The file.
        path: PathBuf,
        /// Why.
        source: UnsealError,
    },
    /// It can't be sealed.
    #[error("can't seal the callback secret")]
    Seal(#[from] SealError),
    /// There is no such file: no server has started here yet.
    #[error("there is no callback secret in `{}` yet; the first start of the server makes it", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

impl WebhookSecretFile {
    /// Reads the file in the data directory `data`, or makes it with a new secret. What was sealed with an older key is
    /// sealed with the newest. Blocks.
    ///
    /// # Errors
    /// The disk, or a missing sealing key.
    pub fn open_or_make(data: &Path, sealer: Arc<Sealer>) -> Result<Self, WebhookFileError> {
        let file = Self::at(data, sealer);
        match file.read()? {
            Some((secrets, KeyAge::Newest)) => file.set(secrets),
            Some((secrets, KeyAge::Older)) => file.write(secrets)?,
            None => file.write(WebhookSecrets::of(new_secret()?))?,
        }
        Ok(file)
    }

    /// Reads the file of a server that has started before. Blocks.
    ///
    /// # Errors
    /// As for [`WebhookSecretFile::open_or_make`], and if there is none.
    pub fn open(data: &Path, sealer: Arc<Sealer>) -> Result<Self, WebhookFileError> {
        let file = Self::at(data, sealer);
        let Some((secrets, _)) = file.read()? else { return Err(WebhookFileError::Missing { path: file.path }) };
        file.set(secrets);
        Ok(file)
    }

    fn at(data: &Path, sealer: Arc<Sealer>) -> Self {
        Self { path: data.join(FILE), sealer, secrets: Arc::default() }
    }

    /// Those that sign at this time, the newest first.
    #[must_use]
    pub fn good_at(&self, now: Timestamp) -> Vec<WebhookSecret> {
        self.secrets.read().good_at(now)
    }

    /// Puts a new secret into the file; the one before signs too for a day. Blocks.
    ///
    /// # Errors
    /// The disk, or no random numbers.
    pub fn renew(&self, now: Timestamp) -> Result<WebhookSecret, WebhookFileError> {
        let secret = new_secret()?;
        let renewed = self.secrets.read().renewed(secret.clone(), now);
        self.write(renewed)?;
        Ok(secret)
    }

    /// Reads the file again, which the command line may have changed. If that fails, what was read before stays. Blocks.
    ///
    /// # Errors
    /// As for [`WebhookSecretFile::open`].
    pub fn reload(&self) -> Result<(), WebhookFileError> {
        let (secrets, _) = self.read()?.ok_or_else(|| WebhookFileError::Missing { path: self.path.clone() })?;
        self.set(secrets);
        Ok(())
    }

    fn set(&self, secrets: WebhookSecrets) {
        *self.secrets.write() = secrets;
    }

    fn read(&self) -> Result<Option<(WebhookSecrets, KeyAge)>, WebhookFileError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(WebhookFileError::Read { path: self.path.clone(), source }),
        };
        let failed = |source| WebhookFileError::Unseal { path: self.path.clone(), source };
        let (plain, age) =
            self.sealer.unseal_noting_age(CONTEXT, &SealedText(text.trim().to_owned())).map_err(failed)?;
        let secrets = serde_json::from_slice(&plain).map_err(|_| failed(UnsealError::Content))?;
        Ok(Some((secrets, age)))
    }

    fn write(&self, secrets: WebhookSecrets) -> Result<(), WebhookFileError> {
        let plain = serde_json::to_vec(&secrets).map_err(|_| SealError::NotJson)?;
        let sealed = self.sealer.seal(CONTEXT, &secrecy::zeroize::Zeroizing::new(plain))?;
        let text = format!("{}\n", sealed.0);
        durable::replace_file(&self.path, text.as_bytes(), OWNER_ONLY)
            .map_err(|error: FileError| WebhookFileError::Write(error.into()))?;
        self.set(secrets);
        Ok(())
    }
}

fn new_secret() -> Result<WebhookSecret, WebhookFileError> {
    WebhookSecret::generate().map_err(|error| WebhookFileError::Seal(SealError::Random(error)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn texts(file: &WebhookSecretFile, now: Timestamp) -> Vec<String> {
        file.good_at(now).iter().map(|secret| secret.text().expose_secret().to_owned()).collect()
    }

    #[test]
    fn the_file_is_made_once_read_by_others_and_renewed_beside_a_running_server() {
        let dir = tempfile::tempdir().expect("a directory");
        let sealer = Arc::new(Sealer::open(&dir.path().join("vault.key")).expect("keys"));
        let now = Timestamp::from_millis(1_000);
        assert!(matches!(
            WebhookSecretFile::open(dir.path(), Arc::clone(&sealer)),
            Err(WebhookFileError::Missing { .. })
        ));
        let server = WebhookSecretFile::open_or_make(dir.path(), Arc::clone(&sealer)).expect("made");
        let command = WebhookSecretFile::open(dir.path(), Arc::clone(&sealer)).expect("read");
        assert_eq!(texts(&server, now), texts(&command, now));
        let old = texts(&server, now);
        let new = command.renew(now).expect("renewed").text().expose_secret().to_owned();
        assert_eq!(texts(&server, now), old);
        server.reload().expect("read again");
        assert_eq!(texts(&server, now), [new, old[0].clone()]);
        let kept = fs::read_to_string(dir.path().join(FILE)).expect("it is there");
        assert!(!kept.contains("whsec_"), "it is sealed");
        let again = WebhookSecretFile::open_or_make(dir.path(), sealer).expect("read");
        assert_eq!(texts(&again, now), texts(&server, now));
    }

    #[test]
    fn a_secret_sealed_with_an_older_key_is_sealed_with_the_newest_at_the_next_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("vault.key");
        let now = Timestamp::from_millis(1_000);
        let first =
            WebhookSecretFile::open_or_make(dir.path(), Arc::new(Sealer::open(&keys).expect("keys"))).expect("made");
        let text = fs::read_to_string(&keys).expect("keys");
        let newer = format!("{text}{}\n", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]));
        durable::replace_file(&keys, newer.as_bytes(), OWNER_ONLY).expect("appended");
        let second =
            WebhookSecretFile::open_or_make(dir.path(), Arc::new(Sealer::open(&keys).expect("keys"))).expect("read");
        assert_eq!(texts(&first, now), texts(&second, now));
        let (_, age) = second.read().expect("read").expect("it is there");
        assert_eq!(age, KeyAge::Newest);
    }
}
