//! Where jobs are in these tests.

use std::path::PathBuf;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, poll_delay};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::token::Claims;

/// One machine, or what many nodes share.
pub(super) struct JobsHome {
    cluster: Option<Cluster>,
}

impl JobsHome {
    pub(super) fn one_machine() -> Self {
        Self { cluster: None }
    }

    /// None where Redis isn't installed.
    pub(super) async fn many_nodes() -> Option<Self> {
        Cluster::start().await.map(|cluster| Self { cluster: Some(cluster) })
    }

    /// The server, or one more node.
    pub(super) async fn start(&self, settings: &[(&str, &str)]) -> TestApp {
        match &self.cluster {
            Some(cluster) => cluster.node(settings).await,
            None => TestApp::start_with(settings).await,
        }
    }
}

impl JobsHome {
    /// One more node; none where there can be but one server.
    pub(super) async fn other(&self, settings: &[(&str, &str)]) -> Option<TestApp> {
        match &self.cluster {
            Some(cluster) => Some(cluster.node(settings).await),
            None => None,
        }
    }

    /// Where what `app` serves lies.
    pub(super) fn serve_dir(&self, app: &TestApp) -> PathBuf {
        self.cluster.as_ref().map_or_else(|| app.serve_dir(), Cluster::serve_dir)
    }

    /// Has the original of a job that completed leave the spool, which may keep it for a while.
    pub(super) async fn leave_spool(&self, app: &TestApp, id: &str) {
        match &self.cluster {
            Some(cluster) => {
                let key = format!("spool-of-all/spool/{}/{id}", &id[id.len() - 2..]);
                cluster.s3.remove(BUCKET, &key).await;
            }
            None => {
                while app.data_dir().join("spool/jobs").join(id).exists() {
                    poll_delay().await;
                }
            }
        }
    }
}

/// Of what is registered.
pub(super) struct RegisteredUser {
    pub(super) access_key: String,
    pub(super) secret: String,
}

impl RegisteredUser {
    pub(super) async fn register(app: &TestApp, name: &str) -> Self {
        let response = app.admin(Method::POST, "/register", Some(json!({ "user": name }))).await;
        assert_eq!(response.status(), 201);
        let user: Value = response.json().await.expect("JSON");
        Self { access_key: text(&user["access_key"]).to_owned(), secret: text(&user["secret"]).to_owned() }
    }

    /// A token of one of its `sub`s.
    pub(super) fn claims(&self, sub: &str) -> Claims {
        Claims::of(sub).by(&self.access_key, &self.secret)
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

pub(super) fn with_scope(claims: &Claims, scope: &str) -> Claims {
    claims.clone().with("scope", json!(scope))
}

pub(super) fn admin() -> Claims {
    Claims::of("operator").admin()
}

pub(super) async fn send(app: &TestApp, token: &Claims, method: Method, path: &str) -> Response {
    app.request(method, path).bearer_auth(token.sign()).send().await.expect("an answer")
}

/// What must be answered with 200.
pub(super) async fn get(app: &TestApp, token: &Claims, path: &str) -> Value {
    let response = send(app, token, Method::GET, path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.expect("JSON")
}

/// The ids of a list of jobs.
pub(super) fn ids(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().expect("a list").iter().map(|job| text(&job["job_id"])).collect()
}
