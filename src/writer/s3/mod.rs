//! S3 and everything that speaks its protocol.

#[cfg(feature = "s3")]
mod client;
mod settings;

pub use settings::S3Settings;
