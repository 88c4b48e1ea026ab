//! `POST /reprocess`: another job on bytes that are there.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use tracing::warn;

use super::acceptance::{self, AcceptedUpload, BegunWhole, JobBytes, RepeatableRequest, RequestAnswer, token_used};
use super::access::RequestTrace;
use super::extract::{Caller, JobQuery, Manager, Parameters, find_managed};
use super::idempotency::{IdempotencyHeader, RequestKey, canonical};
use super::problem::refusals;
use super::upload::{UploadGrant, check_room, hold_to_limits, inspect_upload, read_header};
use super::{AppState, Refusal};
use crate::auth::{Scope, Verified};
use crate::error_chain::ErrorChain;
use crate::job::{Inspection, JobId, JobRecord, RequestFingerprint, Stored, TraceContext};
use crate::pipeline::SOURCE_SIDE_MAX;
use crate::queue::Job;
use crate::spool::{Received, SpoolEntry, SpoolError};
use crate::writer::{StorageSettings, WriteError, WriteErrorKind, WriterBackend};

const PATH: &str = "/reprocess";

/// How often a job may have been made of another's bytes, and that one of another's.
const CHAIN_MAX: usize = 100;

refusals!(
    ReprocessRefusals: BadRequest, InvalidFields, Unauthorized, Forbidden, NotFound, TooLarge, DuplicateJob, TokenUsed, OriginalGone,
    JobTooLarge, TooManyJobs, UnsupportedImage, DamagedImage, ImageTooLarge, DiskFull, QueueFull, Draining, Paused, Unavailable,
    BadIdempotencyKey, IdempotencyInFlight, IdempotencyKeyReused
);

/// Makes another job of the bytes of one that is known
///
/// The job is the `job` claim of the token, as for `/upload`; the picture, its name and its owner are those of the job that a parameter
/// names. Its bytes are taken from where they wait for their job or are kept after it, or from where `keepOriginal` stored them.
#[utoipa::path(
    post, path = "/reprocess", tag = "Jobs", security(("token" = ["manage"])), params(JobQuery, IdempotencyHeader),
    responses(
        (
            status = 200, description = "The job on the same bytes.", body = AcceptedUpload,
            headers((
                "Idempotency-Replayed" = bool,
                description = "`true` where this was answered to an earlier request with the same `Idempotency-Key`."
            ))
        ),
        ReprocessRefusals
    )
)]
pub(super) async fn reprocess(
    State(state): State<AppState>,
    token: Result<Caller, Refusal>,
    Parameters(query): Parameters<JobQuery>,
    request: Request,
) -> Result<RequestAnswer, Refusal> {
    let Caller(token) = token.map_err(|refusal| refusal.lacking(Scope::Manage))?;
    let manager = Manager::of(&token)?;
    let key = RequestKey::of(request.headers())?;
    let trace = request.extensions().get().and_then(|RequestTrace(trace)| trace.clone());
    state.rates.count_upload(&token.owner)?;
    check_room(&state).await?;
    let job = token.claims.get("job").map(canonical).unwrap_or_default();
    let fingerprint = RequestFingerprint(state.sealer.fingerprint(&format!("{job} {}", query.compared())));
    let repeatable = match RepeatableRequest::begin(&state, &token.owner, PATH, key, fingerprint).await? {
        BegunWhole::Answered(answer) => return Ok(answer),
        BegunWhole::ToDo(repeatable) => repeatable,
    };
    match prepare(&state, token, &manager, &query, trace).await {
        Ok((bytes, record)) => {
            let answer = RequestAnswer::new(StatusCode::OK, &AcceptedUpload::of(&state, &record));
            acceptance::accept(&state, bytes, record, answer, repeatable).await
        }
        Err(refusal) => {
            if let Some(repeatable) = repeatable {
                repeatable.request.end().await;
            }
            Err(refusal)
        }
    }
}

/// Everything that can be refused is refused before the bytes are looked for, which may be far away.
async fn prepare(
    state: &AppState,
    token: Verified,
    manager: &Manager,
    query: &JobQuery,
    trace: Option<TraceContext>,
) -> Result<(JobBytes, JobRecord), Refusal> {
    let named = find_managed(state, manager, query).await?;
    // Of whose picture it is, whoever asks: what there is of a person is found by its owner.
    let grant = UploadGrant::of(state, token, named.record.owner.clone())?;
    if let Some(token) = &grant.once
        && let Some(job_id) = state.intake.user_of_token(&token.digest).await?
    {
        return Err(token_used(state, job_id));
    }
    let (of, stem, original) = (named.record.id, named.record.stem.clone(), named.record.original.clone());
    let limit = grant.file_limit(state);
    if original.bytes > limit.bytes_max {
        return Err(limit.refusal());
    }
    let known = match named.record.inspection.filter(|inspection| is_current(state, inspection)) {
        Some(inspection) => Some(hold_to_limits(state, original.clone(), inspection.source, &grant.job)?),
        None => None,
    };
    let (id, bytes) = find_bytes(state, named).await?;
    let inspected = match (known, &bytes) {
        (Some(inspected), _) => inspected,
        (None, JobBytes::Received(received)) => inspect_upload(state, received, &grant.job).await?,
        (None, JobBytes::Spooled(from)) => {
            let file = state.spool.open_kept(*from, &original).await?.ok_or(Refusal::OriginalGone)?;
            let source = read_header(state, move || Ok(file)).await?;
            hold_to_limits(state, original, source, &grant.job)?
        }
    };
    let record = grant.into_record(state, id, stem, inspected)?;
    Ok((bytes, JobRecord { trace, reprocess_of: Some(of), ..record }))
}

