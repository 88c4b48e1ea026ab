//! Looking jobs up, and counting them.

use std::collections::HashSet;

use async_trait::async_trait;

use super::change::With;
use super::fields::{self, Fields, owner_key, state_word, text_key, user_key};
use super::scripts::{NAMING, NEWEST, PAGE, STATUS, WAITING_FOR};
use super::{RedisQueue, Sampled};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::events::JobEvents;
use crate::job::{HashKey, JobId, JobRef, Owner, State};
use crate::queue::listing::ListOrder;
use crate::queue::{
    Backlog, Counts, Cursor, Filter, Job, JobRecords, LaneCounts, OwedCallbacks, Page, PageRequest, QueueError,
    QueueMetrics, WaitReason,
};

/// Jobs of one hash, or of one `ref`, that are looked up at once.
const INDEXED_AT_ONCE: usize = 4;
/// Jobs that one script searches: a few milliseconds, in which Redis does nothing else.
const SEARCHED_AT_ONCE: &str = "1000";

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

    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<Job>, QueueError> {
        self.usable()?;
        let (mut jobs, mut from) = (Vec::new(), 0);
        loop {
            let args = [format!("hash:{hash}"), from.to_string(), INDEXED_AT_ONCE.to_string()];
            let found: Vec<Fields> = self.scripts.run(&NEWEST, &args).await?;
            jobs.extend(readable(&found));
            if found.len() < INDEXED_AT_ONCE {
                return Ok(jobs);
            }
            from += INDEXED_AT_ONCE;
        }
    }

    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        self.page(filter, ListOrder::NewestFirst, page).await
    }

    async fn list_oldest_first(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        self.page(filter, ListOrder::OldestFirst, page).await
    }

    async fn waiting_for(&self, ids: &[JobId]) -> Result<Vec<Option<WaitReason>>, QueueError> {
        self.usable()?;
        let ids: Vec<String> = ids.iter().map(JobId::to_string).collect();
        let words: Vec<String> = self.scripts.run(&WAITING_FOR, &ids).await?;
        let reason = |word: &String| match word.as_str() {
            "s" => Some(WaitReason::Store),
            "m" => Some(WaitReason::Memory),
            "t" => Some(WaitReason::Turn),
            _ => None,
        };
        Ok(words.iter().map(reason).collect())
    }

    async fn live_of_store(&self, access_key: &str) -> Result<u64, QueueError> {
        self.usable()?;
        let named = fields::naming_store(access_key);
        let mut ids = HashSet::new();
        // One may go from the first list to the second meanwhile, and back.
        for state in [State::Pending, State::Processing, State::Pending] {
            let (name, mut from) = (format!("ls:{}", state_word(state)), "-inf".to_owned());
            loop {
                let args = [name.as_str(), &from, SEARCHED_AT_ONCE, &named];
                let (found, last): (Vec<String>, String) = self.scripts.run(&NAMING, &args).await?;
                ids.extend(found);
                if last.is_empty() {
                    break;
                }
                from = format!("({last}");
            }
        }
        Ok(ids.len() as u64)
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

    async fn page(&self, filter: &Filter, order: ListOrder, request: PageRequest) -> Result<Page, QueueError> {
        self.usable()?;
        let limit = request.entries();
        let behind = request.cursor.as_ref().map(place).transpose()?;
        let least = filter.least_place();
        let (from, to, word) = match order {
            ListOrder::NewestFirst => {
                let from = behind.map_or_else(|| "+inf".to_owned(), |place| format!("({place}"));
                (from, least.map_or_else(|| "-inf".to_owned(), |least| least.to_string()), "n")
            }
            ListOrder::OldestFirst => {
                let from = match (behind, least) {
                    (Some(place), least) if least.is_none_or(|least| least <= place) => format!("({place}"),
                    (_, Some(least)) => least.to_string(),
                    (_, None) => "-inf".to_owned(),
                };
                (from, "+inf".to_owned(), "o")
            }
        };
        let begun_before = filter.begun_before().map(|before| before.as_millis().to_string()).unwrap_or_default();
        let args = [list_key(filter), from, to, word.to_owned(), limit.to_string(), begun_before];
        // By what was looked at, of which not everything may be readable: nothing that is behind it would be seen.
        let (found, end): (Vec<Fields>, String) = self.scripts.run(&PAGE, &args).await?;
        let mut jobs = readable(&found);
        jobs.retain(|job| filter.covers(job.record.created_at));
        Ok(Page { jobs, next: end.parse().ok().map(Cursor::behind) })
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

/// The list of those that a filter has, whenever they were accepted.
fn list_key(filter: &Filter) -> String {
    let list = match (&filter.owner, &filter.user) {
        (None, None) => "ls".to_owned(),
        (Some(owner), _) => format!("lo:{}", owner_key(owner)),
        (None, Some(user)) => format!("lu:{}", user_key(user)),
    };
    match filter.state {
        Some(state) => format!("{list}:{}", state_word(state)),
        None => list,
    }
}

/// The place in a list that a cursor stands for.
fn place(cursor: &Cursor) -> Result<u64, QueueError> {
    let place = cursor.place()?;
    // Redis counts no further, so no page ended there.
    if place >= 1 << 53 { Err(QueueError::BadCursor) } else { Ok(place) }
}
