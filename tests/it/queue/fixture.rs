//! A queue to test: its clock stands still, its jobs are made to measure.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Clock, Manual, SharedClock, Timestamp};
use pixerve::job::{
    CallbackEvents, CallbackTarget, ContentHash, ErrorCode, JobError, JobId, JobRecord, Owner, Priority, SealedText,
    State,
};
use pixerve::queue::{
    Claim, ClaimRequest, CrashAttribution, Enqueued, Filter, JobQueue, MemoryQueue, PageRequest, Place, QueueSettings,
    RedisQueue, RedisQueueOptions, Retry, Settled, Settlement, SledQueue, TimeSource,
};
use pixerve::redis_client::RedisClient;
use redis::{Client, FromRedisValue};

use crate::harness::record::job_record;
pub(crate) use crate::harness::record::owner;
use crate::harness::redis::{Appendfsync, Flavour, key_prefix, shared};

pub(crate) type TestResult = Result<(), Box<dyn Error>>;
pub(crate) type Queue = Arc<dyn JobQueue>;

/// Longer than any test lets pass by accident.
pub(crate) const LEASE: Duration = Duration::from_mins(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

#[derive(Clone)]
enum Kind {
    Memory,
    Sled,
    /// On the Redis at this address, with keys that begin so.
    Redis(String, String),
}

pub(crate) struct QueueFixture {
    pub(crate) clock: Arc<Manual>,
    kind: Kind,
    temp: tempfile::TempDir,
}

impl QueueFixture {
    pub(crate) fn memory() -> Result<Self, Box<dyn Error>> {
        Self::of(Kind::Memory)
    }

    pub(crate) fn sled() -> Result<Self, Box<dyn Error>> {
        Self::of(Kind::Sled)
    }

    /// On Redis, whose every write is on the disk before it answers; none where it isn't installed.
    pub(crate) fn redis() -> Result<Option<Self>, Box<dyn Error>> {
        Self::on(Flavour::Redis, Appendfsync::Always)
    }

    /// On Valkey, which writes to the disk each second; none where it isn't installed.
    pub(crate) fn valkey() -> Result<Option<Self>, Box<dyn Error>> {
        Self::on(Flavour::Valkey, Appendfsync::Everysec)
    }

    fn on(flavour: Flavour, appendfsync: Appendfsync) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(server) = wait_for(shared(flavour, appendfsync)) else { return Ok(None) };
        Self::redis_at(server.url()).map(Some)
    }

    fn of(kind: Kind) -> Result<Self, Box<dyn Error>> {
        Ok(Self { clock: Arc::new(Manual::at(START)), kind, temp: tempfile::tempdir()? })
    }

    /// An empty queue of the same kind, by the same clock.
    pub(crate) fn another(&self) -> Result<Self, Box<dyn Error>> {
        let kind = match &self.kind {
            Kind::Redis(url, _) => Kind::Redis(url.clone(), key_prefix()),
            kind => kind.clone(),
        };
        Ok(Self { clock: Arc::clone(&self.clock), ..Self::of(kind)? })
    }

    /// An empty one in memory, by the same clock.
    pub(crate) fn another_in_memory(&self) -> Result<Self, Box<dyn Error>> {
        Ok(Self { clock: Arc::clone(&self.clock), ..Self::memory()? })
    }

    pub(crate) fn open(&self) -> Result<Queue, Box<dyn Error>> {
        self.open_with(QueueSettings::default(), CrashAttribution::NoJob)
    }

    pub(crate) fn open_with(
        &self,
        settings: QueueSettings,
        attribution: CrashAttribution,
    ) -> Result<Queue, Box<dyn Error>> {
        let clock: SharedClock = self.clock.clone();
        Ok(match &self.kind {
            Kind::Memory => Arc::new(MemoryQueue::open(settings, clock, attribution)?),
            Kind::Sled => Arc::new(SledQueue::open(&self.dir(), settings, clock, attribution)?),
            Kind::Redis(url, _) => {
                assert_eq!(attribution, CrashAttribution::NoJob, "jobs of many nodes are worked on in children");
                self.node(url, u64::MAX, settings)?
            }
        })
    }

    /// A node with so much memory, which reaches Redis at this address.
    fn node(&self, url: &str, memory_total: u64, settings: QueueSettings) -> Result<Arc<RedisQueue>, Box<dyn Error>> {
        let Kind::Redis(_, prefix) = &self.kind else { return Err("it is no queue that nodes share".into()) };
        let clock: SharedClock = self.clock.clone();
        let options = RedisQueueOptions {
            prefix: prefix.clone(),
            memory_total,
            counts_max_age: Duration::ZERO,
            time: TimeSource::Clock,
        };
        let client = RedisClient::new(url, &[], clock.clone())?;
        Ok(Arc::new(wait_for(RedisQueue::open(client, settings, options, clock))?))
    }

    /// A node, with what only those can that share a queue.
    pub(crate) fn open_shared(&self) -> Result<Arc<RedisQueue>, Box<dyn Error>> {
        self.node(&self.url()?, u64::MAX, QueueSettings::default())
    }

    /// A node that has so much memory.
    pub(crate) fn open_with_memory(&self, memory_total: u64) -> Result<Queue, Box<dyn Error>> {
        Ok(self.node(&self.url()?, memory_total, QueueSettings::default())?)
    }

    /// A node that reaches Redis through another address.
    pub(crate) fn open_through(&self, url: &str) -> Result<Queue, Box<dyn Error>> {
        Ok(self.node(url, u64::MAX, QueueSettings::default())?)
    }

    /// Where Redis is.
    pub(crate) fn url(&self) -> Result<String, Box<dyn Error>> {
        match &self.kind {
            Kind::Redis(url, _) => Ok(url.clone()),
            _ => Err("it is no queue that nodes share".into()),
        }
    }

    /// What Redis answers to a command about one of the queue's keys.
    pub(crate) async fn command<T: FromRedisValue>(
        &self,
        name: &str,
        key: &str,
        arguments: &[&[u8]],
    ) -> Result<T, Box<dyn Error>> {
        let Kind::Redis(url, prefix) = &self.kind else { return Err("it is no queue that nodes share".into()) };
        let mut connection = Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
        Ok(redis::cmd(name).arg(format!("{prefix}{key}")).arg(arguments).query_async(&mut connection).await?)
    }

    /// On the Redis at this address.
    pub(crate) fn redis_at(url: String) -> Result<Self, Box<dyn Error>> {
        Self::of(Kind::Redis(url, key_prefix()))
    }

    /// Where the durable queue is.
    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("queue.db")
    }

    /// Ends a queue as the death of its server would: nobody gives anything back.
    pub(crate) fn crash(&self, queue: Queue) -> TestResult {
        drop(queue);
        // Its writer lets go of the lock last.
        File::open(self.temp.path().join("queue.db.lock"))?.lock()?;
        Ok(())
    }

    /// The wall clock of a job or a callback that is due by then.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Waits for `future` where nothing else can be.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A queued job of `sub`; `n` stands for its bytes.
