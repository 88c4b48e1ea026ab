//! What there is to move, and whether it can be: asked before anything is changed.

use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tracing::warn;

use super::home::Home;
use super::{AT_ONCE, MigrateError};
use crate::app::home_mark::Destination;
use crate::job::{JobId, State};
use crate::queue::{Counts, DeliveryScope, DeliveryState, Filter, Job, PageRequest};
use crate::register::{KeptWebhookSecret, KnownVersions, SealedRecord, Sealer, WebhookSecretError};

const PAGE: usize = 200;
/// Ids that an error names.
const NAMED: usize = 5;

/// What a home has.
pub(super) struct Survey {
    pub(super) counts: Counts,
    pub(super) owed_callbacks: usize,
    pub(super) registrations: Vec<SealedRecord>,
    sealed: Sealed,
    /// Live jobs whose originals are gone.
    missing: Vec<JobId>,
}

/// How much of what is sealed can be unsealed.
#[derive(Default)]
struct Sealed {
    good: usize,
    lost: usize,
}

impl Sealed {
    fn note(&mut self, is_good: bool) {
        if is_good {
            self.good += 1;
        } else {
            self.lost += 1;
        }
    }
}

impl Survey {
    pub(super) async fn of(home: &Home, sealer: &Arc<Sealer>) -> Result<Self, MigrateError> {
        let counts = home.queue.counts().await?;
        let registrations = home.records.changes(&KnownVersions::new()).await?.written;
        let mut survey =
            Self { counts, owed_callbacks: 0, registrations, sealed: Sealed::default(), missing: Vec::new() };
        for record in &survey.registrations {
            survey.sealed.note(record.opens_with(sealer));
        }
        match KeptWebhookSecret::open(Arc::clone(&home.secrets), Arc::clone(sealer)).await {
            Ok(_) => survey.sealed.note(true),
            Err(WebhookSecretError::Missing { .. }) => {}
            Err(WebhookSecretError::Unseal { .. }) => survey.sealed.note(false),
            Err(error) => return Err(error.into()),
        }
        for state in [State::Pending, State::Processing] {
            survey.look_at_live(home, sealer, state).await?;
        }
        survey.look_at_owed(home, sealer).await?;
        Ok(survey)
    }

    async fn look_at_live(&mut self, home: &Home, sealer: &Sealer, state: State) -> Result<(), MigrateError> {
        let filter = Filter::in_state(state);
        let mut cursor = None;
        loop {
            let page = home.queue.list(&filter, PageRequest { limit: PAGE, cursor }).await?;
            for job in &page.jobs {
                self.look_at_callback(sealer, job);
            }
            let holds = async |id: JobId| Ok::<_, MigrateError>((id, home.spool.holds(id).await?));
            let mut held = stream::iter(page.jobs.iter().map(|job| job.record.id)).map(holds).buffer_unordered(AT_ONCE);
            while let Some(held) = held.next().await {
                let (id, is_there) = held?;
                if !is_there {
                    self.missing.push(id);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// The callbacks that ended jobs owe, and live ones.
    async fn look_at_owed(&mut self, home: &Home, sealer: &Sealer) -> Result<(), MigrateError> {
        let mut cursor = None;
        loop {
            let request = PageRequest { limit: PAGE, cursor };
            let page = home.queue.list_deliveries(DeliveryScope::All, DeliveryState::Pending, request).await?;
            self.owed_callbacks += page.deliveries.len();
            for owed in &page.deliveries {
                if let Some(job) = home.queue.get(&owed.id.job).await? {
                    self.look_at_callback(sealer, &job);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn look_at_callback(&mut self, sealer: &Sealer, job: &Job) {
        let target = job.record.callback.as_ref();
        if let Some(target) = target.filter(|target| target.sealed_url.is_some() || target.sealed_headers.is_some()) {
            self.sealed.note(sealer.unseal_callback(&job.record.id, target).is_ok());
        }
    }

    /// That it can be moved, as far as that can be known.
    pub(super) fn check(&self, home: &Home, to: Destination, keys: &Path) -> Result<(), MigrateError> {
        let Sealed { good, lost } = self.sealed;
        if lost > 0 && good == 0 {
            return Err(MigrateError::WrongKeys { home: home.name.clone(), sealed: lost, path: keys.to_owned() });
        }
        if lost > 0 {
            warn!(
                sealed = lost,
                "secrets can't be unsealed; they move as they are, and wait for the missing sealing key"
            );
        }
        let (count, ids) = (self.missing.len(), &self.missing[..self.missing.len().min(NAMED)]);
        match to {
            _ if count == 0 => Ok(()),
            Destination::Nodes => {
                let ids = ids.iter().map(JobId::to_string).collect::<Vec<_>>().join(", ");
                Err(MigrateError::OriginalsMissing { count, ids })
            }
            Destination::Machine => {
                warn!(jobs = count, ?ids, "jobs whose originals have left the bucket had ended; they are not moved");
                Ok(())
            }
        }
    }

    pub(super) fn live(&self) -> u64 {
        self.counts.pending + self.counts.processing
    }

    pub(super) fn ended(&self) -> u64 {
        self.counts.completed + self.counts.failed + self.counts.cancelled
    }
}
