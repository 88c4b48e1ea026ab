//! The two homes of an installation, as a migration sees them: alike.

use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use url::Url;

use super::MigrateError;
use crate::app::home_mark::MarkPlace;
use crate::app::persistent_state::{PRIVATE_DIRECTORY, make_dir};
use crate::app::shared_state::{self, RedisJournal, node_options, queue_options, scratch_dir};
use crate::bucket::Bucket;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::ledger::{BucketLedger, ErasableLedger, LEDGER_DATABASE, SqliteLedger};
use crate::nodes::{NodeTiming, Nodes};
use crate::queue::{CrashAttribution, JobQueue, QUEUE_DATABASE, QueueError, RedisQueue, SledQueue};
use crate::redis_client::RedisClient;
use crate::register::{
    BucketRecords, BucketSecrets, REGISTER_DATABASE, SealedRecords, SealedSecrets, SecretFiles, SledRecords,
};
use crate::spool::{BucketSpool, DirectorySpool, Spool};

/// For a Redis to answer at all.
const REDIS_TIMEOUT: Duration = Duration::from_secs(30);

/// What a server keeps in a data directory, which one that nobody has used has none of.
const KEPT_IN_DIRECTORY: [&str; 5] = [QUEUE_DATABASE, REGISTER_DATABASE, LEDGER_DATABASE, "callback.secret", "spool"];

/// Where one machine keeps everything, closed.
pub(super) struct MachinePlace<'a> {
    config: &'a Config,
    clock: &'a SharedClock,
    pub(super) marks: MarkPlace,
    pub(super) name: String,
}

/// Where many nodes keep everything. No node is begun.
pub(super) struct NodesPlace<'a> {
    config: &'a Config,
    clock: &'a SharedClock,
    pub(super) bucket: Arc<Bucket>,
    redis: RedisClient,
    nodes: Nodes,
    pub(super) marks: MarkPlace,
    pub(super) name: String,
}

/// One of them, open.
pub(super) struct Home {
    pub(super) name: String,
    pub(super) queue: Arc<dyn JobQueue>,
    pub(super) spool: Arc<dyn Spool>,
    pub(super) ledger: Arc<dyn ErasableLedger>,
    pub(super) records: Arc<dyn SealedRecords>,
    pub(super) secrets: Arc<dyn SealedSecrets>,
    /// Records of its queue were lost: what lives, by those that are left, may have ended.
    pub(super) history_lost: bool,
}

impl<'a> MachinePlace<'a> {
    pub(super) fn new(config: &'a Config, clock: &'a SharedClock) -> Self {
        let path = absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let name = format!("the data directory {}", path.display());
        Self { config, clock, marks: MarkPlace::in_directory(&config.data_dir), name }
    }

    fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// That a server has kept something here.
    pub(super) fn check_used(&self) -> Result<(), MigrateError> {
        if self.data_dir().join(QUEUE_DATABASE).exists() {
            return Ok(());
        }
        Err(MigrateError::NoInstallation { path: self.data_dir().to_owned() })
    }

    /// That none has.
    pub(super) fn check_unused(&self) -> Result<(), MigrateError> {
        match KEPT_IN_DIRECTORY.into_iter().find(|name| self.data_dir().join(name).exists()) {
            None => Ok(()),
            Some(found) => Err(MigrateError::NotEmpty { home: self.name.clone(), what: format!("`{found}` is there") }),
        }
    }

    /// Makes its directory, if there is none.
    pub(super) fn make_directory(&self) -> Result<(), MigrateError> {
        Ok(make_dir(self.data_dir(), PRIVATE_DIRECTORY)?)
    }

    /// Removes what nodes have in it and one machine has not, and the directory if there is nothing else in it.
    pub(super) async fn remove_scratch(&self) {
        if self.config.spool.scratch_dir.is_none() {
            let _ = tokio::fs::remove_dir_all(scratch_dir(self.config)).await;
        }
        let _ = tokio::fs::remove_dir(self.data_dir()).await;
    }

    /// Opens it, which keeps servers out until the queue is shut down.
    pub(super) async fn open(&self) -> Result<Home, MigrateError> {
        let (dir, settings) = (self.data_dir().to_owned(), self.config.queue.clone());
        let (clock, name) = (Arc::clone(self.clock), self.name.clone());
        spawn_blocking(move || {
            make_dir(&dir, PRIVATE_DIRECTORY)?;
            let opened = SledQueue::open(&dir.join(QUEUE_DATABASE), settings, clock, CrashAttribution::NoJob);
            let queue = opened.map_err(|error| match error {
                QueueError::AlreadyRunning { .. } => MigrateError::ServerRuns { path: dir.clone() },
                error => error.into(),
            })?;
            let history_lost = !queue.set_aside().is_empty();
            let spool = Arc::new(DirectorySpool::open(&dir)?);
            let ledger = Arc::new(SqliteLedger::open(&dir)?.ledger);
            let records = Arc::new(SledRecords::open(&dir)?.records);
            let secrets = Arc::new(SecretFiles::new(&dir));
            Ok(Home { name, queue: Arc::new(queue), spool, ledger, records, secrets, history_lost })
        })
        .await?
    }
}

