//! Whether a token allows an upload, known before the body is read.

use serde_json::{Map, Value};

use super::InspectedUpload;
use super::form_redirect::FormRedirect;
use crate::auth::Verified;
use crate::job::{
    CallbackTarget, ClaimErrors, ContentHash, HashKey, JobFingerprint, JobId, JobRecord, MergedJob, OnDuplicate,
    OnceToken, Owner, ParsedJob, PresetName, RequestFingerprint, Stem,
};
use crate::register::RegisterError;
use crate::routes::extract::verify;
use crate::routes::idempotency::canonical;
use crate::routes::{AppState, Refusal};

/// What a `job` claim asks for with the preset that it names, of a token whose signer is bound to these presets, or to none.
pub(in crate::routes) fn merged_job(
    state: &AppState,
    claim: Option<&Value>,
    bound: Option<&[PresetName]>,
) -> MergedJob {
    MergedJob::of(claim, bound, |name| state.presets.find(name))
}

/// The job, if this registered user, or none, may ask for it, and how it was merged.
pub(in crate::routes) fn allowed_job(
    state: &AppState,
    merged: MergedJob,
    user: Option<&str>,
) -> Result<(ParsedJob, Value), ClaimErrors> {
    merged.read(state.spec_limits, |job, errors| {
        job.check_callback("/job", &*state.callback_addresses, errors);
        for key in &job.spec.storage {
            if !state.register.may_use(&key.access_key, key.backend, user) {
                let backend = key.backend.as_str();
                errors.push(
                    format!("/job/storageKeys/{backend}"),
                    format!("no {backend} store is registered under this access_key, for this user"),
                );
            }
        }
    })
}

/// What a verified token allows: an upload of this owner's, for this valid job.
pub(in crate::routes) struct UploadGrant {
    pub(super) owner: Owner,
    /// The token itself, if it is good for one upload.
    pub(in crate::routes) once: Option<OnceToken>,
    pub(in crate::routes) job: ParsedJob,
    /// The job's claim as it came: what the client asked for.
    claim: Value,
    /// The same with its preset: what that came to.
    merged: Value,
}

impl UploadGrant {
    /// Verifies `token` and its job, and that the job's stores may be used. Once the token is good, `redirect` knows where it
    /// says. Counts as an upload of its owner's.
    pub(super) fn check(state: &AppState, token: &str, redirect: &mut FormRedirect) -> Result<Self, Refusal> {
        let verified = verify(state, token)?;
        let merged = merged_job(state, verified.claims.get("job"), verified.presets.as_deref());
        redirect.follow(merged.job.as_ref());
        state.rates.count_upload(&verified.owner)?;
        let owner = verified.owner.clone();
        Self::of_merged(state, verified, merged, owner)
    }

    /// What a good token allows that reaches `owner`: a job of that one's.
    pub(in crate::routes) fn of(state: &AppState, token: Verified, owner: Owner) -> Result<Self, Refusal> {
        let merged = merged_job(state, token.claims.get("job"), token.presets.as_deref());
        Self::of_merged(state, token, merged, owner)
    }

    fn of_merged(state: &AppState, token: Verified, merged: MergedJob, owner: Owner) -> Result<Self, Refusal> {
        let Verified { owner: signer, mut claims, good_until, .. } = token;
        let (job, merged) = allowed_job(state, merged, owner.user.as_deref())?;
        let mut errors = ClaimErrors::default();
        let jti = if job.once { jti(&claims, &mut errors) } else { None };
        let once = jti.map(|jti| OnceToken::new(&signer, jti, good_until));
        let claim = claims.remove("job").unwrap_or_default();
        let errors = errors.with_preset(job.preset.as_ref());
        errors.or(Self { owner, once, job, claim, merged }).map_err(Refusal::from)
    }

    /// What is the same for two uploads of this job with a file of this name and these bytes.
    pub(super) fn fingerprint(&self, state: &AppState, name: &str, sha256: &ContentHash) -> RequestFingerprint {
        RequestFingerprint(state.sealer.fingerprint(&format!("{sha256} {} {name}", canonical(&self.claim))))
    }

    /// How much the file may be.
    pub(in crate::routes) fn file_limit(&self, state: &AppState) -> FileLimit {
        FileLimit::of(state, self.job.bytes_max)
    }

    /// The record of the granted job, with what the upload turned out to be.
    pub(in crate::routes) fn into_record(
        self,
        state: &AppState,
        id: JobId,
        stem: Stem,
        inspected: InspectedUpload,
    ) -> Result<JobRecord, Refusal> {
        let ParsedJob {
            mut spec,
            callback_url,
            callback_headers,
            callback_events,
            reference,
            job_data,
            queues_duplicate,
            ..
        } = self.job;
        let InspectedUpload { original, inspection, memory } = inspected;
        spec.expires_after = spec.expires_after.or(state.http.expires_after);
        let callback = callback_url
            .map(|url| state.sealer.seal_callback(&id, &url, &callback_headers))
            .transpose()
            .map_err(RegisterError::from)?
            .map(|target| CallbackTarget { events: callback_events, ..target });
        let on_duplicate = if queues_duplicate {
            // Under another name its files are others.
            let compared = format!("{stem} {}", canonical(&self.merged));
            OnDuplicate::Queue(JobFingerprint(state.sealer.fingerprint(&compared)))
        } else {
            OnDuplicate::Refuse
        };
        Ok(JobRecord {
            version: state.record_version(callback.as_ref(), &spec),
            id,
            hash: HashKey::new(&original.sha256, &self.owner),
            owner: self.owner,
            stem,
            original,
            spec,
            callback,
            job_data,
            reference,
            once: self.once,
            on_duplicate,
            idempotency: None,
            retry_of: None,
            reprocess_of: None,
            created_at: state.clock.now(),
            memory,
            inspection: Some(inspection),
            trace: None,
        })
    }
}

/// What tells a token from every other.
fn jti<'a>(claims: &'a Map<String, Value>, errors: &mut ClaimErrors) -> Option<&'a str> {
    let jti = claims.get("jti").and_then(Value::as_str);
    let jti = jti.filter(|jti| (1..=OnceToken::JTI_BYTES_MAX).contains(&jti.len()));
    if jti.is_none() {
        let max = OnceToken::JTI_BYTES_MAX;
        errors.push(
            "/jti",
            format!("must be a string of 1 to {max} bytes that no other token has, since the job says `once`"),
        );
    }
    jti
}

/// How much the file of an upload may be, and whose limit that is.
#[derive(Clone, Copy)]
pub(in crate::routes) struct FileLimit {
    pub(in crate::routes) bytes_max: u64,
    is_tokens: bool,
}

impl FileLimit {
    /// The server's limit, or the token's if that is lower.
    pub(super) fn of(state: &AppState, token_max: Option<u64>) -> Self {
        let server_max = state.http.body_bytes_max;
        match token_max.filter(|token_max| *token_max < server_max) {
            Some(bytes_max) => Self { bytes_max, is_tokens: true },
            None => Self { bytes_max: server_max, is_tokens: false },
        }
    }

    /// What a file is told that is larger.
    pub(in crate::routes) fn refusal(self) -> Refusal {
        let Self { bytes_max, is_tokens } = self;
        if is_tokens { Refusal::LargerThanToken { bytes_max } } else { Refusal::BodyTooLarge { bytes_max } }
    }
}