pub(crate) fn queued(sub: &str, n: u32) -> JobRecord {
    record(&owner(sub), n, Priority::Queued)
}

pub(crate) fn realtime(sub: &str, n: u32) -> JobRecord {
    record(&owner(sub), n, Priority::Realtime)
}

/// The same job, owing a callback.
pub(crate) fn calling_back(mut record: JobRecord) -> JobRecord {
    let url = "https://app.example/hook".parse().expect("a URL");
    let sealed_url = Some(SealedText("sealed".to_owned()));
    record.callback = Some(CallbackTarget { url, sealed_url, sealed_headers: None, events: CallbackEvents::default() });
    record
}

pub(crate) fn record(owner: &Owner, n: u32, priority: Priority) -> JobRecord {
    let sha256 = ContentHash::of(&n.to_be_bytes());
    let mut record = job_record(JobId::new(START), owner.clone(), (sha256, 4), START);
    record.spec.priority = priority;
    record
}

pub(crate) async fn enqueue(queue: &Queue, record: &JobRecord) -> Result<JobId, Box<dyn Error>> {
    let enqueued = queue.enqueue(record.clone()).await?;
    assert_eq!(enqueued, Enqueued::Created);
    Ok(record.id)
}

/// Enqueues them all, in this order.
pub(crate) async fn enqueue_all(queue: &Queue, records: &[JobRecord]) -> Result<Vec<JobId>, Box<dyn Error>> {
    let mut ids = Vec::new();
    for record in records {
        ids.push(enqueue(queue, record).await?);
    }
    Ok(ids)
}

