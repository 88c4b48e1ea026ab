//! How long the steps of jobs take.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Format, MANIFEST, SourceFormat};
use crate::metrics::{HistogramBy, Labels, Registry, begin_at_zero, step_seconds};

/// One step of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenderStep {
    /// Of the original.
    Decode(SourceFormat),
    /// One size, its colours included.
    Resize,
    /// One variant.
    Encode(Format),
    /// What was encoded, looked at.
    Verify(Format),
}

/// What is put into a store, as its step is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreStep {
    /// The original.
    Original,
    /// A variant.
    Variant(Format),
    /// What a page needs to show the picture.
    Manifest,
}

/// Times the steps of an [`Engine`](super::Engine), which has no clock itself.
pub trait StepTimer: fmt::Debug + Send + Sync {
    /// A time that only grows.
    fn now(&self) -> Duration;

    /// A step took so long.
    fn took(&self, step: RenderStep, time: Duration);
}

/// How long steps took, by step and format. Clones are one.
#[derive(Clone, Debug)]
pub struct StepMetrics(Arc<HistogramBy<2>>);

impl Default for StepMetrics {
    fn default() -> Self {
        let steps = HistogramBy::new_with_constructor(step_seconds);
        begin_at_zero(&steps, SourceFormat::ALL.map(|format| labels(RenderStep::Decode(format))));
        begin_at_zero(&steps, [labels(RenderStep::Resize), stored(StoreStep::Original), stored(StoreStep::Manifest)]);
        for format in Format::ALL {
            let [encoded, verified] = [RenderStep::Encode(format), RenderStep::Verify(format)].map(labels);
            begin_at_zero(&steps, [encoded, verified, stored(StoreStep::Variant(format))]);
        }
        Self(Arc::new(steps))
    }
}

/// Of a step that has to do with none.
const NO_FORMAT: &str = "none";

fn labels(step: RenderStep) -> Labels<2> {
    let (step, format) = match step {
        RenderStep::Decode(format) => ("decode", format.extension()),
        RenderStep::Resize => ("resize", NO_FORMAT),
        RenderStep::Encode(format) => ("encode", format.extension()),
        RenderStep::Verify(format) => ("verify", format.extension()),
    };
    [("step", step), ("format", format)]
}

fn stored(step: StoreStep) -> Labels<2> {
    let format = match step {
        StoreStep::Original => "original",
        StoreStep::Variant(format) => format.extension(),
        StoreStep::Manifest => MANIFEST.extension,
    };
    [("step", "store"), ("format", format)]
}

/// As in `encode webp`.
impl fmt::Display for RenderStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(_, step), (_, format)] = labels(*self);
        f.write_str(step)?;
        if format == NO_FORMAT { Ok(()) } else { write!(f, " {format}") }
    }
}

impl StepMetrics {
    /// Under their name.
    pub fn register(&self, registry: &mut Registry) {
        let help = "What one step of a job took: one size, one variant, one file in one store";
        registry.register("pixerve_step_duration_seconds", help, (*self.0).clone());
    }

    /// A step took so long.
    pub fn observe(&self, step: RenderStep, time: Duration) {
        self.0.get_or_create(&labels(step)).observe(time.as_secs_f64());
    }

    /// Storing one file took so long.
    pub fn observe_store(&self, step: StoreStep, time: Duration) {
        self.0.get_or_create(&stored(step)).observe(time.as_secs_f64());
    }
}
