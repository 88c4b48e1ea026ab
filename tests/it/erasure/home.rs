//! Where jobs are in these tests, and everything that could have a trace of one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::app::{TestApp, WAIT_MAX, files_below, poll_delay};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::process::Home;
use crate::harness::stores::{S3Server, s3};
use crate::harness::token::Claims;

/// The bucket of the store that jobs name.
pub(super) const PICTURES: &str = "pictures";

/// Which keys of a Redis have a text in their names or in what is kept there.
const KEYS_WITH: &str = "
    local function has(value)
        if type(value) ~= 'table' then return string.find(tostring(value), ARGV[1], 1, true) end
        for _, part in ipairs(value) do if has(part) then return true end end
    end
    local read = {
        string = function(key) return redis.call('GET', key) end,
        hash = function(key) return redis.call('HGETALL', key) end,
        list = function(key) return redis.call('LRANGE', key, 0, -1) end,
        set = function(key) return redis.call('SMEMBERS', key) end,
        zset = function(key) return redis.call('ZRANGE', key, 0, -1) end,
    }
    local found = {}
    for _, key in ipairs(redis.call('KEYS', '*')) do
        if has(key) or has(read[redis.call('TYPE', key).ok](key)) then table.insert(found, key) end
    end
    return found
";

/// One machine, or what many nodes share; and a store.
pub(crate) struct ErasureHome {
    cluster: Option<Cluster>,
    /// Whether nodes serve files from their bucket.
    serves_bucket: bool,
    pub(super) store: S3Server,
}

impl ErasureHome {
    pub(super) async fn one_machine() -> Self {
        let store = s3().await;
        store.create_bucket(PICTURES);
        Self { cluster: None, serves_bucket: false, store }
    }

    /// None where Redis isn't installed.
    pub(crate) async fn many_nodes() -> Option<Self> {
        let cluster = Cluster::start().await?;
        Some(Self { cluster: Some(cluster), ..Self::one_machine().await })
    }

    /// The same nodes, which serve files from their bucket.
    pub(crate) async fn nodes_that_serve_a_bucket() -> Option<Self> {
        Some(Self { serves_bucket: true, ..Self::many_nodes().await? })
    }

    /// The server, or one more node.
    pub(super) async fn start(&self, settings: &[(&str, &str)]) -> TestApp {
        let settings = [self.serving(), settings].concat();
        match &self.cluster {
            Some(cluster) => cluster.node(&settings).await,
            None => TestApp::start_with(&settings).await,
        }
    }

    /// A place for one more node, in a process of its own.
    pub(super) fn node_home(&self, settings: &[(&str, &str)]) -> Home {
        let settings = [self.serving(), settings].concat();
        self.cluster.as_ref().expect("there are nodes").home(&settings)
    }

