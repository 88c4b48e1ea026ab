//! `X-Request-ID` on the answers that hyper gives by itself.
//!
//! A request whose head can't be parsed reaches no service: hyper answers it with a bare status (400, 414 or 431 over
//! HTTP/1, 431 over HTTP/2) and offers no way to add to that. So the header is added to the bytes on their way to the
//! socket. What they are is never guessed from what a client or a stored file could have put there:
//!
//! - HTTP/1: while an answer of ours is being made or written, everything is passed on. hyper's own is what is written
//!   after all of ours have ended and been flushed. It is the last of its connection.
//! - HTTP/2: frames tell their own bounds. hyper's own answer is a HEADERS frame with nothing but a `:status` in it; each
//!   of ours has at least an id as well.
//!
//! One case is left out, over HTTP/1: a malformed head behind a request whose body no handler has read, sent by a client
//! that lets that request's answer wait in our buffers. hyper writes its 400 into the same buffer, where only its bytes
//! could tell it from the end of a file.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::info;

use super::http2::FrameReader;
use crate::clock::SharedClock;
use crate::routes::Peer;
use crate::telemetry::request_id;

const NAME: &str = "x-request-id";

/// Counts the answers of one connection that its service has begun, and those of which nothing is left to be written. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<AnswerCounts>);

#[derive(Debug, Default)]
struct AnswerCounts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Answers {
    /// Notes that an answer is being made, until the guard is dropped.
    pub(super) fn begin(&self) -> Answering {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Answering(self.clone())
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }

    fn all_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst) == self.begun()
    }
}

/// Keeps an answer among those that are being made or written: whoever holds its bytes holds this too.
#[derive(Debug)]
pub(super) struct Answering(Answers);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection that adds `X-Request-ID` to the answers that hyper gives by itself, and logs them.
pub(super) struct RequestIdStream<S> {
    inner: S,
    clock: SharedClock,
    answers: Answers,
    peer: Peer,
    /// How many answers had begun when all of them had ended and were flushed.
    flushed: u64,
    protocol: Option<Protocol>,
    /// What was taken from hyper and is still to be written.
    owed: Bytes,
}

enum Protocol {
    Http1,
    Http2(FrameReader),
}

impl Protocol {
    /// By the first byte that the server sends: a status line's `H`, or the length of a SETTINGS frame.
    fn of(first: u8) -> Self {
        if first == b'H' { Self::Http1 } else { Self::Http2(FrameReader::default()) }
    }
}

impl<S> RequestIdStream<S> {
    pub(super) fn new(inner: S, clock: SharedClock, answers: Answers, peer: Peer) -> Self {
        Self { inner, clock, answers, peer, flushed: 0, protocol: None, owed: Bytes::new() }
    }

    /// Whether everything that a service answered is on the wire, so that what hyper writes now is its own.
    fn is_idle(&self) -> bool {
        self.answers.all_ended() && self.answers.begun() == self.flushed
    }

    /// A new id for an answer of hyper's, logged.
    fn new_id(&self, status: u16) -> String {
        let id = request_id(None, self.clock.now());
        info!(request_id = id, status, peer = %self.peer.0, "malformed request refused");
        id
    }
}

