//! Opening it, at the start of a node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Heartbeat, SharedBucket, SharedState};
use crate::app::home_mark::MarkPlace;
use crate::app::persistent_state::{PRIVATE_DIRECTORY, PersistentState, make_dir, watch_disks};
use crate::app::register_peers::NodePeers;
use crate::app::sealed_callbacks::KeysSecret;
use crate::app::start_error::StartError;
use crate::auth::KeyRing;
use crate::bucket::Bucket;
use crate::clock::{ClockTrust, SharedClock};
use crate::config::Config;
use crate::disks::DiskMonitor;
use crate::error_chain::ErrorChain;
use crate::job::{JobId, RecordVersion};
use crate::ledger::BucketLedger;
use crate::nodes::{NodeOptions, NodeTiming, Nodes, Severity};
use crate::queue::{RedisQueue, RedisQueueOptions, TimeSource};
use crate::redis_client::RedisClient;
use crate::register::{
    BucketRecords, BucketSecrets, OpenedSharedRegister, Register, RegisterPeers, SealedSecrets, Sealer, SharedRegister,
    SharedTimeouts,
};
use crate::spool::{BucketSpool, JournalLines, JournalLinesError};
use crate::writer::BucketServe;

/// What all keys in Redis begin with. The braces keep them in one slot of a cluster.
const KEY_PREFIX: &str = "{px0}:";
/// Counts that are older are no answer: they are sampled each five to ten seconds, and a sample may fail.
const COUNTS_MAX_AGE: Duration = Duration::from_secs(25);
/// For the first beat of a node whose Redis was there a moment ago.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// Between a start that failed for want of Redis and the next one.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Opens all of it, in the Redis at `url`. Waits for a Redis that can't be reached, also for one that is lost meanwhile.
pub(in crate::app) async fn open(
    config: &Config,
    url: &SecretString,
    memory_budget: u64,
    clock: &SharedClock,
) -> Result<(PersistentState, DiskMonitor), StartError> {
    let bucket = Arc::new(Bucket::connect(&config.spool.bucket, &config.stores.timeouts, Arc::clone(clock)).await?);
    let redis = RedisClient::new(url.expose_secret(), &config.redis.sentinels, Arc::clone(clock))?;
    let nodes = Nodes::new(redis.clone(), Arc::clone(clock), node_options(config, memory_budget));
    // It takes nothing, and leads nobody, before it listens.
    nodes.drain();
    loop {
        // Before anything is waited for: what is missing here, no other node can give.
        let keys = load_keys(config).await?;
        check(&nodes).await?;
        let heartbeat = Heartbeat::start(&nodes);
        match open_with(config, keys, memory_budget, clock, &bucket, redis.clone(), &nodes).await {
            Ok((mut persistent, disk_monitor, queue)) => {
                persistent.shared = Some(SharedState { nodes, bucket: shared_bucket(bucket), queue, heartbeat });
                return Ok((persistent, disk_monitor));
            }
            Err(error) => {
                let redis_was_lost = error.is_for_want_of_redis() || nodes.status().borrow().trouble.is_some();
                // The others needn't wait until this node is missed.
                heartbeat.end().await;
                if !redis_was_lost {
                    return Err(error);
                }
                warn!(error = %ErrorChain(&error), "Redis was lost while this node started, which waits for it and begins again");
                // A replica that is to be the primary in a moment answers at once, and refuses.
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn open_with(
    config: &Config,
    (keys, sealer): (KeyRing, Arc<Sealer>),
    memory_budget: u64,
    clock: &SharedClock,
    bucket: &Arc<Bucket>,
    redis: RedisClient,
    nodes: &Nodes,
) -> Result<(PersistentState, DiskMonitor, Arc<RedisQueue>), StartError> {
    // A migration writes its mark before it looks whether a node beats: one of the two sees the other.
    heard(nodes).await?;
    MarkPlace::Object(Arc::clone(bucket)).refuse_marked().await?;
    let peers: Arc<dyn RegisterPeers> = Arc::new(NodePeers(nodes.clone()));
    let secrets: Arc<dyn SealedSecrets> = Arc::new(BucketSecrets::new(Arc::clone(bucket)));
    let shared = SharedRegister {
        records: Arc::new(BucketRecords::new(Arc::clone(bucket), Arc::clone(clock))),
        secrets: Arc::clone(&secrets),
        peers: Arc::clone(&peers),
        timeouts: SharedTimeouts::default(),
    };
    let opened = Register::open_shared(shared, Arc::clone(&sealer), Arc::clone(clock), None).await?;
    // It has said itself which registrations it can't read.
    let OpenedSharedRegister { register, installation, .. } = opened;
    // Another store may have a bucket of the same name, with a register of its own.
    let found = nodes.register_of(&installation.id).await?;
    if found != installation.id {
        return Err(StartError::OtherRegister { ours: installation.id, found });
    }
    let keys_secret = KeysSecret::open(config, secrets, &sealer, Some(&*peers)).await?;

    let options = queue_options(memory_budget, COUNTS_MAX_AGE);
    let queue = Arc::new(RedisQueue::open(redis, config.queue.clone(), options, Arc::clone(clock)).await?);
    let lines = Arc::new(RedisJournal(Arc::clone(&queue)));
    let ledger = BucketLedger::new(Arc::clone(bucket));

    let scratch = scratch_dir(config);
    let (settings, disks_config) = (config.spool.clone(), config.clone());
    let (probed, bucket) = (Arc::clone(bucket), Arc::clone(bucket));
    let (spool, disks, disk_monitor) = spawn_blocking(move || {
        make_dir(&scratch, PRIVATE_DIRECTORY)?;
        let (disks, disk_monitor) = watch_disks(&disks_config, &scratch)?;
        let spool = BucketSpool::open(bucket, &settings, &scratch, lines)?;
        Ok::<_, StartError>((spool, disks, disk_monitor))
    })
    .await??;
    // So that `/health` has something to say from the start.
    if let Err(error) = probed.probe().await {
        warn!(error = %ErrorChain(&error), "bucket can't be used yet");
    }
    info!(node = %nodes.id(), installation = installation.id, "node joined the others");
    let persistent = PersistentState {
        queue: Arc::clone(&queue) as _,
        spool: Arc::new(spool),
        ledger: Arc::new(ledger),
        register: Arc::new(register),
        sealer,
        keys_secret,
        keys,
        disks,
        clock_trust: ClockTrust::new(Arc::clone(clock), None),
        server: nodes.id().to_string(),
        history_lost: false,
        shared: None,
    };
    Ok((persistent, disk_monitor, queue))
}

/// The keys that every node is given, from files.
async fn load_keys(config: &Config) -> Result<(KeyRing, Arc<Sealer>), StartError> {
    let (auth, key_file) = (config.auth.clone(), config.key_file());
    spawn_blocking(move || {
        let keys = KeyRing::load_existing(&auth.jwt_file, auth.jwt_secret.as_ref())?;
        Ok((keys, Arc::new(Sealer::open_existing(&key_file)?)))
    })
    .await?
}

fn shared_bucket(bucket: Arc<Bucket>) -> SharedBucket {
    let probed = Arc::clone(&bucket);
    SharedBucket {
        served: BucketServe::new(&bucket),
        last_probe: Arc::new(move || probed.last_probe()),
        keep_probing: Box::new(|stop| Box::pin(bucket.keep_probing(stop))),
    }
}

/// Where this node has what it works on.
pub(in crate::app) fn scratch_dir(config: &Config) -> PathBuf {
    config.spool.scratch_dir.clone().unwrap_or_else(|| config.data_dir.join("scratch"))
}

/// How a queue is opened that takes jobs of so much memory, or none.
pub(in crate::app) fn queue_options(memory_total: u64, counts_max_age: Duration) -> RedisQueueOptions {
    RedisQueueOptions { prefix: KEY_PREFIX.to_owned(), memory_total, counts_max_age, time: TimeSource::Redis }
}

/// Waits until the others have heard of this node.
async fn heard(nodes: &Nodes) -> Result<(), StartError> {
    let mut status = nodes.status();
    if timeout(HEARD_WITHIN, status.wait_for(|status| status.heard.is_some())).await.is_ok() {
        return Ok(());
    }
    let why = status.borrow().trouble.clone();
    Err(StartError::NotHeard { why: why.unwrap_or_else(|| "nothing came".to_owned()) })
}

pub(in crate::app) fn node_options(config: &Config, memory_budget: u64) -> NodeOptions {
    NodeOptions {
        roles: config.node.roles,
        memory_budget,
        record_formats: (1, RecordVersion::newest().number()),
        installation: installation(config),
        clock_leeway: config.auth.leeway,
        key_prefix: KEY_PREFIX.to_owned(),
        timing: NodeTiming::default(),
        script_clock: None,
    }
}

/// What tells whose Redis it is before the register can be read: nodes with one bucket are one installation.
fn installation(config: &Config) -> String {
    let url = config.spool.bucket.url.as_ref();
    let place = url.map(|url| format!("{}/{}", url.bucket, url.prefix)).unwrap_or_default();
    hex::encode(&Sha256::digest(place)[..8])
}

/// Says everything that is wrong with Redis, and refuses what can't be used.
pub(in crate::app) async fn check(nodes: &Nodes) -> Result<(), StartError> {
    let never = CancellationToken::new();
    let findings = nodes.check(&never).await.unwrap_or_default();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    for finding in warnings {
        warn!(why = finding.why, remedy = finding.remedy, "{}", finding.found);
    }
    if errors.is_empty() { Ok(()) } else { Err(StartError::Redis { findings: errors }) }
}

/// Journals beside the jobs, where every node reads them.
#[derive(Clone)]
pub(in crate::app) struct RedisJournal(pub(in crate::app) Arc<RedisQueue>);

impl std::fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisJournal").finish_non_exhaustive()
    }
}

#[async_trait]
impl JournalLines for RedisJournal {
    async fn read(&self, job: JobId) -> Result<Vec<String>, JournalLinesError> {
        self.0.journal(&job).await.map_err(|error| JournalLinesError(ErrorChain(&error).to_string()))
    }

    async fn append(&self, job: JobId, lines: &[String]) -> Result<(), JournalLinesError> {
        self.0.append_journal(&job, lines).await.map_err(|error| JournalLinesError(ErrorChain(&error).to_string()))
    }
}
