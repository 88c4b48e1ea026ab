//! Opens a job's sealed callback headers for those who deliver.

use std::sync::Arc;

use crate::callback::OpenHeaders;
use crate::job::{CallbackHeader, JobId, SealedText};
use crate::register::Sealer;

/// The register's sealer, as the callback room sees it.
pub(super) struct SealedHeaders(pub(super) Arc<Sealer>);

impl OpenHeaders for SealedHeaders {
    fn open(&self, id: &JobId, sealed: &SealedText) -> Result<Vec<CallbackHeader>, String> {
        self.0.unseal_headers(id, sealed).map_err(|error| error.to_string())
    }
}
