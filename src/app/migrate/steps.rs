//! A migration from its beginning to its end, whichever way it goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use super::home::{Home, MachinePlace, NodesPlace};
use super::moved::Migrated;
use super::survey::Survey;
use super::{MigrateError, MigrateOptions, jobs, served};
use crate::app::home_mark::{Destination, HomeMark, HomeState, MarkPlace, MarkedHome};
use crate::clock::{SharedClock, System};
use crate::config::Config;
use crate::error_chain::ErrorChain;
use crate::failpoint::{MigrationStep, reached};
use crate::ledger::LedgerPageRequest;
use crate::queue::RedisQueue;
use crate::register::{SealedRecord, Sealer, WEBHOOK_SECRET};
use crate::retry::Backoff;
use crate::worker::{ReconcileScope, SpoolReconciler};
use crate::writer::ServeKind;

/// Entries of the ledger that are read at once.
const LEDGER_PAGE: usize = 500;
/// Copies at once.
pub(super) const AT_ONCE: usize = 8;

/// How often what may pass is tried.
const TRIES: u32 = 5;
const BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_millis(500), backoff_factor: 2.0, backoff_max: Duration::from_secs(10) };

/// Does something that can be done twice, until it succeeds or can't.
pub(super) async fn tried<T>(attempt: impl AsyncFn() -> Result<T, MigrateError>) -> Result<T, MigrateError> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(error) if error.may_pass() && tries < TRIES => {
                warn!(error = %ErrorChain(&error), "a step failed; will be tried again");
                sleep(BACKOFF.wait_after(tries)).await;
            }
            answered => return answered,
        }
        tries += 1;
    }
}

/// Moves everything that one machine keeps to where nodes keep it, or back; both homes are those of `config`. Resumes what an earlier
/// run has begun.
///
/// # Errors
/// What stops it. It may be run again.
pub async fn migrate(config: &Config, options: MigrateOptions) -> Result<Migrated, MigrateError> {
    let clock: SharedClock = Arc::new(System::new());
    let places = Places {
        machine: MachinePlace::new(config, &clock),
        nodes: NodesPlace::new(config, &clock).await?,
        to: options.to,
    };
    let keys = config.key_file();
    let sealer = Arc::new(Sealer::open_existing(&keys)?);
    let begun = places.begun().await?;
    let (from_name, to_name) = places.names();
    let mut moved = Migrated {
        from: from_name.to_owned(),
        to: to_name.to_owned(),
        is_dry_run: options.dry_run,
        ..Migrated::default()
    };
    if let Begun::Done { migration } = &begun {
        if !options.dry_run {
            // It may have been killed between its last two steps.
            places.finish(migration).await?;
        }
        moved.was_done = true;
        return Ok(moved);
    }
    places.check_destination(&begun).await?;
    places.nodes.check_idle().await?;
    if options.dry_run {
        look(&places, &begun, &sealer, &keys, &mut moved).await?;
        return Ok(moved);
    }

    let (nodes, redis) = places.nodes.open().await?;
    let (from, to, migration, survey);
    match options.to {
        Destination::Nodes => {
            // From here on no server starts on it.
            (from, to) = (places.machine.open().await?, nodes);
            check_no_erasures(&from).await?;
            survey = Survey::of(&from, &sealer).await?;
            survey.check(&from, options.to, &keys)?;
            migration = places.begin(&begun, &redis).await?;
        }
        Destination::Machine => {
            from = nodes;
            check_no_erasures(&from).await?;
            survey = Survey::of(&from, &sealer).await?;
            survey.check(&from, options.to, &keys)?;
            migration = places.begin(&begun, &redis).await?;
            // Only then: what is there without a mark is somebody's.
            to = places.machine.open().await?;
        }
    }
    let (from, to) = (&from, &to);
    // A node that was about to start has seen the mark, or is seen now.
    places.nodes.check_idle().await?;
    info!(
        migration,
        from = from.name,
        to = to.name,
        live_jobs = survey.live(),
        ended_jobs = survey.ended(),
        owed_callbacks = survey.owed_callbacks,
        "migration begins"
    );
    settle_source(from, &clock).await?;
    move_ledger(from, to).await?;
    move_register(&survey.registrations, from, to).await?;
    moved.registrations = survey.registrations.len() as u64;
    info!(registrations = moved.registrations, "register moved");
    reached(MigrationStep::RegisterCopied);
    if config.serve == ServeKind::Bucket {
        match options.to {
            Destination::Nodes => served::move_to_bucket(config, &places.nodes, &mut moved).await?,
            Destination::Machine => served::move_to_directory(config, &places.nodes, &migration, &mut moved).await?,
        }
        info!(files = moved.served_files, bytes = moved.served_bytes, "served files moved");
    }
    jobs::move_jobs(from, to, options.to, survey.live() + survey.ended(), &mut moved).await?;
    jobs::move_waiting_uploads(from, to, &mut moved).await?;
    info!(live_jobs = moved.live_jobs, ended_jobs = moved.ended_jobs, originals = moved.originals, "jobs moved");
    to.queue.persist().await?;
    reached(MigrationStep::AllCopied);
    // Whoever came back meanwhile has worked on what was copied.
    places.nodes.check_idle().await?;
    places.leave(&migration).await?;
    reached(MigrationStep::SourceLeft);
    if options.to == Destination::Nodes {
        redis.end_reservation().await?;
    }
    from.close().await?;
    to.close().await?;
    places.finish(&migration).await?;
    Ok(moved)
}

