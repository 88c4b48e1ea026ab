//! Jobs going out, and leases held longer.

use std::time::Duration;

use super::{Machine, encode};
use crate::failpoint::{Step, reached};
use crate::job::{JobId, State};
use crate::queue::local::read;
use crate::queue::local::schedule::{Choice, HeldLease, Stage};
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::{Claim, ClaimRequest, Claimed, Lease, LeaseState, QueueError};

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn claim(&mut self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        let ClaimRequest { max, place, mut memory, lease } = request;
        let mut claimed = Claimed::default();
        while claimed.claims.len() < max {
            let id = match self.schedule.choose(self.clock.elapsed(), place, memory) {
                Choice::Job(id) => id,
                Choice::Short(takes) => {
                    claimed.next_takes = Some(takes);
                    break;
                }
                Choice::Nothing => break,
            };
            if let Some(claim) = self.claim_one(&id, lease, Stage::Making)? {
                memory = memory.saturating_sub(claim.job.record.memory.unwrap_or(0));
                claimed.claims.push(claim);
            }
        }
        self.memory_left[place as usize] = if claimed.next_takes.is_some() { memory } else { u64::MAX };
        Ok(claimed)
    }

    pub(in crate::queue::local) fn claim_made(
        &mut self,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Claim>, QueueError> {
        let mut claims = Vec::new();
        while claims.len() < max {
            let Some(id) = self.schedule.first_made(self.clock.elapsed()) else { break };
            claims.extend(self.claim_one(&id, lease, Stage::Storing)?);
        }
        Ok(claims)
    }

    fn claim_one(&mut self, id: &JobId, lease: Duration, stage: Stage) -> Result<Option<Claim>, QueueError> {
        let Some(mut stored) = read::stored_in(&*self.records, Table::Jobs, id)? else {
            self.set_aside_if_unreadable(id)?;
            tracing::error!(job_id = %id, "scheduled job has no readable record; it will be requeued from the spool");
            self.schedule.remove(id);
            return Ok(None);
        };
        let mut batch = Batch::default();
        stored.token = self.token.take(&mut batch);
        stored.wait_ms = 0;
        stored.job.attempts += 1;
        stored.job.not_before = None;
        let is_first = stored.job.started_at.is_none();
        stored.job.started_at.get_or_insert_with(|| self.clock.now());
        self.transition(&mut batch, &mut stored, State::Processing)?;
        self.apply(&batch)?;
        self.changed.push(*id);
        if is_first {
            self.observers.metrics.first_attempt(&stored.job);
        }
        reached(Step::ClaimApplied);

        let expires = self.clock.elapsed().saturating_add(lease);
        self.schedule.lease(id, HeldLease { token: stored.token, expires, term: lease, stage, is_renewable: true });
        Ok(Some(Claim { lease: Lease { id: *id, token: stored.token, expires }, job: stored.job }))
    }

    pub(in crate::queue::local) fn made(&mut self, lease: &Lease) -> Result<(), QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(()) };
        if !stored.is_made {
            stored.is_made = true;
            let mut batch = Batch::default();
            batch.put(Table::Jobs, *lease.id.as_bytes(), encode(&stored)?);
            self.apply(&batch)?;
        }
        self.schedule.made(&lease.id);
        Ok(())
    }

    /// Not durable: after a restart every lease is void anyway.
    pub(in crate::queue::local) fn extend(&mut self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError> {
        if self.schedule.token(&lease.id) == Some(lease.token) {
            let expires = self.clock.elapsed().saturating_add(by);
            let is_renewed = self.schedule.extend(&lease.id, expires, by);
            return Ok(if is_renewed { LeaseState::Held(expires) } else { LeaseState::Lost });
        }
        let job = read::job(&*self.records, &lease.id)?;
        let cancelled = job.is_some_and(|job| job.state == State::Cancelled);
        Ok(if cancelled { LeaseState::Cancelled } else { LeaseState::Lost })
    }
}
