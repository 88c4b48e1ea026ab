//! An answer on its way: a guard that lives as long as any of its bytes waits to be sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::Activity;
use super::places::Place;
use super::request_id::Answering;

/// Keeps an answer among those that are being made or sent, and a request of HTTP/2 on its place. Cheap to clone.
#[derive(Clone)]
pub(super) struct Answer(Arc<Guards>);

struct Guards {
    activity: Activity,
    _answering: Answering,
    _place: Option<Place>,
}

impl Answer {
    pub(super) fn begin(activity: Activity, answering: Answering, is_http2: bool, place: Option<Place>) -> Self {
        activity.answer_begun(is_http2);
        Self(Arc::new(Guards { activity, _answering: answering, _place: place }))
    }

    pub(super) fn with(self, response: Response) -> Response<AnswerBody> {
        response.map(|body| AnswerBody { body, answer: self })
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        self.activity.answer_ended();
    }
}

/// A response's body whose bytes are known until they are in the socket's hands.
pub(super) struct AnswerBody {
    body: Body,
    answer: Answer,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|bytes| Unsent::of(bytes, self.answer.clone())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that hyper holds.
struct Unsent {
    bytes: Bytes,
    answer: Answer,
}

impl Unsent {
    fn of(bytes: Bytes, answer: Answer) -> Bytes {
        answer.0.activity.unsent(bytes.len());
        Bytes::from_owner(Self { bytes, answer })
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.answer.0.activity.sent(self.bytes.len());
    }
}
