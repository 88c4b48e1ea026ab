//! Composition: settings in, a running server out.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Print a token and a command to try the server with once it is up.
    pub demo: bool,
}

/// What token to make.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// The subject.
    pub sub: String,
    /// Whether it carries the admin scope.
    pub admin: bool,
    /// How long it is good for.
    pub ttl: Duration,
    /// A JSON file with the job.
    pub job: Option<PathBuf>,
}

/// Serves until a signal to stop.
#[expect(clippy::unused_async, reason = "not wired yet")]
pub async fn serve(_config: Config, _options: ServeOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}

/// A signed token.
#[expect(clippy::unused_async, reason = "not wired yet")]
pub async fn token(_config: Config, _options: TokenOptions) -> anyhow::Result<String> {
    anyhow::bail!("not wired yet")
}
