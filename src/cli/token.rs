//! `pixerve token`, and the tokens that other commands sign for themselves: signed with this server's own key.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::{AuthError, Authenticator, KeyRing, KeyRingError, NewToken, ReadPaths, Scope, SignError};
use crate::callback::AddressPolicy;
use crate::clock::{Clock, System};
use crate::config::Config;
use crate::job::{ClaimErrors, JobId, ParsedJob, PresetName};

/// What token to make.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// Its `sub`: the owner of what it uploads.
    pub sub: String,
    /// The scope it carries.
    pub scope: Option<Scope>,
    /// The private files that it reads, locations or prefixes of some; it is good for nothing else then.
    pub read: Vec<String>,
    /// How long it is valid.
    pub ttl: Duration,
    /// A JSON file with the job; `-` is the standard input.
    pub job: Option<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no job where one should be.
    #[error("reading the job in {file}")]
    Read {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// What is there is no JSON.
    #[error("reading the job in {file}")]
    Json {
        /// Which file.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The server would say the same.
    #[error("the job would be refused: {0}")]
    Job(ClaimErrors),
    /// No server would take what it is to read.
    #[error(transparent)]
    BadRead(AuthError),
    /// The keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// There are none.
    #[error(
        "there is no signing key: {} doesn't exist and PIXERVE_JWT_SECRET is not set. Run this where the server runs, with its \
         settings; its first start makes the file", .path.display()
    )]
    NoKeys {
        /// Where they should be.
        path: PathBuf,
    },
    /// No server would take it.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A signed token. A job that the server would refuse is refused here, with the same words.
///
/// # Errors
/// If there is no such job, or no key to sign with.
pub fn token(config: &Config, options: TokenOptions) -> Result<String, TokenError> {
    let TokenOptions { sub, scope, read, ttl, job } = options;
    let read = if read.is_empty() {
        None
    } else {
        Some(ReadPaths::new(read.iter().map(String::as_str)).map_err(TokenError::BadRead)?)
    };
    let job = job.as_deref().map(|file| SignedJob::read(config, file)).transpose()?;
    let jti = job.as_ref().and_then(SignedJob::new_jti);
    let token = NewToken { sub, scope, read, ttl, jti, job: job.map(|job| job.claim) };
    Ok(authenticator(config)?.sign(&token, System::new().now())?)
}

/// What signs with the keys of this server.
///
/// # Errors
/// If there are none here, or they can't be used.
pub(super) fn authenticator(config: &Config) -> Result<Authenticator, TokenError> {
    let file = &config.auth.jwt_file;
    let keys = KeyRing::load(file, config.auth.jwt_secret.as_ref())?;
    let keys = keys.ok_or_else(|| TokenError::NoKeys { path: file.clone() })?;
    Ok(Authenticator::new(keys, config.auth.clone()))
}

/// A job that the server would take, as far as it can be told without its register and its presets.
#[derive(Clone, Debug)]
pub(super) struct SignedJob {
    /// What a token carries as `job`.
    pub(super) claim: Value,
    /// It is, or may be, good for one upload.
    has_jti: bool,
}

impl SignedJob {
    /// The one in `file`; `-` is the standard input.
    ///
    /// # Errors
    /// If it can't be read, or would be refused.
    pub(super) fn read(config: &Config, file: &Path) -> Result<Self, TokenError> {
        let is_stdin = file == Path::new("-");
        let shown = || if is_stdin { "the standard input".to_owned() } else { file.display().to_string() };
        let text = if is_stdin { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(file) };
        let text = text.map_err(|source| TokenError::Read { file: shown(), source })?;
        // Editors on Windows may begin a file with a byte order mark.
        let claim: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|source| TokenError::Json { file: shown(), source })?;
        let job = ParsedJob::from_unmerged_claim(&claim, config.spec).map_err(TokenError::Job)?;
        let mut errors = ClaimErrors::default();
        job.check_callback("/job", &AddressPolicy::new(config.callback.allow.clone()), &mut errors);
        let job = errors.or(job).map_err(TokenError::Job)?;
        // What the preset says, the server knows: it may be good for one upload.
        Ok(Self { claim, has_jti: job.once || job.preset.is_some() })
    }

    /// The one that a preset of the server makes.
    pub(super) fn of_preset(name: &PresetName) -> Self {
        Self { claim: json!({ "preset": name }), has_jti: true }
    }

    /// What tells a token with this job from every other, if it needs that.
    pub(super) fn new_jti(&self) -> Option<String> {
        self.has_jti.then(|| JobId::new(System::new().now()).to_string())
    }
}