    fn serving(&self) -> &'static [(&'static str, &'static str)] {
        if self.serves_bucket { &[("PIXERVE_SERVE", "bucket")] } else { &[] }
    }

    /// The address of what all nodes keep.
    pub(super) fn shared_endpoint(&self) -> SocketAddr {
        let s3 = &self.cluster.as_ref().expect("there are nodes").s3;
        s3.endpoint.socket_addrs(|| None).expect("an address")[0]
    }

    /// The ids of all orders to erase that nodes know of.
    pub(super) async fn orders(&self) -> Vec<String> {
        let keys = self.cluster.as_ref().expect("there are nodes").s3.keys(BUCKET).await;
        keys.iter().filter_map(|key| Some(key.split_once("/erasures/orders/")?.1.to_owned())).collect()
    }

    /// The keys of what nodes serve from their bucket.
    pub(super) async fn served_keys(&self) -> Vec<String> {
        let mut keys = self.cluster.as_ref().expect("there are nodes").s3.keys(BUCKET).await;
        keys.retain(|key| key.contains("/serve/"));
        keys
    }

    pub(super) fn is_one_machine(&self) -> bool {
        self.cluster.is_none()
    }

    pub(super) fn serve_dir(&self, app: &TestApp) -> PathBuf {
        self.cluster.as_ref().map_or_else(|| app.serve_dir(), Cluster::serve_dir)
    }

    /// What is served, whoever does.
    pub(super) fn served(&self, app: &TestApp) -> Vec<String> {
        files_below(&self.serve_dir(app))
    }

    /// Every place that has this text in a name or in its bytes, wherever servers keep anything.
    pub(super) async fn traces_of(&self, app: &TestApp, text: &str) -> Vec<String> {
        let mut found = below(&app.data_dir(), text);
        found.extend(below(&app.serve_dir(), text));
        found.extend(self.shared_traces_of(text).await);
        found
    }

    /// The same wherever no server keeps anything for itself.
    pub(super) async fn shared_traces_of(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.store.keys(PICTURES).await {
            let object = self.store.object(PICTURES, &key).await;
            if key.contains(text) || object.is_some_and(|object| contains(&object.bytes, text.as_bytes())) {
                found.push(format!("the store's {key}"));
            }
        }
        let Some(cluster) = &self.cluster else { return found };
        found.extend(below(&cluster.serve_dir(), text));
        for key in cluster.s3.keys(BUCKET).await {
            let object = cluster.s3.object(BUCKET, &key).await;
            if key.contains(text) || object.is_some_and(|object| contains(&object.bytes, text.as_bytes())) {
                found.push(format!("the bucket's {key}"));
            }
        }
        let keys: Vec<String> = cluster.redis.command(&["EVAL", KEYS_WITH, "0", text]).await;
        found.extend(keys.into_iter().map(|key| format!("Redis' {key}")));
        found
    }
}

