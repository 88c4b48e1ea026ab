//! A store that answers what a test tells it to, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }
}

type Script = dyn Fn(usize, &Request) -> Response + Send + Sync;

struct Inner {
    script: Box<Script>,
    asked: Mutex<Vec<Request>>,
}

pub(crate) struct Scripted {
    pub(crate) endpoint: String,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Scripted {
    /// Serves what `script` says to each request; it is told how many came before.
    pub(crate) async fn start(script: impl Fn(usize, &Request) -> Response + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner { script: Box::new(script), asked: Mutex::default() });
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(inner.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serves");
        });
        Self { endpoint, inner, serving }
    }

    /// Everything asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.inner.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Request { method, uri, headers, body };
    let before = {
        let mut asked = inner.asked.lock().expect("not poisoned");
        asked.push(request.clone());
        asked.len() - 1
    };
    (inner.script)(before, &request)
}

/// An error as S3 says it.
pub(crate) fn s3_error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>"
    );
    (StatusCode::from_u16(status).expect("a status"), [("content-type", "application/xml")], body).into_response()
}

/// A yes to an upload to S3, with this `ETag`.
pub(crate) fn s3_yes(etag: &str) -> Response {
    [("etag", format!("\"{etag}\""))].into_response()
}
