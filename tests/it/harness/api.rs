//! What a client of a server does, whether that runs in this process or in one of its own.

use std::net::SocketAddr;
use tokio::time::Instant;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::app::{WAIT_MAX, poll_delay};
use super::token::Claims;

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    client: Client,
}

impl Default for Api {
    /// A client of nobody yet.
    fn default() -> Self {
        Self { base: String::new(), client: client() }
    }
}

impl Api {
    /// From now on a client of the server at `addr`, without connections to an earlier one.
    pub(crate) fn at(&mut self, addr: SocketAddr) {
        *self = Self { base: format!("http://{addr}"), client: client() };
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.json().await.expect("JSON")
    }

    /// A request as admin.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path).bearer_auth(Claims::of("operator").admin().sign());
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    }

    /// Uploads `bytes` under `name` with this token.
    pub(crate) async fn upload(&self, token: &str, name: &str, bytes: Vec<u8>) -> Response {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
        self.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await.expect("an answer")
    }

    /// Uploads to a server that may not be there: none if it gave no whole answer.
    pub(crate) async fn try_upload(&self, token: &str, name: &str, bytes: Vec<u8>) -> Option<(StatusCode, Value)> {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
        let response = self.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await.ok()?;
        Some((response.status(), response.json().await.ok()?))
    }

    /// Uploads for `sub` what must be accepted: the answer.
    pub(crate) async fn accepted(&self, sub: &str, job: Value, name: &str, bytes: Vec<u8>) -> Value {
        let response = self.upload(&Claims::of(sub).job(job).sign(), name, bytes).await;
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// Uploads, and waits for the end: the job's status then.
    pub(crate) async fn done(&self, sub: &str, job: Value, name: &str, bytes: Vec<u8>) -> Value {
        let accepted = self.accepted(sub, job, name, bytes).await;
        self.ended(&accepted).await
    }

    /// Waits until the accepted job has ended: its status.
    pub(crate) async fn ended(&self, accepted: &Value) -> Value {
        let of = |status: &Value| matches!(status["state"].as_str(), Some("completed" | "failed" | "cancelled"));
        self.wait_for(accepted, "to end", of).await
    }

    /// Waits until a worker has the accepted job.
    pub(crate) async fn processing(&self, accepted: &Value) -> Value {
        self.wait_for(accepted, "to be processed", |status| status["state"] != "pending").await
    }

    /// Waits until the accepted job's status is as wanted.
    pub(crate) async fn wait_for(&self, accepted: &Value, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let url = accepted["status_url"].as_str().expect("a status_url").to_owned();
        let started = Instant::now();
        loop {
            let status = self.get_json(&url).await;
            if wanted(&status) {
                return status;
            }
            assert!(started.elapsed() < WAIT_MAX, "waited too long for a job {what}: {status}");
            poll_delay().await;
        }
    }

    /// A stored file, as a browser gets it.
    pub(crate) async fn file(&self, location: &str) -> Vec<u8> {
        let response = self.get(location).await;
        assert_eq!(response.status(), StatusCode::OK, "{location}");
        response.bytes().await.expect("a body").to_vec()
    }

    /// Registers a store: its access key.
    pub(crate) async fn register(&self, store: Value) -> String {
        let response = self.admin(Method::POST, "/register", Some(store)).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let body: Value = response.json().await.expect("JSON");
        body["access_key"].as_str().expect("an access_key").to_owned()
    }
}

fn client() -> Client {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}
