//! `POST /reprocess`: another job on bytes that are there.

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
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::job::{
    ContentHash, HashKey, Inspection, JobId, JobRecord, Owner, RequestFingerprint, State as JobState, Stem,
    TraceContext,
};
use crate::ledger::{EntryFile, LedgerEntry, Place};
use crate::pipeline::SOURCE_SIDE_MAX;
use crate::queue::Job;
use crate::spool::{Received, SpoolEntry, SpoolError};
use crate::writer::{WriteError, WriteErrorKind};

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
    let named = match find_managed(state, manager, query).await {
        Ok(named) => named,
        // What is stored is known for longer than the record of who stored it.
        Err(Refusal::NotFound(detail)) => match find_stored(state, manager, query).await? {
            Some(stored) => return prepare_stored(state, token, stored, trace).await,
            None => return Err(Refusal::NotFound(detail)),
        },
        Err(refusal) => return Err(refusal),
    };
    // Of whose picture it is, whoever asks: what there is of a person is found by its owner.
    let grant = granted(state, token, named.record.owner.clone()).await?;
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

/// What the token allows for bytes of this owner's, unless it is good for one upload and was used.
async fn granted(state: &AppState, token: Verified, owner: Owner) -> Result<UploadGrant, Refusal> {
    let grant = UploadGrant::of(state, token, owner)?;
    if let Some(token) = &grant.once
        && let Some(job_id) = state.intake.user_of_token(&token.digest).await?
    {
        return Err(token_used(state, job_id));
    }
    Ok(grant)
}

/// An original that `keepOriginal` stored for a job whose record is gone.
struct StoredOriginal {
    entry: LedgerEntry,
    file: EntryFile,
    stem: Stem,
}

impl StoredOriginal {
    fn of(entry: LedgerEntry) -> Option<Self> {
        // The latter of a `unique` job.
        let heads = [format!("{}_", entry.hash()), format!("{}_", entry.job_id)];
        // Names of variants have more parts.
        let is_stem = |rest: &&str| !rest.contains('_');
        let stem_of = |file: &EntryFile| {
            let stem = heads.iter().find_map(|head| file.name.strip_prefix(&**head).filter(is_stem));
            Some(Stem::of(stem?))
        };
        let (file, stem) = entry.files.iter().find_map(|file| Some((file.clone(), stem_of(file)?)))?;
        Some(Self { entry, file, stem })
    }
}

