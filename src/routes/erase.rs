//! `DELETE /erase`: everything of a job is deleted, wherever it is. An order is written down here; it is carried out by
//! `src/worker/maintenance/eraser.rs`, whether the request waits for that or not.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Manager, StrictParameters};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::failpoint::{ErasureStep, reached};
use crate::job::{HashKey, JobId, Owner};
use crate::ledger::{
    Erasure, ErasureId, ErasureState, ErasureTally, ErasureTarget, KeptPlace, LedgerEntry, LedgerPageRequest,
    LeftPlace, NewErasure, OrderedErasure,
};
use crate::queue::{Filter, PAGE_MAX, Page, PageRequest};

/// Entries of the ledger that are read at once.
const ENTRIES_AT_ONCE: usize = 1000;
/// An answer waits for so long, whatever `erase.within` says, until nothing of the jobs is told or served any more: whoever is answered
/// finds it so, unless a queue or a disk can't be reached.
const HIDDEN_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked what became of an order, if nobody says.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EraseQuery {
    /// One job. Exactly one of `job_id`, `hash` and `sub` is given.
    #[param(nullable = false)]
    job_id: Option<String>,
    /// Every job of this hash.
    #[param(nullable = false)]
    hash: Option<String>,
    /// Every job of this `sub` of the token's user. With `manage` its own alone.
    #[param(nullable = false)]
    sub: Option<String>,
    /// With `sub`: of this registered user. For admins; of anybody else its own alone.
    #[param(nullable = false)]
    user: Option<String>,
    /// Changes nothing, and answers what would be erased.
    #[serde(default)]
    #[param(default = false)]
    dry_run: bool,
}

/// What becomes of what was to be erased.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
struct ShownErasure {
    /// A UUID; none of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    erasure_id: Option<String>,
    state: ErasureWord,
    /// How many jobs it is about.
    jobs: u64,
    files: FileTally,
    /// What another job names. Once all is done without locations.
    kept: Vec<KeptPlace>,
    /// What could not be deleted so far.
    left: Vec<LeftPlace>,
    /// A store keeps older versions of what is deleted from it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    versioned: bool,
    /// When the last byte was gone from the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "date-time")]
    purged_at: Option<String>,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ErasureWord {
    Running,
    Done,
    Incomplete,
    DryRun,
}

/// Files by what became of them, counted by place: a file in two stores is two.
#[derive(Serialize, ToSchema)]
struct FileTally {
    deleted: u64,
    /// Gone before.
    missing: u64,
    kept: u64,
    left: u64,
}

impl ShownErasure {
    fn of(erasure: Erasure) -> Self {
        let Erasure { id, state, jobs, tally, is_versioned, kept, mut left, purged_at, .. } = erasure;
        // Several of the jobs may name the same place.
        let mut shown = HashSet::new();
        left.retain(|left| shown.insert((left.backend.clone(), left.location.clone())));
        let state = match state {
            ErasureState::Running => ErasureWord::Running,
            ErasureState::Done => ErasureWord::Done,
            ErasureState::Incomplete => ErasureWord::Incomplete,
        };
        Self {
            erasure_id: Some(id.to_string()),
            state,
            jobs,
            files: FileTally::of(tally, &left),
            kept,
            left,
            versioned: is_versioned,
            purged_at: purged_at.map(Timestamp::rfc3339),
        }
    }
}

impl FileTally {
    fn of(ErasureTally { deleted, missing, kept }: ErasureTally, left: &[LeftPlace]) -> Self {
        Self { deleted, missing, kept, left: left.len() as u64 }
    }
}

refusals!(EraseRefusals: BadParameter, Unauthorized, Forbidden, NotFound, DiskFull, Paused, Unavailable);

/// Deletes everything of one job, of all jobs of a hash, or of all jobs of a `sub`
///
/// Their files in every store, originals, records and callbacks that are owed. What another job names stays. Live jobs are
/// cancelled first. A 202 says that it goes on, whatever happens; asked for again meanwhile, the same answers with the same id.
#[utoipa::path(
    delete, path = "/erase", tag = "Jobs", operation_id = "erase", security(("token" = ["manage"])), params(EraseQuery),
    responses(
        (status = 200, description = "It is done, as far as it can be; or what a dry run has found.", body = ShownErasure),
        (
            status = 202, description = "It is being done.", body = ShownErasure,
            headers(("Location" = String, description = "Where to ask how far it is."))
        ),
        EraseRefusals
    )
)]
pub(super) async fn erase(
    State(state): State<AppState>,
    manager: Manager,
    StrictParameters(query): StrictParameters<EraseQuery>,
) -> Result<Response, Refusal> {
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let asked = Asked::parse(&query, &manager)?;
    if query.dry_run {
        let jobs = asked.jobs(&state, &manager).await?;
        return Ok(Json(plan(&state, jobs).await?).into_response());
    }
    if let Some(running) = running_of(&state, &asked.target, &manager).await? {
        return Ok(accepted(&state, running));
    }
    // So that nothing of it is missed.
    let mut progress = state.erasures.progress();
    let jobs = asked.jobs(&state, &manager).await?;
    let (owner, user) = manager.keys_of(jobs.values());
    let now = state.clock.now();
    let target = Some(asked.target.key());
    let jobs = jobs.into_keys().collect();
    let new = NewErasure { id: ErasureId::new(now), target, owner, user, created_at: now, jobs };
    let ordered = state.ledger.order(&new).await?;
    let id = match ordered {
        OrderedErasure::New => new.id,
        OrderedErasure::Running(id) => return Ok(accepted(&state, known(&state, &id).await?)),
    };
    reached(ErasureStep::Ordered);
    state.erasures.ordered(id);
    info!(erasure_id = %id, jobs = new.jobs.len(), "jobs are to be erased");
    let answer_by = Instant::now() + state.erase.within;
    let hidden_by = Instant::now() + HIDDEN_WITHIN;
    loop {
        let erasure = known(&state, &id).await?;
        if erasure.state != ErasureState::Running {
            return Ok(Json(ShownErasure::of(erasure)).into_response());
        }
        let answer_by = if state.erasures.is_hidden(&id) { answer_by } else { answer_by.max(hidden_by) };
        if Instant::now() >= answer_by {
            return Ok(accepted(&state, erasure));
        }
        // Whichever comes first: nobody tells of what another node does.
        let _ = timeout_at(answer_by.min(Instant::now() + LOOK_EVERY), progress.changed()).await;
    }
}

