//! The settings of the spool.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::bucket::BucketSettings;
use crate::setting;

/// Where originals are, and for how long.
#[derive(Clone, Debug, Deserialize)]
pub struct SpoolSettings {
    /// The bucket, if they are in one.
    pub bucket: BucketSettings,
    /// How long the original of an ended job stays in the bucket once its callback is settled.
    #[serde(deserialize_with = "setting::duration_or_zero")]
    pub keep_after_end: Duration,
    /// How long the originals of failed and cancelled jobs are kept, so that those can be run again; none are if it is zero.
    #[serde(rename = ".queue.failed_originals_kept", deserialize_with = "setting::duration_or_zero")]
    pub failed_originals_kept: Duration,
    /// Where a node without a spool of its own has what it works on; none for `scratch` in the data directory.
    #[serde(rename = ".node.scratch_dir", deserialize_with = "setting::optional_path")]
    pub scratch_dir: Option<PathBuf>,
}
