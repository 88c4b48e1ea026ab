//! What is to be made of one original.

use serde::{Deserialize, Serialize};

use super::{Admission, Output, PixelLimits};
use crate::encoder::AvifEngine;
use crate::job::VariantSpec;

/// One attempt's pixels: made once, by the attempt, and passed on unchanged, to this process's engine or through a pipe to
/// a child's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenderRequest {
    /// All of the job's: the scale at which the original is decoded, and which size is made of which, depend on all of
    /// them.
    pub variants: Vec<VariantSpec>,
    /// What each of them comes to, by what the original's header says.
    pub outputs: Vec<Output>,
    /// Those that are to be made: indices into `variants`, ascending. The others are stored already.
    pub wanted: Vec<usize>,
    /// Bytes of the original.
    pub source_bytes: u64,
    /// What the original and its variants may have of pixels.
    pub limits: PixelLimits,
    /// Memory and threads that a child may take.
    pub admission: Admission,
    /// What makes AVIF.
    pub avif_engine: AvifEngine,
    /// Whether what stands in the picture's place is made, too.
    pub placeholder: bool,
}

impl RenderRequest {
    /// Whether the variant of this index is to be made.
    #[must_use]
    pub fn is_wanted(&self, index: usize) -> bool {
        self.wanted.binary_search(&index).is_ok()
    }
}
