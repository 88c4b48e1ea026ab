//! Comparisons of one machine: in memory, since no other process has this ledger.

use async_trait::async_trait;

use super::SqliteLedger;
use crate::ledger::{GcId, GcRun, GcRuns, GcState, LedgerError};

/// Comparisons that are known, at most.
const KEPT_MAX: usize = 50;

#[async_trait]
impl GcRuns for SqliteLedger {
    async fn begin_gc(&self, run: &GcRun) -> Result<Option<GcId>, LedgerError> {
        let mut runs = self.gc_runs.lock();
        if let Some(other) = runs.iter().find(|other| other.state == GcState::Running) {
            return Ok(Some(other.id));
        }
        runs.push_back(run.clone());
        if runs.len() > KEPT_MAX {
            runs.pop_front();
        }
        Ok(None)
    }

    async fn note_gc(&self, run: &GcRun) -> Result<(), LedgerError> {
        if let Some(known) = self.gc_runs.lock().iter_mut().find(|known| known.id == run.id) {
            known.clone_from(run);
        }
        Ok(())
    }

    async fn gc_run(&self, id: &GcId) -> Result<Option<GcRun>, LedgerError> {
        Ok(self.gc_runs.lock().iter().find(|run| run.id == *id).cloned())
    }
}
