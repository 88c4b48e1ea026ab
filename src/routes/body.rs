//! An upload's body as it comes in: counted and paced.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much a body may be, and how slowly it may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Bytes at most.
    pub(super) bytes_max: u64,
    /// Time in which it may come at any rate.
    pub(super) grace: Duration,
    /// Bytes a second that must have come on average once that is over.
    pub(super) bytes_per_sec_min: u64,
    /// Bytes of boundaries and part headers at most.
    pub(super) overhead_max: u64,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body has more bytes than are taken")]
    TooLarge,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("the body's part headers are too long")]
    Overhead,
    #[error("the connection broke before the body was complete")]
    Broken,
}

/// One body, shared by the parser that reads it and the handler that tells what was parsed.
#[derive(Clone)]
pub(super) struct PacedBody {
    state: Arc<Mutex<BodyState>>,
}

struct BodyState {
    body: BodyDataStream,
    limits: BodyLimits,
    started: Instant,
    timer: Pin<Box<Sleep>>,
    read: u64,
    parsed: u64,
    paused: bool,
    ended: bool,
}

impl PacedBody {
    pub(super) fn new(body: Body, limits: BodyLimits) -> Self {
        let started = Instant::now();
        let state = BodyState {
            body: body.into_data_stream(),
            limits,
            started,
            timer: Box::pin(sleep_until(started + limits.grace)),
            read: 0,
            parsed: 0,
            paused: false,
            ended: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The body for a parser.
    pub(super) fn stream(&self) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<> {
        ChunkStream(self.clone())
    }

    /// Tells that the parser handed out this many bytes of content: what it was given beyond those is overhead.
    pub(super) fn note_parsed(&self, bytes: usize) {
        self.lock().parsed += bytes as u64;
    }

    fn lock(&self) -> MutexGuard<'_, BodyState> {
        self.state.lock()
    }
}

struct ChunkStream(PacedBody);

impl Stream for ChunkStream {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_chunk(cx)
    }
}

impl BodyState {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        // The parser gathers for as long as there is something ready. One chunk at a time keeps it from taking a
        // whole upload into memory.
        if std::mem::take(&mut self.paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.body.poll_next_unpin(cx) {
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.ended = true;
                Poll::Ready(Some(Err(BodyError::Broken)))
            }
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(self.count(chunk))),
            Poll::Pending => self.poll_timer(cx),
        }
    }

    fn count(&mut self, chunk: Bytes) -> Result<Bytes, BodyError> {
        self.read += chunk.len() as u64;
        self.paused = true;
        if self.read > self.limits.bytes_max {
            return Err(BodyError::TooLarge);
        }
        // What was read before this chunk has been parsed by now.
        let unaccounted = self.read.saturating_sub(self.parsed);
        if unaccounted > self.limits.overhead_max.saturating_add(chunk.len() as u64) {
            return Err(BodyError::Overhead);
        }
        if Instant::now() > self.deadline() {
            return Err(BodyError::TooSlow);
        }
        Ok(chunk)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let deadline = self.deadline();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.ended = true;
        Poll::Ready(Some(Err(BodyError::TooSlow)))
    }

    /// By when the next byte must be here.
    fn deadline(&self) -> Instant {
        let earned = Duration::from_millis(self.read.saturating_mul(1000) / self.limits.bytes_per_sec_min.max(1));
        self.started + self.limits.grace + earned
    }
}
