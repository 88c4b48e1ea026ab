//! The settings: gathered, parsed and checked once, before anything else runs.
//!
//! Four layers, later wins: `config/default.toml` (compiled in, names every setting), the file given by `--config`,
//! `.env` in the working directory, the environment. The variable of `table.key` is `PIXERVE_TABLE_KEY`. This is the
//! only room that reads the environment, but for the variables that libraries define and read themselves: `AWS_*` for the
//! credentials of the bucket, `OTEL_*` for traces. Whatever is wrong is collected and reported in one go.

mod bounds;
mod check;
mod client;
mod defaults;
mod error;
mod layer;
mod name;
mod reader;
mod settings;
mod sources;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use client::ClientVariables;
pub use error::{ConfigError, ConfigErrors, Origin, Warning};
pub use settings::{Config, ConnectionLimits, PrivatePlace, Server};
pub use sources::Sources;

use layer::SettingLayers;
use reader::Reader;

/// The defaults and the names of all settings.
const DEFAULTS: &str = include_str!("../../config/default.toml");

impl Config {
    /// The settings of this process: the file if one is given, `.env`, the environment.
    ///
    /// # Errors
    /// Everything that is wrong, at once, in words for the operator. Values of secrets are never among them.
    pub fn from_process(file: Option<&Path>) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let (sources, unreadable) = Sources::gather(file);
        match (Self::load(sources), unreadable) {
            (loaded, unreadable) if unreadable.is_empty() => loaded,
            (Ok(_), unreadable) => Err(ConfigErrors::new(unreadable)),
            (Err(more), mut errors) => {
                errors.extend(more.into_inner());
                Err(ConfigErrors::new(errors))
            }
        }
    }

    /// The settings that `sources` make. Touches neither the environment nor a file.
    ///
    /// # Errors
    /// Everything that is wrong, at once: unknown keys of the file, bad values anywhere, values that contradict others.
    pub fn load(sources: Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let layers = SettingLayers::stack(DEFAULTS, sources);
        let mut reader = Reader::new(layers);
        let config: Self = reader.read();
        debug_assert!(reader.unread().is_empty(), "in default.toml but not in Config: {:?}", reader.unread());
        reader.check_clamped("max_workers", config.worker.max_workers);
        bounds::check(&mut reader);
        check::relations(&config, &mut reader);
        let warnings = reader.finish()?;
        Ok((config, warnings))
    }

    /// The names of all settings, such as `addr` and `queue.lease`, sorted.
    #[must_use]
    pub fn setting_names() -> Vec<String> {
        layer::setting_names(DEFAULTS)
    }

    /// The environment variable of the setting `name`: `queue.lease` is `PIXERVE_QUEUE_LEASE`.
    #[must_use]
    pub fn variable_of(name: &str) -> String {
        name::variable_of(name)
    }
}
