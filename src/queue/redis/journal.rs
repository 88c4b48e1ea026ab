//! What an attempt notes of its job, for the next one and for whoever watches it from another node. It goes with the job's
//! record.

use super::RedisQueue;
use super::scripts::JOURNAL;
use crate::job::JobId;
use crate::queue::QueueError;

impl RedisQueue {
    /// The lines of a job, oldest first; none if it has none.
    ///
    /// # Errors
    /// Redis'.
    pub async fn journal(&self, id: &JobId) -> Result<Vec<String>, QueueError> {
        self.usable()?;
        let command = redis::Cmd::lrange(self.scripts.key(format_args!("j:{id}")), 0, -1);
        Ok(self.scripts.client.query("reading a job's journal", &command).await?)
    }

    /// Adds lines behind them, all or none; those of a job that isn't known are let go. After an error they may be there all the
    /// same, or twice.
    ///
    /// # Errors
    /// Redis'.
    pub async fn append_journal(&self, id: &JobId, lines: &[String]) -> Result<(), QueueError> {
        self.usable()?;
        let id = id.to_string();
        let args: Vec<&str> = std::iter::once(id.as_str()).chain(lines.iter().map(String::as_str)).collect();
        let _: u64 = self.scripts.run(&JOURNAL, &args).await?;
        Ok(())
    }
}
