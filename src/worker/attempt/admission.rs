//! Memory for making a job's variants.

use std::fs::File;
use std::io::{BufReader, Seek};

use tokio::task::spawn_blocking;

use super::{Attempt, AttemptError};
use crate::pipeline::{Admission, InspectError, inspect};
use crate::sandbox::SandboxError;
use crate::worker::budget::MemoryShare;

/// A job for which there is memory.
pub(super) struct Admitted {
    pub(super) original: File,
    pub(super) admission: Admission,
    pub(super) memory: MemoryShare,
}

impl Attempt<'_> {
    /// Sees to it that there is memory for making the variants: it was reserved before the claim, unless settings have
    /// changed since the upload, so that the job takes more now. Waiting for it doesn't count as the job's time.
    pub(super) async fn admit(&self, original: File, mut memory: MemoryShare) -> Result<Admitted, AttemptError> {
        let limit = self.context.memory_limit;
        let inspected = spawn_blocking(move || {
            let mut original = original;
            let info = inspect(BufReader::new(&original), &limit.pixels);
            original.rewind()?;
            Ok((original, info))
        });
        let (original, info) = inspected
            .await
            .map_err(|error| AttemptError::Panicked(error.to_string()))?
            .map_err(|error| AttemptError::Sandbox(SandboxError::unreadable(error)))?;
        let admitted = info.and_then(|info| limit.admit(&info, self.record.original.bytes, &self.record.spec.variants));
        let admission = admitted.map_err(|error| match error {
            InspectError::Io(error) => AttemptError::Sandbox(SandboxError::unreadable(error)),
            other => AttemptError::Pixels(other.into()),
        })?;
        if !memory.covers(admission.bytes) {
            // Given back first: two that hold some and wait for more would wait for each other.
            drop(memory);
            memory = self.context.memory.take(admission.bytes).await;
        }
        Ok(Admitted { original, admission, memory })
    }
}
