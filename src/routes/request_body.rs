//! A request's body as it comes from the connection: counted, and read on when the answer is no.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::timeout;

/// Bytes of a refused body that are read on, so that its sender sees the answer and not a reset.
const DRAIN_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// And for how long.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A body that a handler reads, and that can be read on when the handler has left it. Cheap to clone.
#[derive(Clone)]
pub(super) struct RequestBody(Arc<Mutex<Shared>>);

struct Shared {
    body: Body,
    bytes: u64,
    begun: bool,
}

impl RequestBody {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Shared { body, bytes: 0, begun: false })))
    }

    /// Bytes that have come.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// If `status` refuses the request, reads what is left of the body and throws it away, within bounds.
    pub(super) async fn drain_if_refused(&mut self, status: StatusCode, waits_for_continue: bool) {
        let is_refused = status.is_client_error() || status.is_server_error();
        // Who was too slow isn't waited for again. A client that waits for `100 Continue` has sent nothing yet before the
        // body is asked for, and needn't.
        let (begun, ended) = {
            let shared = self.0.lock();
            (shared.begun, shared.body.is_end_stream())
        };
        if !is_refused || ended || status == StatusCode::REQUEST_TIMEOUT || (waits_for_continue && !begun) {
            return;
        }
        let bytes_max = self.bytes().saturating_add(DRAIN_BYTES_MAX);
        let drain = async { while self.bytes() < bytes_max && matches!(self.frame().await, Some(Ok(_))) {} };
        let _ = timeout(DRAIN_TIME_MAX, drain).await;
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut shared = self.0.lock();
        shared.begun = true;
        let frame = Pin::new(&mut shared.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            shared.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
