//! What goes on on a connection, as far as it decides how long the connection may stay.
//!
//! | while | it may stay |
//! |---|---|
//! | no request has come yet | `header_timeout` from its start |
//! | nothing is answered, nothing comes | `keep_alive_timeout`; over HTTP/2 whatever pings come |
//! | a head comes (HTTP/1) | `header_timeout` from its first byte |
//! | a request is answered | as long as the body, its limits in `routes`, and the job of answering take |
//! | an answer waits for its reader | while it is taken at `response_rate_min`; `write_timeout` without a byte |

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, sync::Arc};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config::ConnectionLimits;

/// An idle connection is closed for another's sake after this; one that never had a request after ten times as much.
const MAKE_ROOM_AFTER: Duration = Duration::from_millis(100);

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overstay {
    /// Nobody would miss it.
    Idle,
    /// No request began, or its head took too long.
    Head,
    /// What is answered is taken too slowly.
    SlowReader,
}

/// Counts and times of one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    /// Answers that are being made or sent.
    answers: usize,
    had_request: bool,
    is_http2: bool,
    /// Since when nothing is answered.
    idle_since: Instant,
    /// When the first byte came since then.
    head_since: Option<Instant>,
    /// The socket takes nothing more right now.
    is_blocked: bool,
    /// Bytes of bodies that hyper holds and has not written.
    unsent: usize,
    written: u64,
    /// Bytes by which the reader is behind the least rate.
    debt: f64,
    checked_at: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            answers: 0,
            had_request: false,
            is_http2: false,
            idle_since: now,
            head_since: None,
            is_blocked: false,
            unsent: 0,
            written: 0,
            debt: 0.0,
            checked_at: now,
        })))
    }

    pub(super) fn answer_begun(&self, is_http2: bool) {
        let mut state = self.0.lock();
        state.answers += 1;
        (state.had_request, state.is_http2, state.head_since) = (true, is_http2, None);
    }

    pub(super) fn answer_ended(&self) {
        let mut state = self.0.lock();
        state.answers -= 1;
        (state.idle_since, state.head_since) = (Instant::now(), None);
    }

    /// Whether any request came on it.
    pub(super) fn had_request(&self) -> bool {
        self.0.lock().had_request
    }

    pub(super) fn unsent(&self, bytes: usize) {
        self.0.lock().unsent += bytes;
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.0.lock().unsent -= bytes;
    }

    /// Whether the connection has to end by now. To be asked again and again: each time it is told how much was read
    /// since the last.
    pub(super) fn overstay(&self, limits: &ConnectionLimits) -> Option<Overstay> {
        self.0.lock().overstay(limits, Instant::now())
    }

    /// Whether it can be closed to make room for another one.
    pub(super) fn makes_room(&self) -> bool {
        let state = self.0.lock();
        let patience = if state.had_request { MAKE_ROOM_AFTER } else { MAKE_ROOM_AFTER * 10 };
        // Over HTTP/2, what comes may be pings.
        let no_head = state.is_http2 || state.head_since.is_none();
        state.is_idle() && no_head && state.idle_since.elapsed() >= patience
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.answers == 0 && !self.is_sending()
    }

    fn is_sending(&self) -> bool {
        self.is_blocked || self.unsent > 0
    }

    fn overstay(&mut self, limits: &ConnectionLimits, now: Instant) -> Option<Overstay> {
        self.note_progress(limits, now);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let grace = limits.response_rate_min as f64 * limits.write_timeout.as_secs_f64();
        if self.debt > grace {
            return Some(Overstay::SlowReader);
        }
        if !self.is_idle() {
            return None;
        }
        let (since, limit, overstay) = match self.head_since {
            _ if !self.had_request => (self.idle_since, limits.header_timeout, Overstay::Head),
            Some(first_byte) if !self.is_http2 => (first_byte, limits.header_timeout, Overstay::Head),
            _ => (self.idle_since, limits.keep_alive_timeout, Overstay::Idle),
        };
        (now.saturating_duration_since(since) >= limit).then_some(overstay)
    }

    fn note_progress(&mut self, limits: &ConnectionLimits, now: Instant) {
        let elapsed = now.saturating_duration_since(self.checked_at).as_secs_f64();
        let written = std::mem::take(&mut self.written);
        self.checked_at = now;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (rate, written) = (limits.response_rate_min as f64, written as f64);
        self.debt = if self.is_sending() { (self.debt + rate * elapsed - written).max(0.0) } else { 0.0 };
    }
}

/// A socket that notes what is read and written.
pub(super) struct ActivityStream<S> {
    inner: S,
    activity: Activity,
}

impl<S> ActivityStream<S> {
    pub(super) fn new(inner: S, activity: Activity) -> Self {
        Self { inner, activity }
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.activity.0.lock();
        state.is_blocked = written.is_pending();
        if let Poll::Ready(Ok(bytes)) = written {
            state.written += *bytes as u64;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ActivityStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            let mut state = self.activity.0.lock();
            if state.answers == 0 {
                state.head_since.get_or_insert_with(Instant::now);
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ActivityStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
