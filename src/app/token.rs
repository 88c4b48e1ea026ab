//! `pixerve token`: a token signed with this server's own key.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::auth::{Authenticator, KeyRing, NewToken, Scope};
use crate::callback::AddressPolicy;
use crate::clock::{Clock, System};
use crate::config::Config;
use crate::job::{ClaimErrors, JobId, ParsedJob};

/// What token to make.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// Its `sub`: the owner of what it uploads.
    pub sub: String,
    /// The scope it carries.
    pub scope: Option<Scope>,
    /// How long it is valid.
    pub ttl: Duration,
    /// A JSON file with the job; `-` is the standard input.
    pub job: Option<PathBuf>,
}

/// A signed token. A job that the server would refuse is refused here, with the same words.
pub fn token(config: &Config, options: TokenOptions) -> anyhow::Result<String> {
    let job = options.job.as_deref().map(read_job).transpose()?;
    let now = System::new().now();
    let mut jti = None;
    if let Some(job) = &job {
        match check_job(config, job) {
            // One that is good for one upload has to be told from every other.
            Ok(job) => jti = job.once.then(|| JobId::new(now).to_string()),
            Err(errors) => bail!("the job would be refused: {errors}"),
        }
    }
    let file = &config.auth.jwt_file;
    let Some(keys) = KeyRing::load(file, config.auth.jwt_secret.as_ref())? else {
        bail!(
            "there is no signing key: {} doesn't exist and PIXERVE_JWT_SECRET is not set. Run this where the server \
             runs, with its settings; its first start makes the file",
            file.display()
        );
    };
    let authenticator = Authenticator::new(keys, config.auth.clone());
    let token = NewToken { sub: options.sub, scope: options.scope, ttl: options.ttl, jti, job };
    Ok(authenticator.sign(&token, now)?)
}

/// As far as the server can tell without the register.
fn check_job(config: &Config, job: &Value) -> Result<ParsedJob, ClaimErrors> {
    let job = ParsedJob::from_claim(Some(job), config.spec)?;
    let mut errors = ClaimErrors::default();
    job.check_callback(&AddressPolicy::new(config.callback.allow.clone()), &mut errors);
    errors.or(job)
}

fn read_job(path: &Path) -> anyhow::Result<Value> {
    let is_stdin = path == Path::new("-");
    let what = || {
        if is_stdin {
            "reading the job from the standard input".to_owned()
        } else {
            format!("reading the job in {}", path.display())
        }
    };
    let text = if is_stdin { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) };
    let text = text.with_context(what)?;
    // Editors on Windows may begin a file with a byte order mark.
    serde_json::from_str(text.trim_start_matches('\u{feff}')).with_context(what)
}