/// The original of the job that `query` names, or of the newest one, which `manager` reaches, by what the ledger knows.
async fn find_stored(state: &AppState, manager: &Manager, query: &JobQuery) -> Result<Option<StoredOriginal>, Refusal> {
    let given = |parameter: &Option<String>| parameter.clone().filter(|text| !text.is_empty());
    let (id, hash) = (given(&query.job_id), given(&query.hash));
    let mut entries = match (id.map(|id| id.parse()), hash.as_deref().map(HashKey::parse)) {
        (Some(Ok(id)), _) => state.ledger.entry(&id).await?.into_iter().collect(),
        (None, Some(Some(hash))) => state.ledger.of_hash(&hash).await?,
        _ => Vec::new(),
    };
    entries.retain(|entry| manager.reaches(state, &entry.owner, entry.job_id.made_at()));
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.job_id));
    for entry in entries {
        // Of one that is being erased nothing is told.
        let is_known = state.records.get(&entry.job_id).await?.is_some();
        if is_known || is_being_erased(state, &entry.job_id).await? {
            continue;
        }
        if let Some(stored) = StoredOriginal::of(entry) {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// The same as [`prepare`], of an original that the ledger knows alone.
async fn prepare_stored(
    state: &AppState,
    token: Verified,
    stored: StoredOriginal,
    trace: Option<TraceContext>,
) -> Result<(JobBytes, JobRecord), Refusal> {
    let StoredOriginal { entry, file, stem } = stored;
    let grant = granted(state, token, entry.owner.clone()).await?;
    let limit = grant.file_limit(state);
    if file.bytes > limit.bytes_max {
        return Err(limit.refusal());
    }
    let sought = Sought { owner: &entry.owner, sha256: entry.content, bytes: file.bytes };
    let fetched = fetch_first(state, entry.job_id, file.places, &sought).await?;
    let (id, received) = fetched.ok_or(Refusal::OriginalGone)?;
    let inspected = inspect_upload(state, &received, &grant.job).await?;
    let record = grant.into_record(state, id, stem, inspected)?;
    Ok((JobBytes::Received(received), JobRecord { trace, reprocess_of: Some(entry.job_id), ..record }))
}

/// Whether an order to erase a job is under way.
async fn is_being_erased(state: &AppState, job: &JobId) -> Result<bool, Refusal> {
    for id in state.ledger.running().await? {
        let pending = state.ledger.pending(&id, Timestamp::FAR_FUTURE, usize::MAX).await?;
        if pending.iter().any(|pending| pending.job_id == *job) {
            return Ok(true);
        }
    }
    Ok(false)
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
        let is_spooled =
            async || Ok::<_, Refusal>(matches!(state.spool.original_of(id).await?, Some(SpoolEntry::Whole(_))));
        let spooled = || (JobId::new(state.clock.now()), JobBytes::Spooled(id));
        // The spool is about to let go of what has completed: it may be gone before it is taken.
        let is_leaving = job.state == JobState::Completed;
        if !is_leaving && is_spooled().await? {
            return Ok(spooled());
        }
        match fetch_stored(state, &job).await {
            Ok(Some((id, received))) => return Ok((id, JobBytes::Received(received))),
            Ok(None) => {}
            Err(Refusal::OriginalUnavailable(error)) => unavailable = Some(error),
            Err(refusal) => return Err(refusal),
        }
        if is_leaving && is_spooled().await? {
            return Ok(spooled());
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
    let places = job.files.iter().filter(|file| file.name == name).flat_map(|file| &file.stored);
    let places = places.map(|stored| Place::of(record, stored)).collect();
    let sought = Sought { owner: &record.owner, sha256: record.original.sha256, bytes: record.original.bytes };
    fetch_first(state, record.id, places, &sought).await
}

/// The bytes that are to be found at a place.
struct Sought<'a> {
    owner: &'a Owner,
    sha256: ContentHash,
    bytes: u64,
}

/// What is sought, from the first of these places of a job that has it; none if none has.
async fn fetch_first(
    state: &AppState,
    of: JobId,
    places: Vec<Place>,
    sought: &Sought<'_>,
) -> Result<Option<(JobId, Received)>, Refusal> {
    let mut unavailable = None;
    for place in places {
        let error = match fetch_from(state, &place, sought).await {
            Ok(Some(received)) => return Ok(Some(received)),
            Ok(None) => continue,
            Err(FetchError::Refused(refusal)) => return Err(refusal),
            Err(FetchError::Store(error)) => error,
        };
        warn!(job_id = %of, location = place.location, error = %ErrorChain(&error), "stored original could not be read");
        if !matches!(error.kind, WriteErrorKind::Missing | WriteErrorKind::Invalid | WriteErrorKind::SourceDamaged) {
            unavailable = Some(error);
        }
    }
    match unavailable {
        Some(error) => Err(Refusal::OriginalUnavailable(error)),
        None => Ok(None),
    }
}

/// Why an original couldn't be fetched.
enum FetchError {
    /// For something of the store's.
    Store(WriteError),
    /// For something of this server's.
    Refused(Refusal),
}

/// Fetches what is stored at this place, which may be something else by now, for a job of this id; nothing if its store is registered
/// no more.
async fn fetch_from(
    state: &AppState,
    place: &Place,
    sought: &Sought<'_>,
) -> Result<Option<(JobId, Received)>, FetchError> {
    let of_server = |error: SpoolError| FetchError::Refused(Refusal::Spool(error));
    let bytes = state.stored.read(place, sought.owner, sought.bytes).await.map_err(FetchError::Store)?;
    let Some(mut bytes) = bytes else { return Ok(None) };
    // Each place's is another: what one began may still be being removed.
    let id = JobId::new(state.clock.now());
    let mut incoming = state.spool.receive(id).await.map_err(of_server)?;
    while let Some(chunk) = bytes.chunk().await.map_err(FetchError::Store)? {
        incoming.write(chunk).await.map_err(of_server)?;
    }
    let received = incoming.finish().await.map_err(of_server)?;
    if received.sha256 == sought.sha256 {
        return Ok(Some((id, received)));
    }
    Err(FetchError::Store(WriteError {
        what: format!("get `{}`", place.location),
        detail: format!("its SHA-256 is {}, and not {}: it has been replaced", received.sha256, sought.sha256),
        kind: WriteErrorKind::SourceDamaged,
    }))
}