refusals!(ErasureRefusals: Unauthorized, Forbidden, NotFound, Unavailable);

/// How far an erasure is
///
/// For thirty days after its end. One that is about another's jobs looks like one that doesn't exist.
#[utoipa::path(
    get, path = "/erasures/{erasure_id}", tag = "Jobs", operation_id = "erasure", security(("token" = ["manage"])),
    params(("erasure_id" = String, Path, description = "As `/erase` gave it.")),
    responses((status = 200, description = "How far it is.", body = ShownErasure), ErasureRefusals)
)]
pub(super) async fn erasure(
    State(state): State<AppState>,
    manager: Manager,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::NotFound("no such erasure is known, or it is about another's jobs".into());
    let id: ErasureId = id.parse().map_err(|_| unknown())?;
    let erasure = state.ledger.erasure(&id).await?;
    let erasure = erasure.filter(|erasure| manager.reaches_keys(erasure.owner, erasure.user)).ok_or_else(unknown)?;
    Ok(Json(ShownErasure::of(erasure)).into_response())
}

fn accepted(state: &AppState, erasure: Erasure) -> Response {
    let location = state.http.public_url.path(&format!("/erasures/{}", erasure.id));
    (StatusCode::ACCEPTED, [(LOCATION, location)], Json(ShownErasure::of(erasure))).into_response()
}

async fn known(state: &AppState, id: &ErasureId) -> Result<Erasure, Refusal> {
    let erasure = state.ledger.erasure(id).await?;
    erasure.ok_or_else(|| Refusal::Internal(format!("erasure {id} was ordered, and is not known")))
}

/// The order of this target that is under way, if the caller may see it.
async fn running_of(state: &AppState, target: &ErasureTarget, manager: &Manager) -> Result<Option<Erasure>, Refusal> {
    let target = Some(target.key());
    for id in state.ledger.running().await? {
        let erasure = state.ledger.erasure(&id).await?.filter(|erasure| erasure.state == ErasureState::Running);
        let is_it = |erasure: &Erasure| erasure.target == target && manager.reaches_keys(erasure.owner, erasure.user);
        if let Some(erasure) = erasure.filter(is_it) {
            return Ok(Some(erasure));
        }
    }
    Ok(None)
}

/// What is to be erased.
struct Asked {
    target: ErasureTarget,
}

impl Asked {
    fn parse(query: &EraseQuery, manager: &Manager) -> Result<Self, Refusal> {
        let given = |parameter: &Option<String>| parameter.clone().filter(|text| !text.is_empty());
        let bad = |what: &str| Refusal::BadParameter(what.to_owned());
        let user = given(&query.user);
        let target = match (given(&query.job_id), given(&query.hash), given(&query.sub)) {
            (Some(id), None, None) => {
                let id = id.parse().map_err(|_| bad("`job_id` must be a UUID, as /upload gave it"))?;
                ErasureTarget::Job(id)
            }
            (None, Some(hash), None) => {
                let hash = HashKey::parse(&hash);
                ErasureTarget::Hash(hash.ok_or_else(|| bad("`hash` must be one, as /upload gave it"))?)
            }
            (None, None, Some(sub)) => ErasureTarget::Subject { user: manager.user_of(user.clone()), sub },
            _ => return Err(bad("exactly one of `job_id`, `hash` and `sub` must be given")),
        };
        if user.is_some() && !matches!(target, ErasureTarget::Subject { .. }) {
            return Err(bad("`user` goes with `sub`"));
        }
        Ok(Self { target })
    }

