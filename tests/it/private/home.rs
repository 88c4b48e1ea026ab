//! Where private files are in these tests.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::app::{TestApp, files_below};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::process::Home;
use crate::harness::token::{Claims, now};

/// What keys of the nodes' bucket begin with.
const PREFIX: &str = "spool-of-all/";

/// One machine, or many nodes.
pub(crate) struct PrivateHome {
    cluster: Option<Cluster>,
    serves_bucket: bool,
}

impl PrivateHome {
    pub(crate) fn one_machine() -> Self {
        Self { cluster: None, serves_bucket: false }
    }

    /// None where Redis isn't installed.
    pub(crate) async fn shared_directory() -> Option<Self> {
        Some(Self { cluster: Some(Cluster::start().await?), serves_bucket: false })
    }

    /// None where Redis isn't installed.
    pub(crate) async fn shared_bucket() -> Option<Self> {
        Some(Self { cluster: Some(Cluster::start().await?), serves_bucket: true })
    }

    /// The server, or one more node.
    pub(crate) async fn start(&self, settings: &[(&str, &str)]) -> TestApp {
        let serve: &[(&str, &str)] = if self.serves_bucket { &[("PIXERVE_SERVE", "bucket")] } else { &[] };
        let settings = [serve, settings].concat();
        match &self.cluster {
            Some(cluster) => cluster.node(&settings).await,
            None => TestApp::start_with(&settings).await,
        }
    }

    /// A place for a server in a process of its own, or for one more node.
    pub(crate) fn process(&self, settings: &[(&str, &str)]) -> Home {
        let serve: &[(&str, &str)] = if self.serves_bucket { &[("PIXERVE_SERVE", "bucket")] } else { &[] };
        let settings = [serve, settings].concat();
        match &self.cluster {
            Some(cluster) => cluster.home(&settings),
            None => Home::new(&settings),
        }
    }

    /// Whether the name of a registered user's classic file fits: the S3 server of the tests makes one name of all of a key.
    pub(crate) fn holds_long_names(&self) -> bool {
        !self.serves_bucket
    }

    /// Whether another node can be started beside the first.
    pub(crate) fn has_many(&self) -> bool {
        self.cluster.is_some()
    }

    /// Every private file, by its path below `/private/`.
    pub(crate) async fn private(&self, app: &TestApp) -> Vec<String> {
        self.below(&app.private_dir(), "private").await
    }

    /// Every public one, by its path below `/files/`.
    pub(crate) async fn public(&self, app: &TestApp) -> Vec<String> {
        self.below(&app.serve_dir(), "serve").await
    }

    /// What servers in processes of their own serve, by its path below `/files/`.
    pub(crate) async fn public_of(&self, home: &Home) -> Vec<String> {
        self.below(&home.serve_dir(), "serve").await
    }

    async fn below(&self, own: &std::path::Path, name: &str) -> Vec<String> {
        match &self.cluster {
            None => files_below(own),
            Some(cluster) if self.serves_bucket => {
                let prefix = format!("{PREFIX}{name}/");
                let keys = cluster.s3.keys(BUCKET).await;
                keys.iter().filter_map(|key| Some(key.strip_prefix(&prefix)?.to_owned())).collect()
            }
            Some(cluster) if name == "private" => files_below(&cluster.private_dir()),
            Some(cluster) => files_below(&cluster.serve_dir()),
        }
    }
}

/// One small file, private.
pub(crate) fn private_job() -> Value {
    json!({ "directHost": true, "private": true, "subDir": "album/1", "formats": { "jpg": { "sizes": [[16]] } } })
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Where the first file of a job is.
pub(crate) fn location(status: &Value) -> &str {
    text(&status["files"][0]["stored"][0]["location"])
}

/// What stands for an owner in locations, as its own application works it out.
pub(crate) fn owner(user: &str, sub: &str) -> String {
    hex::encode(Sha256::digest(format!("{user}\0{sub}")))[..32].to_owned()
}

/// These claims with some more: that they read this.
pub(crate) fn reading(claims: &Claims, paths: impl Into<Value>) -> Claims {
    claims.clone().with("read", paths.into())
}

/// The same for so many seconds from now.
pub(crate) fn for_seconds(claims: &Claims, seconds: u64) -> Claims {
    claims.clone().with("exp", json!(now() + seconds))
}

/// The file at `location` with a token in the header.
pub(crate) async fn get(app: &TestApp, token: &Claims, location: &str) -> Response {
    let request = app.request(Method::GET, location).bearer_auth(token.sign());
    request.send().await.expect("an answer")
}
