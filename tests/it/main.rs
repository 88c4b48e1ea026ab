//! The integration tests: one binary, a module a behaviour. Those whose jobs store at S3 or GCS are left out of a build that
//! lacks them.

#[cfg(all(feature = "s3", feature = "gcs"))]
mod apps;
mod auth;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod battery;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod bucket;
mod callback;
mod cli;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod cluster;
mod compatibility;
mod config;
mod deploy;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod end_to_end;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod erasure;
mod files;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod harness;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod http;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod jobs;
mod kill;
mod layers;
mod ledger;
mod logs;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod migrate;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod names;
mod nginx;
mod nodes;
mod pixels;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod private;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod prometheus;
mod queue;
mod register;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod restart;
mod sandbox;
mod spool;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod stored_manifest;
mod tour;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod traces;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod writer;