impl<'a> NodesPlace<'a> {
    pub(super) async fn new(config: &'a Config, clock: &'a SharedClock) -> Result<Self, MigrateError> {
        let (Some(redis_url), Some(bucket_url)) = (&config.redis.url, &config.spool.bucket.url) else {
            return Err(MigrateError::OneHome);
        };
        let bucket = Arc::new(Bucket::connect(&config.spool.bucket, &config.stores.timeouts, Arc::clone(clock)).await?);
        let redis = RedisClient::new(redis_url.expose_secret(), &config.redis.sentinels, Arc::clone(clock))?;
        let nodes = Nodes::new(redis.clone(), Arc::clone(clock), node_options(config, 0));
        let endpoint = config.spool.bucket.endpoint.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        let prefix = bucket_url.prefix.to_string();
        let slash = if prefix.is_empty() { "" } else { "/" };
        let name = format!(
            "the bucket s3://{}{slash}{prefix}{endpoint} with Redis at {}",
            bucket_url.bucket,
            without_credentials(redis_url.expose_secret())
        );
        Ok(Self { config, clock, marks: MarkPlace::Object(Arc::clone(&bucket)), bucket, redis, nodes, name })
    }

    /// That Redis can be used, and no node is running.
    pub(super) async fn check_idle(&self) -> Result<(), MigrateError> {
        match timeout(REDIS_TIMEOUT, shared_state::check(&self.nodes)).await {
            Ok(checked) => checked?,
            Err(_) => return Err(MigrateError::RedisAway),
        }
        let gone_after = NodeTiming::default().gone_after;
        let running = self.nodes.live().await?.into_iter().filter(|node| node.silent_for <= gone_after);
        let ids: Vec<_> = running.map(|node| node.id.to_string()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        Err(MigrateError::NodesRun { count: ids.len(), ids: ids[..ids.len().min(3)].join(", ") })
    }

    /// That nobody has kept anything in the bucket.
    pub(super) async fn check_bucket_unused(&self) -> Result<(), MigrateError> {
        match self.bucket.list("", None).await?.objects.first() {
            None => Ok(()),
            Some(object) => {
                Err(MigrateError::NotEmpty { home: self.name.clone(), what: format!("`{}` is there", object.key) })
            }
        }
    }

    /// Opens it. Answers its queue as what it is, too.
    pub(super) async fn open(&self) -> Result<(Home, Arc<RedisQueue>), MigrateError> {
        let (config, clock) = (self.config, self.clock);
        let options = queue_options(0, Duration::ZERO);
        let opened = RedisQueue::open(self.redis.clone(), config.queue.clone(), options, Arc::clone(clock)).await;
        let queue = Arc::new(opened?);
        let (bucket, settings, scratch) = (Arc::clone(&self.bucket), config.spool.clone(), scratch_dir(config));
        let lines = Arc::new(RedisJournal(Arc::clone(&queue)));
        let spool = spawn_blocking(move || {
            make_dir(&scratch, PRIVATE_DIRECTORY)?;
            Ok::<_, MigrateError>(BucketSpool::open(bucket, &settings, &scratch, lines)?)
        })
        .await??;
        let home = Home {
            name: self.name.clone(),
            queue: Arc::clone(&queue) as _,
            spool: Arc::new(spool),
            ledger: Arc::new(BucketLedger::new(Arc::clone(&self.bucket))),
            records: Arc::new(BucketRecords::new(Arc::clone(&self.bucket), Arc::clone(clock))),
            secrets: Arc::new(BucketSecrets::new(Arc::clone(&self.bucket))),
            history_lost: false,
        };
        Ok((home, queue))
    }
}

impl Home {
    pub(super) async fn close(&self) -> Result<(), MigrateError> {
        self.queue.shutdown().await?;
        self.ledger.close().await?;
        Ok(self.records.close().await?)
    }
}

/// Host, port and database of a Redis.
fn without_credentials(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "its address".to_owned() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_redis_has_no_password() {
        for (url, name) in [
            ("redis://:secret@redis.internal:6380/2", "redis.internal:6380/2"),
            ("rediss://me:secret@redis.internal", "redis.internal"),
            ("redis://127.0.0.1:7000/", "127.0.0.1:7000"),
        ] {
            assert_eq!(without_credentials(url), name);
        }
    }
}
