//! Opens a job's sealed callback headers for those who deliver.

use std::sync::Arc;

use crate::callback::OpenHeaders;
use crate::job::{CallbackHeader, JobId, SealedText};
use crate::vault::Vault;

/// The vault, as the callback room sees it.
pub(super) struct VaultHeaders(pub(super) Arc<Vault>);

impl OpenHeaders for VaultHeaders {
    fn open(&self, id: &JobId, sealed: &SealedText) -> Result<Vec<CallbackHeader>, String> {
        self.0.sealer().unseal_headers(id, sealed).map_err(|error| error.to_string())
    }
}
