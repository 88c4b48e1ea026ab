//! Memory for making a job's variants.

use std::io::BufReader;

use tokio::task::spawn_blocking;

use super::AttemptError;
use crate::job::{Inspection, JobRecord, SourceInfo};
use crate::pipeline::{Admission, CodecStep, InspectError, PipelineError, PixelLimits, SOURCE_SIDE_MAX, inspect};
use crate::sandbox::SandboxError;
use crate::spool::Spool;
use crate::worker::WorkerContext;
use crate::worker::place::PlaceGuard;

/// Holds the job against today's limits, and the memory that making its variants takes against what was reserved before
/// the claim: less, if settings have changed since the upload so that the job takes more now.
pub(super) async fn admit(
    context: &WorkerContext,
    record: &JobRecord,
    place: &PlaceGuard,
) -> Result<(SourceInfo, Admission), AttemptError> {
    let limit = context.limit_of(record);
    let source = source_info(&*context.spool, record, limit.pixels).await?;
    let admission = limit.admit(&source, record.original.bytes, &record.spec.variants).map_err(of_inspection)?;
    if !place.covers(admission.bytes) {
        return Err(AttemptError::Outgrown { memory: admission.bytes });
    }
    Ok((source, admission))
}

/// What the upload learnt about the original, or, if it was held against other limits, what the original's header says.
async fn source_info(spool: &dyn Spool, record: &JobRecord, limits: PixelLimits) -> Result<SourceInfo, AttemptError> {
    if let Some(inspection) = record.inspection.filter(|inspection| holds_under(inspection, &limits)) {
        return Ok(inspection.source);
    }
    let original = spool.open_original(record).await.map_err(AttemptError::Spool)?;
    spawn_blocking(move || inspect(BufReader::new(original), &limits))
        .await
        .map_err(|panic| {
            // The same header would do the same another time.
            let (step, detail) = (CodecStep::Decoding, panic.to_string());
            AttemptError::Pixels(PipelineError::Panicked { step, detail })
        })?
        .map_err(of_inspection)
}

fn holds_under(inspection: &Inspection, limits: &PixelLimits) -> bool {
    inspection.source_pixels_max == limits.source_max && inspection.source_side_max == SOURCE_SIDE_MAX
}

fn of_inspection(error: InspectError) -> AttemptError {
    match error {
        InspectError::Io(error) => AttemptError::Sandbox(SandboxError::unreadable(error)),
        other => AttemptError::Pixels(other.into()),
    }
}
