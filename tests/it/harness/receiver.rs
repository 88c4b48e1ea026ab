//! Somebody who is called back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Router, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use super::app::WAIT_MAX;

/// A server on loopback that keeps what it is sent, and answers with a status that the test chooses.
pub(crate) struct Receiver {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    calls: Mutex<mpsc::UnboundedReceiver<Call>>,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The body, as it came.
    pub(crate) bytes: Bytes,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        let handler = move |headers: HeaderMap, body: Bytes| {
            let (tx, answer) = (tx.clone(), Arc::clone(&answer));
            async move {
                let bytes = body;
                let body = serde_json::from_slice(&bytes).expect("a JSON body");
                // Before the test hears of the call: what it says then is about the next one.
                let status = StatusCode::from_u16(answer.load(Ordering::SeqCst)).expect("a status");
                let _ = tx.send(Call { headers, body, bytes });
                status
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        tokio::spawn(async move { serve(listener, Router::new().route("/hook", post(handler))).await });
        Self { url, status, calls: Mutex::new(rx) }
    }

    /// From now on answers with this.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next call, waited for.
    pub(crate) async fn call(&self) -> Call {
        let mut calls = self.calls.lock().await;
        tokio::time::timeout(WAIT_MAX, calls.recv()).await.expect("a call in time").expect("the receiver runs")
    }

    /// A call that has come already, if any.
    pub(crate) async fn unexpected(&self) -> Option<Call> {
        self.calls.lock().await.try_recv().ok()
    }
}
