//! Whether a token allows an upload, known before the body is read.

use serde_json::Value;

use super::InspectedUpload;
use crate::auth::Verified;
use crate::job::{CallbackTarget, ClaimErrors, HashKey, JobId, JobRecord, Owner, ParsedJob, RecordVersion, Stem};
use crate::register::RegisterError;
use crate::routes::extract::verify;
use crate::routes::{AppState, Refusal};

/// The job of a `job` claim, if this registered user, or none, may ask for it.
pub(in crate::routes) fn allowed_job(
    state: &AppState,
    claim: Option<&Value>,
    user: Option<&str>,
) -> Result<ParsedJob, ClaimErrors> {
    let job = ParsedJob::from_claim(claim, state.spec_limits)?;
    let mut errors = ClaimErrors::default();
    for key in &job.spec.storage {
        if !state.register.may_use(&key.access_key, key.backend, user) {
            let backend = key.backend.as_str();
            errors.push(
                format!("/job/storageKeys/{backend}"),
                format!("no {backend} store is registered under this access_key, for this user"),
            );
        }
    }
    errors.or(job)
}

/// What a verified token allows: an upload of this owner's, for this valid job.
pub(super) struct UploadGrant {
    owner: Owner,
    pub(super) job: ParsedJob,
}

impl UploadGrant {
    /// Verifies `token` and its job, and that the job's stores may be used. Counts as an upload of its owner's.
    pub(super) fn check(state: &AppState, token: &str) -> Result<Self, Refusal> {
        let Verified { owner, claims, .. } = verify(state, token)?;
        state.rates.count_upload(&owner)?;
        let job = allowed_job(state, claims.get("job"), owner.user.as_deref())?;
        Ok(Self { owner, job })
    }

    /// The record of the granted job, with what the upload turned out to be.
    pub(super) fn into_record(
        self,
        state: &AppState,
        id: JobId,
        stem: Stem,
        inspected: InspectedUpload,
    ) -> Result<JobRecord, Refusal> {
        let ParsedJob { spec, callback_url, callback_headers, callback_events, job_data } = self.job;
        let InspectedUpload { original, inspection, memory } = inspected;
        let callback = callback_url
            .map(|url| state.sealer.seal_callback(&id, &url, &callback_headers))
            .transpose()
            .map_err(RegisterError::from)?
            .map(|target| CallbackTarget { events: callback_events, ..target });
        Ok(JobRecord {
            version: RecordVersion,
            id,
            hash: HashKey::new(&original.sha256, &self.owner),
            owner: self.owner,
            stem,
            original,
            spec,
            callback,
            job_data,
            created_at: state.clock.now(),
            memory,
            inspection: Some(inspection),
        })
    }
}
