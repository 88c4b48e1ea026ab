//! S3 and everything that speaks its protocol.

#[cfg(feature = "s3")]
mod client;
#[cfg(feature = "s3")]
mod listed;
mod settings;
#[cfg(feature = "s3")]
mod stored;

#[cfg(feature = "s3")]
pub(super) use client::S3;
pub use settings::S3Settings;

use std::sync::Arc;

use super::{StoreTimeouts, WriteError, WriterBackend};

/// See [`StorageSettings::connect`](super::StorageSettings::connect).
#[cfg(feature = "s3")]
pub(super) fn connect(settings: &S3Settings, timeouts: &StoreTimeouts) -> Result<Arc<dyn WriterBackend>, WriteError> {
    Ok(Arc::new(client::S3::connect(settings, timeouts)?))
}

#[cfg(not(feature = "s3"))]
pub(super) fn connect(_: &S3Settings, _: &StoreTimeouts) -> Result<Arc<dyn WriterBackend>, WriteError> {
    Err(WriteError::not_built_in(crate::job::BackendKind::S3))
}
