//! Google Cloud Storage.

#[cfg(feature = "gcs")]
mod client;
mod settings;

pub use settings::GcsSettings;

use std::sync::Arc;

use super::{StoreTimeouts, WriteError, WriterBackend};

/// See [`StorageSettings::connect`](super::StorageSettings::connect).
#[cfg(feature = "gcs")]
pub(super) fn connect(settings: &GcsSettings, timeouts: &StoreTimeouts) -> Result<Arc<dyn WriterBackend>, WriteError> {
    Ok(Arc::new(client::Gcs::connect(settings, timeouts)?))
}

#[cfg(not(feature = "gcs"))]
pub(super) fn connect(_: &GcsSettings, _: &StoreTimeouts) -> Result<Arc<dyn WriterBackend>, WriteError> {
    Err(WriteError::not_built_in(crate::job::BackendKind::Gcs))
}
