//! Jobs whose time is over: the leader orders them to be erased, as if somebody had asked for it.
//!
//! The ledger has an index of them by time, and what is deleted is gone. So the time must be sure: a clock that has jumped is not
//! believed before it has run on for a while, and that of one node among others must agree with Redis'.

use tracing::{info, warn};

use super::{EraseError, Inner};
use crate::clock::PROBATION;
use crate::error_chain::ErrorChain;
use crate::failpoint::{ExpiryStep, reached};
use crate::job::JobId;
use crate::ledger::{DueJob, ErasureId, NewErasure};
use crate::queue::KnownJob;
use crate::worker::WorkerContext;

/// Jobs of one order.
const JOBS_AT_ONCE: usize = 1_000;
/// Orders of one look.
const ORDERS_AT_ONCE: usize = 10;
/// With so many under way no more are given: a store that is away must not pile them up.
const RUNNING_MAX: usize = 64;

impl Inner {
    /// Orders jobs to be erased whose time is over.
    pub(super) async fn expire(&self) {
        let Ok(_alone) = self.expiring.try_lock() else { return };
        if !self.leadership.holds() {
            return;
        }
        for _ in 0..ORDERS_AT_ONCE {
            match self.order_expired().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return warn!(error = %ErrorChain(&error), "jobs whose time is over can't be erased; will be retried");
                }
            }
        }
    }

    /// Writes one order down; answers whether there may be more to order.
    async fn order_expired(&self) -> Result<bool, EraseError> {
        let WorkerContext { ledger, queue, clock, clock_trust, erasures, .. } = &*self.context;
        let now = clock.now();
        let due = ledger.due(now, JOBS_AT_ONCE).await?;
        if due.is_empty() {
            return Ok(false);
        }
        if !clock_trust.is_steady() || !self.leadership.agrees_on_time() {
            warn!(
                %now, wait_s = PROBATION.as_secs(),
                "clock has jumped, or differs from Redis'; no job expires until it has run on for a while"
            );
            return Ok(false);
        }
        if ledger.running().await?.len() >= RUNNING_MAX {
            return Ok(false);
        }
        let has_more = due.len() == JOBS_AT_ONCE;
        // An attempt writes its job's entry down before it settles, and may not come to that.
        let ids: Vec<JobId> = due.iter().map(|due| due.job_id).collect();
        let known = queue.known(&ids).await?;
        let ended = due.into_iter().zip(known).filter(|(_, known)| *known != KnownJob::Live);
        let ended: Vec<DueJob> = ended.map(|(due, _)| due).collect();
        // A look that was cut short has ordered them before.
        let being_erased = self.being_erased().await?;
        let jobs: Vec<JobId> = ended.iter().map(|due| due.job_id).filter(|id| !being_erased.contains(id)).collect();
        if !jobs.is_empty() {
            let (id, count) = (ErasureId::new(now), jobs.len());
            let new = NewErasure { id, target: None, owner: None, user: None, created_at: now, jobs };
            ledger.order(&new).await?;
            reached(ExpiryStep::Ordered);
            info!(erasure_id = %id, jobs = count, "time of jobs is over; they are to be erased");
            erasures.ordered(id);
        }
        ledger.unmark_due(&ended).await?;
        reached(ExpiryStep::Unmarked);
        Ok(has_more && !ended.is_empty())
    }
}