/// What an earlier run has done.
enum Begun {
    Nothing,
    /// Both homes, or the one that is left, are marked.
    Marked {
        migration: String,
        is_destination_marked: bool,
    },
    /// The home that is left says so.
    Done {
        migration: String,
    },
}

/// Both homes, closed.
struct Places<'a> {
    machine: MachinePlace<'a>,
    nodes: NodesPlace<'a>,
    to: Destination,
}

impl Places<'_> {
    /// The one that is left, then the other.
    fn names(&self) -> (&str, &str) {
        match self.to {
            Destination::Nodes => (&self.machine.name, &self.nodes.name),
            Destination::Machine => (&self.nodes.name, &self.machine.name),
        }
    }

    fn marks(&self) -> (&MarkPlace, &MarkPlace) {
        match self.to {
            Destination::Nodes => (&self.machine.marks, &self.nodes.marks),
            Destination::Machine => (&self.nodes.marks, &self.machine.marks),
        }
    }

    async fn begun(&self) -> Result<Begun, MigrateError> {
        let ((from_marks, to_marks), (from_name, to_name)) = (self.marks(), self.names());
        let from = tried(async || Ok(from_marks.read().await?)).await?;
        let to = tried(async || Ok(to_marks.read().await?)).await?;
        if let Some(mark) = &from
            && mark.to == self.to
            && mark.state != HomeState::Arriving
            && mark.other != to_name
        {
            let (begun, asked) = (mark.other.clone(), to_name.to_owned());
            return Err(MigrateError::OtherDestination { begun, asked, place: from_marks.to_string() });
        }
        let is_arriving = |to: &Option<HomeMark>, migration: &str| {
            to.as_ref().is_none_or(|to| to.state == HomeState::Arriving && to.migration == migration)
        };
        match from {
            None if to.is_none() => Ok(Begun::Nothing),
            Some(HomeMark { migration, to: destination, state, .. })
                if destination == self.to && state != HomeState::Arriving && is_arriving(&to, &migration) =>
            {
                Ok(match state {
                    HomeState::Left => Begun::Done { migration },
                    _ => Begun::Marked { migration, is_destination_marked: to.is_some() },
                })
            }
            Some(mark) if to.is_none() || mark.to != self.to || mark.state == HomeState::Arriving => {
                let marked = MarkedHome { mark, place: from_marks.to_string() };
                Err(MigrateError::SourceMarked { home: from_name.to_owned(), marked })
            }
            _ => {
                let mark = to.expect("INVARIANT: what is not marked was answered for above");
                let marked = MarkedHome { mark, place: to_marks.to_string() };
                Err(MigrateError::DestinationMarked { home: to_name.to_owned(), marked })
            }
        }
    }

    /// That there is something to move, and nothing where it goes but what this migration has put there.
    async fn check_destination(&self, begun: &Begun) -> Result<(), MigrateError> {
        let is_resumed = matches!(begun, Begun::Marked { is_destination_marked: true, .. });
        match self.to {
            Destination::Nodes => {
                self.machine.check_used()?;
                if !is_resumed {
                    self.nodes.check_bucket_unused().await?;
                }
            }
            Destination::Machine => {
                if !is_resumed {
                    self.machine.check_unused()?;
                }
            }
        }
        Ok(())
    }

    /// Marks both homes. Answers the migration's name.
    async fn begin(&self, begun: &Begun, redis: &RedisQueue) -> Result<String, MigrateError> {
        let migration = match begun {
            Begun::Marked { migration, .. } | Begun::Done { migration } => migration.clone(),
            Begun::Nothing => Uuid::new_v4().to_string(),
        };
        if self.to == Destination::Nodes && !redis.is_free_for(&migration).await? {
            return Err(MigrateError::RedisUsed);
        }
        if self.to == Destination::Machine {
            self.machine.make_directory()?;
        }
        let ((from, to), (from_name, to_name)) = (self.marks(), self.names());
        let mark = |state, other: &str| HomeMark::new(migration.clone(), self.to, state, other.to_owned());
        let leaving = mark(HomeState::Leaving, to_name);
        tried(async || Ok(from.write(&leaving).await?)).await?;
        reached(MigrationStep::SourceMarked);
        let arriving = mark(HomeState::Arriving, from_name);
        tried(async || Ok(to.write(&arriving).await?)).await?;
        reached(MigrationStep::BothMarked);
        if self.to == Destination::Nodes && !redis.reserve_for(&migration).await? {
            return Err(MigrateError::RedisUsed);
        }
        Ok(migration)
    }

    /// From now on what was moved is in the other home.
    async fn leave(&self, migration: &str) -> Result<(), MigrateError> {
        let ((from, _), (_, to_name)) = (self.marks(), self.names());
        let left = HomeMark::new(migration.to_owned(), self.to, HomeState::Left, to_name.to_owned());
        tried(async || Ok(from.write(&left).await?)).await
    }

    /// Servers may start there.
    async fn finish(&self, migration: &str) -> Result<(), MigrateError> {
        let (_, to) = self.marks();
        self.remove_scratch().await;
        let mark = tried(async || Ok(to.read().await?)).await?;
        if mark.is_some_and(|mark| mark.migration == migration) {
            tried(async || Ok(to.remove().await?)).await?;
        }
        Ok(())
    }

    /// One machine has no scratch directory. No node runs that might have one there.
    async fn remove_scratch(&self) {
        self.machine.remove_scratch().await;
    }
}

