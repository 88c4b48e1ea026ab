//! An original's bytes to the variants' bytes: inspect, decode, orient, resize, convert to sRGB, encode.
//!
//! Pure and synchronous: no files, no network, no clock. What can be refused is refused from the header, before
//! anything is allocated ([`inspect`], [`check_outputs`]); [`Engine::render`] does the rest.

mod animation;
mod colour;
mod compose;
mod container;
mod credits;
mod decode;
mod engine;
mod error;
mod geometry;
mod inspect;
mod limits;
mod memory;
mod orient;
mod outputs;
mod placeholder;
mod plan;
mod raster;
mod request;
mod resize;
mod sizes;
mod source_raster;
mod step_times;
#[doc(hidden)]
pub mod steps;
mod verify;

pub use engine::{Engine, Rendered};
pub use error::{CodecStep, PipelineError};
pub use geometry::{Canvas, Layout, Region};
pub use inspect::{InspectError, inspect};
pub use limits::{PixelLimits, SOURCE_SIDE_MAX};
pub use memory::{Admission, JOB_BYTES_MIN, MemoryLimit, memory_estimate};
pub use outputs::{Output, check_outputs, same_as};
pub use request::RenderRequest;
pub use step_times::{RenderStep, StepMetrics, StepTimer, StoreStep};
pub(crate) use verify::check_header;

pub use crate::job::SourceInfo;