/// Every file below `dir` that has this text in its name or in its bytes.
pub(super) fn below(dir: &Path, text: &str) -> Vec<String> {
    let files = files_below(dir).into_iter();
    // One that has just been replaced has no trace any more.
    let has = |name: &String| {
        name.contains(text) || std::fs::read(dir.join(name)).is_ok_and(|bytes| contains(&bytes, text.as_bytes()))
    };
    files.filter(has).map(|name| dir.join(name).display().to_string()).collect()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Two files, served and in the store of this access key.
pub(super) fn stored_job(access_key: &str) -> Value {
    json!({
        "directHost": true, "storageKeys": { "s3": access_key },
        "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } }
    })
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A token that manages what is its own.
pub(super) fn manager(sub: &str) -> Claims {
    Claims::of(sub).with("scope", json!("manage"))
}

pub(super) async fn erase(app: &TestApp, token: &Claims, what: &str) -> Response {
    let path = format!("/erase?{what}");
    app.request(Method::DELETE, &path).bearer_auth(token.sign()).send().await.expect("an answer")
}

/// Erases what can be erased at once: the answer.
pub(super) async fn erased(app: &TestApp, token: &Claims, what: &str) -> Value {
    let response = erase(app, token, what).await;
    let status = response.status();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(status, 200, "{what}: {body}");
    body
}

/// Waits until an erasure is as wanted.
pub(super) async fn until(app: &TestApp, token: &Claims, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let answer = app.request(Method::GET, &format!("/erasures/{id}")).bearer_auth(token.sign()).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let erasure: Value = answer.json().await.expect("JSON");
        if wanted(&erasure) {
            return erasure;
        }
        assert!(started.elapsed() < WAIT_MAX, "waited too long: {erasure}");
        poll_delay().await;
    }
}

/// That nothing of an ended job is told, anywhere.
pub(super) async fn assert_unknown(app: &TestApp, job: &Value) {
    let (id, hash) = (text(&job["job_id"]), text(&job["hash"]));
    for path in ["/status", "/events", "/manifest"] {
        assert_eq!(app.get(&format!("{path}?job_id={id}")).await.status(), 404, "{path}");
    }
    assert_eq!(app.get(&format!("/image/{id}")).await.status(), 404);
    for path in ["/success", "/failures"] {
        let record = app.get(&format!("{path}?hash={hash}")).await;
        assert_eq!(record.status(), 200, "{path}");
        assert_eq!(record.json::<Value>().await.expect("JSON")["status"], "not_found", "{path}");
    }
    let listed = app.admin(Method::GET, "/jobs?limit=200", None).await.json::<Value>().await.expect("JSON");
    assert!(!listed.to_string().contains(id), "{listed}");
    assert_eq!(app.admin(Method::GET, &format!("/deliveries?job_id={id}"), None).await.status(), 404);
    assert_eq!(app.admin(Method::DELETE, &format!("/cancel?job_id={id}"), None).await.status(), 404);
    for file in job["files"].as_array().into_iter().flatten() {
        for stored in file["stored"].as_array().expect("places") {
            let location = text(&stored["location"]);
            if location.starts_with("/files/") {
                assert_eq!(app.get(location).await.status(), 404, "{location}");
            }
        }
    }
}

impl ErasureHome {
    /// Has the queue lose every record, as its retention would in time.
    pub(super) async fn lose_records(&self, app: &mut TestApp) {
        app.stop(std::time::Duration::ZERO).await;
        match &self.cluster {
            Some(cluster) => {
                let keys: Vec<String> = cluster.redis.command(&["KEYS", "{px0}:*"]).await;
                let of_jobs = keys.iter().filter(|key| !key.contains(":meta") && !key.contains(":register"));
                for key in of_jobs {
                    let _: u64 = cluster.redis.command(&["DEL", key]).await;
                }
                for key in cluster.s3.keys(BUCKET).await.iter().filter(|key| key.contains("/spool/")) {
                    cluster.s3.remove(BUCKET, key).await;
                }
            }
            None => {
                for entry in std::fs::read_dir(app.data_dir()).expect("listed").flatten() {
                    if entry.file_name().to_string_lossy().starts_with("ConvertQueue.db") {
                        let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
                    }
                }
            }
        }
        app.restart().await;
    }
}

/// For comparisons of stores with the ledger.
impl ErasureHome {
    /// Has the ledger know nothing, as that of a version without one.
    pub(super) async fn lose_ledger(&self, app: &mut TestApp) {
        app.stop(std::time::Duration::ZERO).await;
        match &self.cluster {
            Some(cluster) => {
                for key in cluster.s3.keys(BUCKET).await.iter().filter(|key| key.contains("/ledger/")) {
                    cluster.s3.remove(BUCKET, key).await;
                }
            }
            None => {
                for name in files_below(&app.data_dir()).iter().filter(|name| name.starts_with("ledger.db")) {
                    std::fs::remove_file(app.data_dir().join(name)).expect("removed");
                }
            }
        }
        app.restart().await;
    }

    /// Another of the nodes; none where there is one machine.
    pub(super) async fn other_node(&self) -> Option<TestApp> {
        match &self.cluster {
            Some(cluster) => Some(cluster.node(&[]).await),
            None => None,
        }
    }

    /// What registers as a store what all nodes keep.
    pub(super) fn shared_bucket_as_a_store(&self) -> Value {
        self.cluster.as_ref().expect("there are nodes").s3.registration(BUCKET)
    }

    pub(super) async fn plant_in_shared_bucket(&self, key: &str, age: std::time::Duration) {
        let s3 = &self.cluster.as_ref().expect("there are nodes").s3;
        s3.put(BUCKET, key, b"planted".to_vec()).await;
        s3.age(BUCKET, key, age);
    }

    pub(super) async fn is_in_shared_bucket(&self, key: &str) -> bool {
        self.cluster.as_ref().expect("there are nodes").s3.object(BUCKET, key).await.is_some()
    }
}