/// Whether reading the header again would come to the same.
fn is_current(state: &AppState, inspection: &Inspection) -> bool {
    inspection.source_pixels_max == state.pixel_limits.source_max && inspection.source_side_max == SOURCE_SIDE_MAX
}

/// The bytes of this job: those that the spool has, or those that are stored. What it was itself given of another's may be there still,
/// where its own are not. With them comes the id of the job that is to have them.
async fn find_bytes(state: &AppState, named: Job) -> Result<(JobId, JobBytes), Refusal> {
    let (mut job, mut unavailable) = (named, None);
    for _ in 0..CHAIN_MAX {
        let id = job.record.id;
        if let Some(SpoolEntry::Whole(_)) = state.spool.original_of(id).await? {
            return Ok((JobId::new(state.clock.now()), JobBytes::Spooled(id)));
        }
        match fetch_stored(state, &job).await {
            Ok(Some((id, received))) => return Ok((id, JobBytes::Received(received))),
            Ok(None) => {}
            Err(Refusal::OriginalUnavailable(error)) => unavailable = Some(error),
            Err(refusal) => return Err(refusal),
        }
        let Some(before) = job.record.retry_of.or(job.record.reprocess_of) else { break };
        let Some(before) = state.records.get(&before).await? else { break };
        job = before;
    }
    // One that can't be asked may have them.
    Err(unavailable.map_or(Refusal::OriginalGone, Refusal::OriginalUnavailable))
}

/// The original of a job from the first of the places where it is stored that still has the same bytes; none if none has.
async fn fetch_stored(state: &AppState, job: &Job) -> Result<Option<(JobId, Received)>, Refusal> {
    let (record, name) = (&job.record, job.record.original_name());
    if !record.spec.keep_original {
        return Ok(None);
    }
    let mut unavailable = None;
    for place in job.files.iter().filter(|file| file.name == name).flat_map(|file| &file.stored) {
        let fetched = match store_of(state, record, place).await {
            Ok(Some(store)) => fetch_from(state, &*store, place, record).await,
            Ok(None) => continue,
            Err(error) => Err(FetchError::Store(error)),
        };
        let error = match fetched {
            Ok(received) => return Ok(Some(received)),
            Err(FetchError::Refused(refusal)) => return Err(refusal),
            Err(FetchError::Store(error)) => error,
        };
        warn!(job_id = %record.id, location = place.location, error = %ErrorChain(&error), "stored original could not be read");
        if !matches!(error.kind, WriteErrorKind::Missing | WriteErrorKind::Invalid | WriteErrorKind::SourceDamaged) {
            unavailable = Some(error);
        }
    }
    match unavailable {
        Some(error) => Err(Refusal::OriginalUnavailable(error)),
        None => Ok(None),
    }
}

/// Whom to ask for what is stored at this place; nobody if its store is registered no more.
async fn store_of(
    state: &AppState,
    record: &JobRecord,
    place: &Stored,
) -> Result<Option<Arc<dyn WriterBackend>>, WriteError> {
    if place.backend == state.served.name() {
        return Ok(Some(Arc::clone(&state.served)));
    }
    let Some(key) = record.spec.storage.iter().find(|key| key.backend.as_str() == place.backend) else {
        return Ok(None);
    };
    let usable = state.register.find_usable(&key.access_key, key.backend, record.owner.user.as_deref()).await;
    let store = usable.map_err(|error| WriteError {
        what: format!("look up the {} store in the register", place.backend),
        detail: ErrorChain(&error).to_string(),
        kind: WriteErrorKind::Unavailable,
    })?;
    let settings = store.and_then(|store| StorageSettings::from_sealed(&store.settings));
    settings.map(|settings| settings.connect(&state.store_timeouts)).transpose()
}

/// Why an original couldn't be fetched.
enum FetchError {
    /// For something of the store's.
    Store(WriteError),
    /// For something of this server's.
    Refused(Refusal),
}

/// Fetches what is stored at this place, which may be something else by now, for a job of this id.
async fn fetch_from(
    state: &AppState,
    store: &dyn WriterBackend,
    place: &Stored,
    record: &JobRecord,
) -> Result<(JobId, Received), FetchError> {
    let of_server = |error: SpoolError| FetchError::Refused(Refusal::Spool(error));
    let mut bytes = store.get(&place.location, record.original.bytes).await.map_err(FetchError::Store)?;
    // Each place's is another: what one began may still be being removed.
    let id = JobId::new(state.clock.now());
    let mut incoming = state.spool.receive(id).await.map_err(of_server)?;
    while let Some(chunk) = bytes.chunk().await.map_err(FetchError::Store)? {
        incoming.write(chunk).await.map_err(of_server)?;
    }
    let received = incoming.finish().await.map_err(of_server)?;
    if received.sha256 == record.original.sha256 {
        return Ok((id, received));
    }
    Err(FetchError::Store(WriteError {
        what: format!("get `{}`", place.location),
        detail: format!("its SHA-256 is {}, and not {}: it has been replaced", received.sha256, record.original.sha256),
        kind: WriteErrorKind::SourceDamaged,
    }))
}