/// What there is to move, and whether it can be; changes nothing.
async fn look(
    places: &Places<'_>,
    begun: &Begun,
    sealer: &Arc<Sealer>,
    keys: &Path,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let (nodes, redis) = places.nodes.open().await?;
    let machine = match places.to {
        Destination::Nodes => Some(places.machine.open().await?),
        Destination::Machine => None,
    };
    let from = machine.as_ref().unwrap_or(&nodes);
    let migration = match begun {
        Begun::Marked { migration, .. } | Begun::Done { migration } => migration.as_str(),
        Begun::Nothing => "",
    };
    if places.to == Destination::Nodes && !redis.is_free_for(migration).await? {
        return Err(MigrateError::RedisUsed);
    }
    check_no_erasures(from).await?;
    let survey = Survey::of(from, sealer).await?;
    survey.check(from, places.to, keys)?;
    moved.live_jobs = survey.live();
    moved.ended_jobs = survey.ended();
    moved.owed_callbacks = survey.owed_callbacks as u64;
    moved.registrations = survey.registrations.len() as u64;
    if let Some(machine) = &machine {
        machine.close().await?;
    }
    places.remove_scratch().await;
    Ok(())
}

/// Does with the home that is left what a start does: nobody works on its jobs any more, and its queue knows what its spool has.
async fn settle_source(from: &Home, clock: &SharedClock) -> Result<(), MigrateError> {
    from.queue.void_leases().await?;
    let reconciler = SpoolReconciler::new(Arc::clone(&from.spool), Arc::clone(&from.queue), Arc::clone(clock));
    if from.history_lost {
        reconciler.drop_jobs_missing_from_spool().await?;
    }
    Ok(reconciler.reconcile(ReconcileScope::AtStart).await?)
}

/// An order is carried out where it was given: what it is about must not be copied meanwhile.
async fn check_no_erasures(from: &Home) -> Result<(), MigrateError> {
    match from.ledger.running().await?.len() {
        0 => Ok(()),
        count => Err(MigrateError::ErasuresRun { home: from.name.clone(), count }),
    }
}

/// What lies where, and the events that jobs are erased: each in place of what an earlier run has written of it.
async fn move_ledger(from: &Home, to: &Home) -> Result<(), MigrateError> {
    let (mut page, mut entries) = (LedgerPageRequest::first(LEDGER_PAGE), 0);
    loop {
        let found = from.ledger.all(&page).await?;
        entries += found.entries.len();
        let moved = stream::iter(found.entries)
            .map(|entry| async move { tried(async || Ok(to.ledger.record(&entry).await?)).await });
        moved.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    let (mut after, mut events) = (None, 0);
    loop {
        let found = from.ledger.events(after.as_ref(), LEDGER_PAGE).await?;
        let Some(last) = found.last() else { break };
        after = Some(last.job_id);
        events += found.len();
        for event in &found {
            tried(async || Ok(to.ledger.put_event(event).await?)).await?;
        }
    }
    info!(entries, events, "ledger moved");
    Ok(())
}

/// Sealed as they are: what they are bound to moves with them.
async fn move_register(registrations: &[SealedRecord], from: &Home, to: &Home) -> Result<(), MigrateError> {
    for SealedRecord { access_key, text, .. } in registrations {
        to.records.put(access_key, text).await?;
    }
    if let Some(secret) = from.secrets.get(WEBHOOK_SECRET).await? {
        to.secrets.put(WEBHOOK_SECRET, &secret).await?;
    }
    Ok(())
}