    /// Every job that it is about, with its owner; refuses if there is none.
    async fn jobs(&self, state: &AppState, manager: &Manager) -> Result<BTreeMap<JobId, Owner>, Refusal> {
        let mut jobs = BTreeMap::new();
        let mut add = |id: JobId, owner: &Owner, accepted| {
            if manager.reaches(state, owner, accepted) {
                jobs.insert(id, owner.clone());
            }
        };
        match &self.target {
            ErasureTarget::Job(id) => {
                if let Some(job) = state.records.get(id).await? {
                    add(*id, &job.record.owner, job.record.created_at);
                }
                if let Some(entry) = state.ledger.entry(id).await? {
                    add(*id, &entry.owner, id.made_at());
                }
            }
            ErasureTarget::Hash(hash) => {
                for job in state.records.of_hash(hash).await? {
                    add(job.record.id, &job.record.owner, job.record.created_at);
                }
                for entry in state.ledger.of_hash(hash).await? {
                    add(entry.job_id, &entry.owner, entry.job_id.made_at());
                }
            }
            ErasureTarget::Subject { user, sub } => {
                // None of a user who isn't registered any more: what is stored is known all the same.
                if let Some(filter) = manager.jobs_of(state, Some(sub.clone()), user.as_deref()) {
                    for (id, owner, accepted) in recorded(state, &filter).await? {
                        add(id, &owner, accepted);
                    }
                }
                let mut page = LedgerPageRequest::first(ENTRIES_AT_ONCE);
                loop {
                    let found = state.ledger.of_subject(user.as_deref(), sub, &page).await?;
                    for entry in &found.entries {
                        add(entry.job_id, &entry.owner, entry.job_id.made_at());
                    }
                    page.after = found.next;
                    if page.after.is_none() {
                        break;
                    }
                }
            }
        }
        if jobs.is_empty() {
            return Err(Refusal::NotFound("there is nothing to be erased, or it is another's".into()));
        }
        Ok(jobs)
    }
}

/// The jobs that a filter has, each with its owner and when it was accepted.
async fn recorded(state: &AppState, filter: &Filter) -> Result<Vec<(JobId, Owner, Timestamp)>, Refusal> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let Page { jobs, next } = state.records.list(filter, PageRequest { limit: PAGE_MAX, cursor }).await?;
        found.extend(jobs.into_iter().map(|job| (job.record.id, job.record.owner, job.record.created_at)));
        cursor = next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// What would become of these jobs now.
async fn plan(state: &AppState, jobs: BTreeMap<JobId, Owner>) -> Result<ShownErasure, Refusal> {
    let (mut tally, mut kept, mut counted) = (ErasureTally::default(), Vec::new(), HashSet::new());
    let ids: HashSet<JobId> = jobs.keys().copied().collect();
    for id in jobs.keys() {
        let Some(entry) = stored_of(state, id).await? else { continue };
        let mut others = state.ledger.of_hash(&entry.hash()).await?;
        others.retain(|other| !ids.contains(&other.job_id));
        for place in entry.places() {
            // Several of the jobs may name it.
            if !counted.insert((place.backend.clone(), place.location.clone())) {
                continue;
            }
            match others.iter().find(|other| other.names(place)) {
                Some(other) => {
                    tally.kept += 1;
                    kept.push(KeptPlace { location: Some(place.location.clone()), job_id: other.job_id });
                }
                None => tally.deleted += 1,
            }
        }
    }
    Ok(ShownErasure {
        erasure_id: None,
        state: ErasureWord::DryRun,
        jobs: jobs.len() as u64,
        files: FileTally::of(tally, &[]),
        kept,
        left: Vec::new(),
        versioned: false,
        purged_at: None,
    })
}

/// What is stored of a job; of one that has not ended, or that a version without a ledger stored, by its record.
async fn stored_of(state: &AppState, id: &JobId) -> Result<Option<LedgerEntry>, Refusal> {
    if let Some(entry) = state.ledger.entry(id).await? {
        return Ok(Some(entry));
    }
    let Some(job) = state.records.get(id).await? else { return Ok(None) };
    let journaled = if job.state.is_terminal() { Vec::new() } else { state.spool.stored_files(&job.record).await? };
    let files = if journaled.is_empty() { &job.files } else { &journaled };
    Ok(Some(LedgerEntry::of(&job.record, files, state.clock.now())))
}
