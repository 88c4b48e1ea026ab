//! What the tests share: a whole server, servers for it to talk to, tokens, pictures.

pub(crate) mod api;
pub(crate) mod app;
#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod browser;
#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod ceph;
#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod cluster;
pub(crate) mod deliveries;
pub(crate) mod described;
pub(crate) mod faketime;
pub(crate) mod fault_proxy;
pub(crate) mod http2;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod picture;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod redis_pair;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod s3;
mod script;
pub(crate) mod spool;
#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod stores;
pub(crate) mod token;
pub(crate) mod tool;
