//! Our own bucket, where many nodes keep together what can't be made again: originals with their manifests, the register,
//! and the files that they serve, if not from a directory (`serve/`). It is one S3 location with strong read-after-write
//! consistency; every key is below the prefix of its URL.
//!
//! Each call is one try, bounded in time: whoever calls knows whether to try again, by what [`BucketError`] says. The only
//! clock that counts is the bucket's: ages are told by the `Date` of an answer.
//!
//! Also what every client of S3 needs, and what is written about buckets, whoever they belong to.

// Some of what stores and our bucket share is needed by one kind of them alone, or by none.
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
pub(crate) mod answer;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod checked_file;
mod error;
mod key_prefix;
#[cfg(feature = "s3")]
mod location;
mod probe;
pub(crate) mod rules;
#[cfg(feature = "s3")]
pub(crate) mod s3;
mod settings;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod timeouts;
#[cfg(feature = "s3")]
mod tried;

pub(crate) use checked_file::CheckedFile;
pub use error::BucketError;
pub use key_prefix::KeyPrefix;
#[cfg(feature = "s3")]
pub use location::{Bucket, DELETE_MAX, ListPage, ListedObject, ObjectInfo, ObjectReader};
pub use probe::LastProbe;
pub use settings::{BucketSettings, BucketUrl};
pub use timeouts::StoreTimeouts;
#[cfg(feature = "s3")]
pub(crate) use tried::tried;
