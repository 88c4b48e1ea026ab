//! What nodes share: a Redis, a bucket, keys, and a directory that all of them serve.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::app::TestApp;
use super::process::Home;
use super::redis::{Appendfsync, Flavour, RedisServer};
use super::redis_pair::RedisPair;
use super::stores::{S3Server, s3};

/// All of it, and nodes on demand.
pub(crate) struct Cluster {
    pub(crate) redis: RedisServer,
    pub(crate) s3: S3Server,
    queue_url: String,
    dirs: TempDir,
}

/// The bucket that they share.
pub(crate) const BUCKET: &str = "nodes";

/// Has a node act as a release whose newest format of job records is the first.
pub(crate) const OLDER: (&str, &str) = ("FAILPOINTS", "record::newest=return(1)");

impl Cluster {
    /// One without a node; none where Redis isn't installed.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_on(Flavour::Redis, Appendfsync::Everysec).await
    }

    /// The same on this kind of Redis.
    pub(crate) async fn start_on(flavour: Flavour, appendfsync: Appendfsync) -> Option<Self> {
        let redis = RedisServer::start(flavour, appendfsync).await?;
        let url = redis.url();
        Some(Self::of(redis, url).await)
    }

    /// The same on a Redis with a replica, which may take its place; none where no network can be made, either.
    pub(crate) async fn start_replicated(flavour: Flavour, appendfsync: Appendfsync) -> Option<(Self, RedisPair)> {
        let (primary, pair) = RedisPair::start(flavour, appendfsync).await?;
        Some((Self::of(primary, pair.url()).await, pair))
    }

    /// The same at this address of the Redis.
    pub(crate) async fn of(redis: RedisServer, queue_url: String) -> Self {
        let s3 = s3().await;
        s3.create_bucket(BUCKET);
        let dirs = tempfile::tempdir().expect("a directory");
        pixerve::app::keys(dirs.path()).expect("keys are made");
        Self { redis, s3, queue_url, dirs }
    }

    /// The jobs whose originals are where the leader looks for what the queue doesn't know.
    pub(crate) async fn spooled(&self) -> Vec<String> {
        let keys = self.s3.keys(BUCKET).await.into_iter().filter(|key| key.contains("/spool/"));
        keys.filter_map(|key| Some(key.rsplit_once('/')?.1.to_owned())).collect()
    }

    /// Has the bucket say of every original that it came so much earlier.
    pub(crate) async fn age_spooled(&self, by: Duration) {
        for key in self.s3.keys(BUCKET).await.iter().filter(|key| key.contains("/spool/")) {
            self.s3.age(BUCKET, key, by);
        }
    }

    /// The format of an accepted job's record, as nodes see it that may not read it.
    pub(crate) async fn record_format(&self, accepted: &Value) -> u32 {
        let id = accepted["job_id"].as_str().expect("an id");
        let constants: String = self.redis.command(&["HGET", &format!("{{px0}}:job:{id}"), "k"]).await;
        constants.rsplit('|').next().expect("parts").parse().expect("a number")
    }

    /// The format of its manifest in the bucket.
    pub(crate) async fn manifest_format(&self, accepted: &Value) -> u32 {
        let id = accepted["job_id"].as_str().expect("an id");
        let key = format!("spool-of-all/spool/{}/{id}", &id[id.len() - 2..]);
        let object = self.s3.object(BUCKET, &key).await.expect("an original");
        let head = String::from_utf8_lossy(&object.bytes);
        let version = head.split_once("\"version\":").expect("a version").1;
        version.split([',', '}']).next().expect("a number").parse().expect("a number")
    }

    /// The directory that all nodes serve.
    pub(crate) fn serve_dir(&self) -> PathBuf {
        self.dirs.path().join("serve")
    }

    /// The directory that all nodes have private files in.
    pub(crate) fn private_dir(&self) -> PathBuf {
        self.dirs.path().join("private")
    }

    /// What every node is given.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.dirs.path().join(name).display().to_string();
        vec![
            ("PIXERVE_QUEUE_URL", self.queue_url.clone()),
            ("PIXERVE_SPOOL_URL", format!("s3://{BUCKET}/spool-of-all")),
            ("PIXERVE_SPOOL_ENDPOINT", self.s3.endpoint.to_string()),
            ("PIXERVE_SPOOL_ACCESS_KEY_ID", self.s3.access_key.clone()),
            ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", self.s3.secret.clone()),
            ("PIXERVE_SPOOL_PATH_STYLE", "true".to_owned()),
            ("PIXERVE_VAULT_KEY_FILE", path("vault.key")),
            ("PIXERVE_SERVE_DIR", path("serve")),
            ("PIXERVE_PRIVATE_DIR", path("private")),
            ("PIXERVE_QUEUE_LEASE", "5s".to_owned()),
            ("PIXERVE_QUEUE_LEASE_RENEW", "1s".to_owned()),
        ]
    }

    /// A node in the test's process.
    pub(crate) async fn node(&self, further: &[(&str, &str)]) -> TestApp {
        let settings = self.settings();
        let all: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).chain(further.iter().copied()).collect();
        TestApp::start_with(&all).await
    }

    /// A place for a node in a process of its own.
    pub(crate) fn home(&self, further: &[(&str, &str)]) -> Home {
        let settings = self.settings();
        let all: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).chain(further.iter().copied()).collect();
        Home::new(&all)
    }
}
