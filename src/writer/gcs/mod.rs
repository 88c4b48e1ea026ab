//! Google Cloud Storage.

#[cfg(feature = "gcs")]
mod client;
mod settings;

pub use settings::GcsSettings;
