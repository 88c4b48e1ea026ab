//! Where single sealed texts are kept that have a name instead of an access key: the webhook secret of the keys of `jwt.json`,
//! and what tells one installation from another.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::durable::{self, FileError, OWNER_ONLY};
use crate::job::SealedText;

/// A store of sealed texts by name.
#[async_trait]
pub trait SealedSecrets: fmt::Debug + Send + Sync {
    /// Where the one of this name is, for messages.
    fn place(&self, name: &str) -> String;

    /// The text of this name, if there is one.
    ///
    /// # Errors
    /// It can't be read.
    async fn get(&self, name: &str) -> Result<Option<SealedText>, SecretsError>;

    /// Keeps `sealed` under this name, in place of what was there. Durable once it has answered.
    ///
    /// # Errors
    /// It can't be written. Then either may be there.
    async fn put(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError>;

    /// Keeps `sealed` under this name unless there is something already, which stays: what is there then is for
    /// [`SealedSecrets::get`] to say. With many nodes the caller has their lock, since not every store can do this in one step.
    ///
    /// # Errors
    /// It can't be written.
    async fn create(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError>;
}

/// Why a sealed text can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("can't {verb} the sealed text in {place}")]
pub struct SecretsError {
    /// What was attempted: read, write.
    pub verb: &'static str,
    /// On what.
    pub place: String,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Files in a directory of this machine, `<name>.secret` each.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    directory: PathBuf,
}

impl SecretFiles {
    /// In this directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.secret"))
    }

    /// Runs what waits for the disk on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        verb: &'static str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SecretsError> {
        let (path, place) = (self.path(name), self.place(name));
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| SecretsError { verb, place, source: error.into() })
    }
}

#[async_trait]
impl SealedSecrets for SecretFiles {
    fn place(&self, name: &str) -> String {
        format!("`{}`", self.path(name).display())
    }

    async fn get(&self, name: &str) -> Result<Option<SealedText>, SecretsError> {
        self.blocking(name, "read", |path| match fs::read_to_string(path) {
            Ok(text) => Ok(Some(SealedText(text.trim().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn put(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        let text = format!("{}\n", sealed.0);
        let replace = move |path: &Path| Ok(durable::replace_file(path, text.as_bytes(), OWNER_ONLY)?);
        self.blocking(name, "write", replace).await
    }

    async fn create(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        let text = format!("{}\n", sealed.0);
        self.blocking(name, "write", move |path| match durable::create_file(path, text.as_bytes(), OWNER_ONLY) {
            Ok(()) => Ok(()),
            Err(error) if error.cause().kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(FileError::into(error)),
        })
        .await
    }
}