/// What became of the jobs whose lease had lapsed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reaped {
    pub(crate) requeued: Vec<JobId>,
    pub(crate) failed: Vec<JobId>,
}

pub(crate) async fn reap_expired(queue: &Queue, limit: usize) -> Result<Reaped, Box<dyn Error>> {
    let mut reaped = Reaped::default();
    for id in queue.expired_leases(limit).await? {
        match queue.reap(&id, Vec::new()).await?.ok_or("its lease had lapsed")? {
            State::Pending => reaped.requeued.push(id),
            _ => reaped.failed.push(id),
        }
    }
    Ok(reaped)
}

/// Purges, the originals of all ended jobs having left the spool.
pub(crate) async fn purge(queue: &Queue, finished_before: Timestamp, limit: usize) -> Result<usize, Box<dyn Error>> {
    let mut cursor = None;
    loop {
        let page = queue.list(&Filter::default(), PageRequest { limit: 200, cursor }).await?;
        let ended: Vec<_> = page.jobs.iter().filter(|job| job.state.is_terminal()).map(|job| job.record.id).collect();
        queue.left_spool(&ended).await?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(queue.purge(finished_before, limit).await?);
        }
    }
}

/// Claims as many jobs as there are, whatever memory they take.
pub(crate) async fn claim_up_to(queue: &Queue, max: usize) -> Result<Vec<Claim>, Box<dyn Error>> {
    Ok(queue.claim(ClaimRequest { max, place: Place::Regular, memory: u64::MAX, lease: LEASE }).await?.claims)
}

pub(crate) async fn claim(queue: &Queue) -> Result<Claim, Box<dyn Error>> {
    claim_up_to(queue, 1).await?.pop().ok_or_else(|| "nothing to claim".into())
}

pub(crate) async fn nothing_to_claim(queue: &Queue) -> TestResult {
    let claims = claim_up_to(queue, 1).await?;
    assert!(claims.is_empty(), "{claims:?}");
    Ok(())
}

/// The ids in the order in which they are claimed, one by one.
pub(crate) async fn claim_order(queue: &Queue) -> Result<Vec<JobId>, Box<dyn Error>> {
    let mut ids = Vec::new();
    while let Some(claim) = claim_up_to(queue, 1).await?.pop() {
        ids.push(claim.job.record.id);
    }
    Ok(ids)
}

pub(crate) async fn complete(queue: &Queue, claim: &Claim) -> TestResult {
    let settled = queue.settle(&claim.lease, completion()).await?;
    assert_eq!(settled, Settled::Applied(pixerve::job::State::Completed));
    Ok(())
}

pub(crate) fn completion() -> Settlement {
    Settlement::Completed { files: Vec::new(), placeholder: None }
}

pub(crate) fn failure(retry: Retry) -> Settlement {
    Settlement::Failed { error: broken_disk(), files: Vec::new(), retry }
}

pub(crate) fn crash() -> Settlement {
    Settlement::Crashed { error: broken_disk(), files: Vec::new() }
}

pub(crate) fn broken_disk() -> JobError {
    JobError::new(ErrorCode::StoreUnreachable, "writing the file failed")
}
