//! A server that answers what a test has it answer, and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

pub(super) struct Stub {
    /// Its address, as a command is given it.
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Answers these, one after the other: each a status and a body of JSON.
    pub(super) async fn answering(answers: Vec<(u16, Value)>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), answers)
    }

    /// The same on a socket of the test's choice.
    pub(super) fn on(listener: TcpListener, answers: Vec<(u16, Value)>) -> Self {
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (answers, asked) = (Arc::new(Mutex::new(VecDeque::from(answers))), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&asked);
        let answer = move |request: Request| {
            kept.lock().push(format!("{} {}", request.method(), request.uri()));
            let (status, body) = answers.lock().pop_front().unwrap_or((500, Value::Null));
            async move {
                let status = StatusCode::from_u16(status).expect("a status");
                (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { url, asked }
    }

    /// What it was asked so far: methods and addresses.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}
