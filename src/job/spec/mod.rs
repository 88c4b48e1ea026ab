//! What a job asks for, parsed from the token's `job` claim. A [`JobSpec`] that exists is valid.

mod backend;
mod callback;
mod expires_after;
mod fields;
mod format;
mod parse;
mod preset;
mod redirect;
mod schema;
mod sub_dir;

pub use backend::{BackendInfo, BackendKind};
pub use callback::{CallbackAddresses, CallbackHeader};
pub use expires_after::ExpiresAfter;
pub(crate) use fields::Fields;
pub use format::{Background, Fit, Format, FormatInfo, Position};
pub use parse::{BOX_SIDE_MAX, ParsedJob, SpecLimits};
pub use preset::{MergedJob, Preset, PresetError};
pub(crate) use schema::optional;
pub use schema::{job_components, job_schema};
pub use sub_dir::SubDir;

use std::ops::Not;

use serde::{Deserialize, Serialize};

/// How soon a job gets its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// 0 on the wire.
    #[default]
    Realtime,
    /// 1 on the wire.
    Queued,
}

impl Priority {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Realtime, Self::Queued];

    /// The number on the wire.
    #[must_use]
    pub fn as_number(self) -> u8 {
        match self {
            Self::Realtime => 0,
            Self::Queued => 1,
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Queued => "queued",
        }
    }
}

/// A valid job.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the claim, and any may go with any")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// How soon it gets its turn.
    pub priority: Priority,
    /// Whether the uploaded bytes are stored too.
    pub keep_original: bool,
    /// Whether the files are stored in the directory that Pixerve serves itself.
    pub direct_host: bool,
    /// Whether those files are served to nobody but whoever has a token that says so.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub private: bool,
    /// Whether names begin with the job's id, so that no other job writes them.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub unique: bool,
    /// The registered stores that get every file.
    pub storage: Vec<StorageKey>,
    /// The directories below the serve directory or the store's prefix.
    pub sub_dir: SubDir,
    /// What is to be made, in the order of the claims; names are unique.
    pub variants: Vec<VariantSpec>,
    /// Whether what stands in the picture's place is made, too. Not written where it is, as by older versions.
    #[serde(default = "is_made", skip_serializing_if = "Clone::clone")]
    pub placeholder: bool,
    /// Whether what a page needs to show the picture is stored beside it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub manifest: bool,
    /// How long after its end it is erased; none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<ExpiresAfter>,
}

fn is_made() -> bool {
    true
}

impl JobSpec {
    /// Files this job makes.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.variants.len() + usize::from(self.keep_original) + usize::from(self.manifest)
    }

    /// How many stores each of them is for, the serve directory included.
    #[must_use]
    pub fn places(&self) -> usize {
        usize::from(self.direct_host) + self.storage.len()
    }
}

/// A registered store that a job uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageKey {
    /// What kind of store the claim says it is.
    pub backend: BackendKind,
    /// What `/register` answered.
    pub access_key: String,
}

/// One file to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantSpec {
    /// What it is encoded as.
    pub format: Format,
    /// Width of the box in pixels; 0 leaves it free.
    pub width: u32,
    /// Height of the box in pixels; 0 leaves it free.
    pub height: u32,
    /// 1-100; none means the format's default.
    pub quality: Option<u8>,
    /// 1 (slowest, smallest) to 10 (fastest); none means the default.
    pub speed: Option<u8>,
    /// How the picture meets the box.
    pub fit: Fit,
    /// What `cover` keeps, and where `contain` puts the picture.
    pub position: Position,
    /// What shows where the picture doesn't.
    pub background: Background,
    /// Whether a source smaller than the box grows.
    pub enlarge: bool,
    /// Whether an animated source stays animated.
    pub animated: bool,
    /// Whether what a truncated file still gives is good enough.
    pub tolerant: bool,
}
