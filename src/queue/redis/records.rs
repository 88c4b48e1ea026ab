//! Looking jobs up, and counting them.

use async_trait::async_trait;

use super::change::With;
use super::fields::{self, Fields, owner_key, state_word, text_key};
use super::scripts::{NEWEST, PAGE, STATUS};
use super::{RedisQueue, Sampled};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::events::JobEvents;
use crate::job::{HashKey, JobId, JobRef, Owner};
use crate::queue::{
    Backlog, Counts, Cursor, Filter, Job, JobRecords, LaneCounts, OwedCallbacks, Page, PageRequest, QueueError,
    QueueMetrics,
};

/// Jobs of one hash, or of one `ref`, that are looked up at once.
const INDEXED_AT_ONCE: usize = 4;

#[async_trait]
impl JobRecords for RedisQueue {
    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError> {
        Ok(self.load(id, With::JobAlone).await?.map(|found| found.stored.job))
    }

    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError> {
        self.newest_in(&format!("hash:{hash}"), |_| true).await
    }

    async fn newest_of(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
        self.newest_in(&format!("hash:{hash}"), |job| job.record.owner == *owner).await
    }

    async fn newest_of_reference(&self, owner: &Owner, reference: &JobRef) -> Result<Option<Job>, QueueError> {
        let index = format!("ref:{}:{}", owner_key(owner), text_key(reference.as_str()));
        self.newest_in(&index, |job| job.record.owner == *owner && job.record.reference.as_ref() == Some(reference))
            .await
    }

    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        self.usable()?;
        let limit = page.entries();
        let before = match &page.cursor {
            None => "+inf".to_owned(),
            Some(cursor) => format!("({}", place(cursor)?),
        };
        let list = match (filter.state, &filter.owner) {
            (None, None) => "ls".to_owned(),
            (Some(state), None) => format!("ls:{}", state_word(state)),
            (None, Some(owner)) => format!("lo:{}", owner_key(owner)),
            (Some(state), Some(owner)) => format!("lo:{}:{}", owner_key(owner), state_word(state)),
        };
        let mut listed: Vec<(u64, Fields)> = self.scripts.run(&PAGE, &[list, before, (limit + 1).to_string()]).await?;
        // By what is listed, of which not everything may be readable: nothing that is behind it would be seen.
        let has_more = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().filter(|_| has_more).map(|(place, _)| Cursor(format!("{place:016x}")));
        Ok(Page { jobs: readable(listed.iter().map(|(_, fields)| fields)), next })
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.usable()?;
        let sampled = *self.sampled.lock();
        let max_age = self.options.counts_max_age;
        match sampled.filter(|_| !max_age.is_zero()) {
            Some(sampled) if self.clock.elapsed().saturating_sub(sampled.at) < max_age => Ok(sampled.counts),
            // Whoever asks for health doesn't wait for a Redis that is away.
            Some(_) => Err(QueueError::Unavailable { what: "Redis does not answer".to_owned(), source: None }),
            None => self.sample().await,
        }
    }

    fn backlog(&self) -> Backlog {
        self.sampled.lock().map(|sampled| sampled.backlog).unwrap_or_default()
    }

    fn events(&self) -> &JobEvents {
        &self.events
    }

    fn metrics(&self) -> &QueueMetrics {
        &self.metrics
    }
}

impl RedisQueue {
    /// Counts the jobs, for whoever asks from now on.
    ///
    /// # Errors
    /// Redis'.
    pub async fn sample(&self) -> Result<Counts, QueueError> {
        let at = self.clock.elapsed();
        let answer: Vec<i64> = self.scripts.run(&STATUS, &[""; 0]).await?;
        let count = |nth: usize| answer.get(nth).and_then(|count| u64::try_from(*count).ok());
        let lanes = [5, 9].map(|first| LaneCounts {
            pending: count(first).unwrap_or(0),
            making: count(first + 1).unwrap_or(0),
            storing: count(first + 2).unwrap_or(0),
            oldest_pending: count(first + 3).map(Timestamp::from_millis),
        });
        let [pending, processing, completed, failed, cancelled] = [0, 1, 2, 3, 4].map(|nth| count(nth).unwrap_or(0));
        let storing = lanes.iter().map(|lane| lane.storing).sum();
        let counts = Counts { pending, processing, storing, completed, failed, cancelled };
        let callbacks = OwedCallbacks { count: count(13).unwrap_or(0), oldest: count(14).map(Timestamp::from_millis) };
        *self.sampled.lock() = Some(Sampled { at, counts, backlog: Backlog { lanes, callbacks } });
        Ok(counts)
    }

    /// The newest job in an index that `is_it`. Most often the newest of all: only another holder of the user's name has the
    /// same hash.
    pub(super) async fn newest_in(
        &self,
        index: &str,
        is_it: impl Fn(&Job) -> bool + Send,
    ) -> Result<Option<Job>, QueueError> {
        self.usable()?;
        let mut from = 0;
        loop {
            let args = [index.to_owned(), from.to_string(), INDEXED_AT_ONCE.to_string()];
            let found: Vec<Fields> = self.scripts.run(&NEWEST, &args).await?;
            if let Some(job) = readable(&found).into_iter().find(&is_it) {
                return Ok(Some(job));
            }
            if found.len() < INDEXED_AT_ONCE {
                return Ok(None);
            }
            from += INDEXED_AT_ONCE;
        }
    }
}

/// Those of these jobs that can be read. One that is of a newer version, or damaged, is no reason to be silent about the others.
fn readable<'a>(found: impl IntoIterator<Item = &'a Fields>) -> Vec<Job> {
    let jobs = found.into_iter().filter_map(|fields| {
        let read = fields::job(fields);
        read.inspect_err(|error| tracing::error!(error = %ErrorChain(error), "unreadable job record")).ok()?
    });
    jobs.map(|stored| stored.job).collect()
}

/// The place in a list that a cursor stands for.
fn place(cursor: &Cursor) -> Result<u64, QueueError> {
    let Cursor(text) = cursor;
    if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(QueueError::BadCursor);
    }
    let place = u64::from_str_radix(text, 16).map_err(|_| QueueError::BadCursor)?;
    // Redis counts no further, so no page ended there.
    if place >= 1 << 53 { Err(QueueError::BadCursor) } else { Ok(place) }
}