impl<S: AsyncWrite + Unpin> RequestIdStream<S> {
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.owed.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.owed))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.owed.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_http1(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = first_filled(bufs);
        let own = if self.is_idle() { own_http1_status(bytes) } else { None };
        let Some(status) = own else {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        };
        let line = format!("{NAME}: {}\r\n", self.new_id(status));
        let end_of_head = bytes.len() - b"\r\n".len();
        self.owed = [&bytes[..end_of_head], line.as_bytes(), b"\r\n"].concat().into();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_http2(
        &mut self,
        mut frames: FrameReader,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> (FrameReader, Poll<io::Result<usize>>) {
        let bytes = first_filled(bufs);
        let own = frames.find_bare_status(bytes);
        let written = match own {
            Some(frame) if frame.start == 0 => {
                self.owed = super::http2::with_field(&bytes[..frame.end], NAME, &self.new_id(431)).into();
                Poll::Ready(Ok(frame.end))
            }
            Some(frame) => Pin::new(&mut self.inner).poll_write(cx, &bytes[..frame.start]),
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        };
        if let Poll::Ready(Ok(mut taken)) = written {
            for buf in bufs {
                let of_buf = taken.min(buf.len());
                frames.advance(&buf[..of_buf]);
                taken -= of_buf;
            }
        }
        (frames, written)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestIdStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_owed(cx))?;
        let Some(first) = first_filled(bufs).first() else {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        };
        match self.protocol.take().unwrap_or_else(|| Protocol::of(*first)) {
            Protocol::Http1 => {
                self.protocol = Some(Protocol::Http1);
                self.poll_http1(cx, bufs)
            }
            Protocol::Http2(frames) => {
                let (frames, written) = self.poll_http2(frames, cx, bufs);
                self.protocol = Some(Protocol::Http2(frames));
                written
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        // hyper flushes once it has written all that it holds.
        if self.answers.all_ended() {
            self.flushed = self.answers.begun();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestIdStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

fn first_filled<'a>(bufs: &'a [IoSlice<'_>]) -> &'a [u8] {
    bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf)
}

/// The status of hyper's own answer: one whole head of a client error, and nothing more.
fn own_http1_status(bytes: &[u8]) -> Option<u16> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let line = head.split("\r\n").next()?;
    let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?.split(' ').next()?;
    let status = status.parse().ok().filter(|status| matches!(status, 400 | 414 | 431))?;
    (!head.contains("\r\n\r\n")).then_some(status)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::clock::System;

    const PEER: Peer = Peer(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));
    const OWN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    /// What reaches the other end of what `write` does.
    async fn sent(write: impl AsyncFnOnce(&mut RequestIdStream<tokio::io::DuplexStream>, &Answers)) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let answers = Answers::default();
        let mut stream = RequestIdStream::new(near, Arc::new(System::new()), answers.clone(), PEER);
        write(&mut stream, &answers).await;
        stream.shutdown().await.expect("it closes");
        drop(stream);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.expect("it is read");
        bytes
    }

    fn ids(bytes: &[u8]) -> usize {
        String::from_utf8_lossy(bytes).matches(NAME).count()
    }

    #[tokio::test]
    async fn an_answer_that_no_service_gave_gets_an_id_inside_its_head() {
        let bytes = sent(async |stream, _| stream.write_all(OWN).await.expect("written")).await;
        let text = String::from_utf8(bytes).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
        assert_eq!(line.len(), 36);
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
    }

    #[tokio::test]
    async fn bytes_of_a_body_are_passed_on_whatever_they_look_like() {
        let bytes = sent(async |stream, answers| {
            let answering = answers.begin();
            stream.write_all(OWN).await.expect("written");
            stream.flush().await.expect("flushed");
            drop(answering);
            // Ended, and not flushed yet: the end of its body may still be on its way.
            stream.write_all(OWN).await.expect("written");
        })
        .await;
        assert_eq!(bytes, [OWN, OWN].concat());
    }

    #[tokio::test]
    async fn behind_an_answer_that_is_flushed_the_next_one_gets_an_id() {
        let bytes = sent(async |stream, answers| {
            drop(answers.begin());
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
            stream.flush().await.expect("flushed");
            stream.write_all(OWN).await.expect("written");
        })
        .await;
        assert_eq!(ids(&bytes), 1);
        assert!(bytes.starts_with(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 400 "));
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[tokio::test]
    async fn over_http2_a_bare_status_gets_an_id_and_all_else_is_passed_on_however_little_is_taken_at_once() {
        let (own, ours) = (frame(1, 5, b"\xbe"), frame(1, 5, b"\x8d\xbf"));
        let data = frame(0, 0, &own.repeat(20));
        let frames = [&frame(4, 0, b""), &data, &own, &ours, &data, &own];
        for taken_at_once in [1, 7, 10, 64, 4096] {
            let (near, mut far) = tokio::io::duplex(taken_at_once);
            let mut stream = RequestIdStream::new(near, Arc::new(System::new()), Answers::default(), PEER);
            let write = async {
                stream.write_all(&frames.map(Vec::as_slice).concat()).await.expect("written");
                stream.shutdown().await.expect("it closes");
            };
            let mut bytes = Vec::new();
            let (read, ()) = tokio::join!(far.read_to_end(&mut bytes), write);
            read.expect("it is read");
            let mut rest = &bytes[..];
            for expected in frames {
                let (sent, behind) = rest.split_at(9 + usize::from(rest[1]) * 256 + usize::from(rest[2]));
                if *expected == own {
                    assert_eq!((sent[9], ids(sent), sent.len()), (0xbe, 1, own.len() + 51), "{taken_at_once}");
                } else {
                    assert_eq!(sent, expected.as_slice(), "{taken_at_once}");
                }
                rest = behind;
            }
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn only_a_whole_head_of_a_client_error_is_hypers_own() {
        assert_eq!(own_http1_status(OWN), Some(400));
        for other in [
            &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
            b"",
        ] {
            assert_eq!(own_http1_status(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
