//! Opens what is sealed of a job's callback for those who deliver.

use std::sync::Arc;

use url::Url;

use crate::callback::OpenCallback;
use crate::job::{CallbackHeader, CallbackTarget, JobId};
use crate::register::Sealer;

/// The register's sealer, as the callback room sees it.
pub(super) struct SealedCallbacks(pub(super) Arc<Sealer>);

impl OpenCallback for SealedCallbacks {
    fn open(&self, id: &JobId, target: &CallbackTarget) -> Result<(Url, Vec<CallbackHeader>), String> {
        self.0.unseal_callback(id, target).map_err(|error| error.to_string())
    }
}
