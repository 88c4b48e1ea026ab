//! What stands for the export of spans in a build without it.

use tracing::info;

use super::COLLECTOR_VARIABLES;

/// Nothing.
#[derive(Debug)]
pub struct TraceExport;

impl TraceExport {
    /// Says that this build has no traces, if the environment asks for them.
    #[must_use]
    pub fn start() -> Self {
        if COLLECTOR_VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|endpoint| !endpoint.is_empty())) {
            info!("traces are not exported: this binary was built without the feature `otel`");
        }
        Self
    }

    /// Does nothing.
    pub fn end(self) {}
}
