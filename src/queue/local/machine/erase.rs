//! Forgetting all of a job that has ended.

use super::{Machine, ended_count};
use crate::job::{JobId, KeptAnswer};
use crate::queue::local::store::{Batch, RecordStore};
use crate::queue::local::{key, read};
use crate::queue::record::StoredAnswer;
use crate::queue::{ErasedRecord, QueueError};

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn erase(&mut self, id: &JobId) -> Result<ErasedRecord, QueueError> {
        let Some(stored) = read::stored(&*self.records, id)? else { return Ok(ErasedRecord::Unknown) };
        if !stored.job.state.is_terminal() {
            return Ok(ErasedRecord::Live);
        }
        let mut batch = Batch::default();
        key::remove(&mut batch, &stored.job);
        self.remove_deliveries(&mut batch, *id)?;
        if let Some(request) = &stored.job.record.idempotency
            && let Some(StoredAnswer { job, until, .. }) = read::answer(&*self.records, &request.key)?
            && job == Some(*id)
        {
            let erased = StoredAnswer { answer: KeptAnswer::erased(), job: None, until };
            self.replace_answer(&mut batch, &request.key, &erased)?;
        }
        self.apply(&batch)?;
        for owed in self.deliveries.of_job(*id).collect::<Vec<_>>() {
            self.deliveries.remove(&owed);
        }
        if let Some(count) = ended_count(&mut self.ended, stored.job.state) {
            *count = count.saturating_sub(1);
        }
        // Whoever watches it sees that it is gone.
        self.changed.push(*id);
        Ok(ErasedRecord::Gone)
    }
}
