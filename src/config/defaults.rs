//! The defaults of `config/default.toml` as values, for whoever builds a room without a whole server: tests, benches.

use std::sync::LazyLock;

use super::{Config, Sources};
use crate::auth::AuthSettings;
use crate::callback::CallbackSettings;
use crate::job::SpecLimits;
use crate::pipeline::PixelLimits;
use crate::queue::QueueSettings;
use crate::sandbox::SandboxSettings;
use crate::spool::SpoolSettings;
use crate::worker::WorkerSettings;
use crate::writer::{StoreSettings, StoreTimeouts};

static DEFAULTS: LazyLock<Config> =
    LazyLock::new(|| Config::load(Sources::default()).expect("INVARIANT: config/default.toml has no errors").0);

impl Default for Config {
    /// What a server runs with that was told nothing.
    fn default() -> Self {
        DEFAULTS.clone()
    }
}

/// The default of each room's settings is what the file says; no room repeats it.
macro_rules! from_the_file {
    ($($settings:ty: $($field:ident).+),+ $(,)?) => {
        $(impl Default for $settings {
            fn default() -> Self {
                DEFAULTS.$($field).+.clone()
            }
        })+
    };
}

from_the_file! {
    AuthSettings: auth,
    SpoolSettings: spool,
    QueueSettings: queue,
    WorkerSettings: worker,
    SandboxSettings: sandbox,
    PixelLimits: pixels,
    SpecLimits: spec,
    StoreSettings: stores,
    StoreTimeouts: stores.timeouts,
    CallbackSettings: callback,
}
