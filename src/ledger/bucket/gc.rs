//! Comparisons of many nodes: an object of the one that goes on, which its node writes again and again, and one of each that
//! has ended.

use std::time::Duration;

use async_trait::async_trait;

use super::BucketLedger;
use crate::ledger::gc::GC_STOPPED_AFTER;
use crate::ledger::{GcId, GcRun, GcRuns, GcState, LedgerError};

const RUNNING: &str = "gc/running/";
const ENDED: &str = "gc/ended/";

/// How long it is known what became of one.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

#[async_trait]
impl GcRuns for BucketLedger {
    /// Written before it is looked for others: of two that begin at the same time, at least one sees the other.
    async fn begin_gc(&self, run: &GcRun) -> Result<Option<GcId>, LedgerError> {
        let mine = format!("{RUNNING}{}", run.id);
        self.put_json(&mine, run).await?;
        for object in self.list(RUNNING, None).await?.objects {
            let other = object.key.strip_prefix(RUNNING).and_then(|id| id.parse::<GcId>().ok());
            let Some(other) = other.filter(|other| *other != run.id) else { continue };
            if object.info.age < GC_STOPPED_AFTER {
                self.delete(&mine).await?;
                return Ok(Some(other));
            }
            self.set_stopped(&other).await?;
        }
        let ended = self.list(ENDED, None).await?.objects.into_iter();
        let old: Vec<_> = ended.filter(|object| object.info.age >= KEPT_FOR).map(|object| object.key).collect();
        self.delete_all(&old).await?;
        Ok(None)
    }

    async fn note_gc(&self, run: &GcRun) -> Result<(), LedgerError> {
        let running = format!("{RUNNING}{}", run.id);
        if run.state == GcState::Running {
            return self.put_json(&running, run).await;
        }
        self.put_json(&format!("{ENDED}{}", run.id), run).await?;
        self.delete(&running).await
    }

    async fn gc_run(&self, id: &GcId) -> Result<Option<GcRun>, LedgerError> {
        let running = format!("{RUNNING}{id}");
        if let Some(run) = self.get_json::<GcRun>(&format!("{ENDED}{id}")).await? {
            return Ok(Some(run));
        }
        let listed = self.list(&running, None).await?.objects.into_iter().next();
        let Some(mut run) = self.get_json::<GcRun>(&running).await? else {
            // It may have ended in this very moment.
            return self.get_json(&format!("{ENDED}{id}")).await;
        };
        if listed.is_some_and(|object| object.info.age >= GC_STOPPED_AFTER) {
            run.state = GcState::Stopped;
        }
        Ok(Some(run))
    }
}

impl BucketLedger {
    /// Notes of a comparison whose node is gone that it has stopped.
    async fn set_stopped(&self, id: &GcId) -> Result<(), LedgerError> {
        let Some(mut run) = self.get_json::<GcRun>(&format!("{RUNNING}{id}")).await? else { return Ok(()) };
        run.state = GcState::Stopped;
        self.note_gc(&run).await
    }
}
