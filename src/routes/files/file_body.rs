//! The bytes of a file on their way out: from memory at once, from the disk by a thread that may wait for it.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use super::recent::RecentFile;

/// Bytes read at a time. An answer that is taken slowly holds one such chunk, and over HTTP/2 the next one, too.
const CHUNK_BYTES: usize = 48 * 1024;

/// A part of an opened file.
pub(super) struct FileBody {
    file: Arc<File>,
    /// Whether the file was read a moment ago, so that its bytes are in memory, most likely.
    recent: RecentFile,
    /// Where the next bytes are that haven't been read.
    next: u64,
    /// Where those to be sent end.
    end: u64,
    /// What has been read ahead.
    ready: Option<Bytes>,
    /// That of the last chunk, which can be filled again once that is sent.
    buffer: Option<Arc<Vec<u8>>>,
    reading: Option<JoinHandle<(Vec<u8>, io::Result<usize>)>>,
}

impl FileBody {
    /// `bytes` bytes from `first` on. No file that grows is sent any further.
    pub(super) fn new(file: File, recent: RecentFile, first: u64, bytes: u64) -> Self {
        Self {
            file: Arc::new(file),
            recent,
            next: first,
            end: first.saturating_add(bytes),
            ready: None,
            buffer: None,
            reading: None,
        }
    }

    /// Whether there is nothing to be read, or what there is is in memory, most likely.
    pub(super) fn is_at_hand(&self) -> bool {
        self.next == self.end || self.recent.was_read()
    }

    /// Reads the first chunk, so that it goes out along with the answer's head. Blocks on the disk.
    pub(super) fn read_ahead(&mut self) -> io::Result<()> {
        if self.ready.is_none() && self.next < self.end {
            let mut buffer = self.free_buffer();
            let bytes = read_all_at(&self.file, &mut buffer, self.next)?;
            self.ready = Some(self.chunk(buffer, bytes)?);
            self.recent.remember();
        }
        Ok(())
    }

    /// As many bytes as the next chunk has.
    fn chunk_bytes(&self) -> usize {
        usize::try_from(self.end - self.next).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }

    /// Room for the next chunk.
    fn free_buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.buffer.take().and_then(Arc::into_inner).unwrap_or_default();
        buffer.resize(self.chunk_bytes(), 0);
        buffer
    }

    /// What comes next, if that is in memory. Whatever is against it, a thread that may wait for the disk finds it out again.
    fn read_in_memory(&mut self) -> Option<Bytes> {
        if !self.recent.was_read() {
            return None;
        }
        let mut buffer = self.free_buffer();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(&mut buffer)], self.next, ReadWriteFlags::NOWAIT);
        match read {
            Ok(bytes) if bytes > 0 => self.chunk(buffer, bytes).ok(),
            _ => {
                self.recent.forget();
                self.buffer = Some(Arc::new(buffer));
                None
            }
        }
    }

    /// The first `bytes` of the buffer, which were read where the last chunk ended.
    fn chunk(&mut self, mut buffer: Vec<u8>, bytes: usize) -> io::Result<Bytes> {
        if bytes == 0 {
            // Shorter than it was when it was opened. The client sees that bytes are missing.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next += bytes as u64;
        if self.next == self.end {
            buffer.truncate(bytes);
            return Ok(buffer.into());
        }
        let buffer = Arc::new(buffer);
        self.buffer = Some(Arc::clone(&buffer));
        Ok(Bytes::from_owner(Chunk { buffer, bytes }))
    }
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let framed = |chunk: io::Result<Bytes>| Poll::Ready(Some(chunk.map(Frame::data)));
        if let Some(chunk) = this.ready.take() {
            return framed(Ok(chunk));
        }
        loop {
            if let Some(reading) = &mut this.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                let (buffer, read) = match read {
                    Ok(read) => read,
                    Err(error) => return framed(Err(io::Error::other(error))),
                };
                return framed(read.and_then(|bytes| this.chunk(buffer, bytes)));
            }
            if this.next == this.end {
                return Poll::Ready(None);
            }
            if let Some(chunk) = this.read_in_memory() {
                return framed(Ok(chunk));
            }
            let (file, recent, mut buffer, from) =
                (Arc::clone(&this.file), this.recent.clone(), this.free_buffer(), this.next);
            this.reading = Some(tokio::task::spawn_blocking(move || {
                let read = read_all_at(&file, &mut buffer, from);
                if read.is_ok() {
                    recent.remember();
                }
                (buffer, read)
            }));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.reading.is_none() && self.next == self.end
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready.as_ref().map_or(0, |chunk| chunk.len() as u64);
        SizeHint::with_exact(self.end - self.next + ready)
    }
}

/// Bytes of a buffer that is filled again once they are sent.
struct Chunk {
    buffer: Arc<Vec<u8>>,
    bytes: usize,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

/// Fills the buffer with what is at `from`, as far as the file goes: how many bytes that were. Blocks on the disk.
fn read_all_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;

    use super::*;
    use crate::routes::files::recent::RecentReads;
    use crate::routes::files::tree::OpenedFile;

    /// More than two chunks.
    const BYTES: usize = 3 * CHUNK_BYTES - 1000;

    struct Stored {
        content: Vec<u8>,
        file: tempfile::NamedTempFile,
        reads: Arc<RecentReads>,
    }

    impl Stored {
        fn new() -> Self {
            let content: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(&content).expect("it is written");
            Self { content, file, reads: Arc::default() }
        }

        fn body(&self, first: u64, bytes: u64) -> FileBody {
            let opened = OpenedFile::of(self.file.reopen().expect("it is there")).expect("a file");
            let recent = RecentFile::of(&self.reads, &opened);
            FileBody::new(opened.file, recent, first, bytes)
        }
    }

    async fn sent(body: FileBody) -> Vec<u8> {
        body.collect().await.expect("it is read").to_bytes().into()
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_and_in_part_from_the_disk_and_from_memory() {
        let stored = Stored::new();
        for (first, bytes) in [(0, BYTES), (1, 1), (CHUNK_BYTES - 1, 2), (10, BYTES - 10), (BYTES - 1, 1), (0, 0)] {
            let expected = &stored.content[first..first + bytes];
            for _ in 0..2 {
                let body = stored.body(first as u64, bytes as u64);
                assert_eq!(body.size_hint().exact(), Some(bytes as u64));
                assert_eq!(sent(body).await, expected, "{bytes} from {first}");
            }
            let mut body = stored.body(first as u64, bytes as u64);
            body.read_ahead().expect("it is read");
            assert_eq!(body.size_hint().exact(), Some(bytes as u64), "what is read ahead is still to be sent");
            assert_eq!(body.is_end_stream(), bytes == 0);
            assert_eq!(sent(body).await, expected, "{bytes} from {first}, read ahead");
        }
    }

    #[tokio::test]
    async fn bytes_that_wait_to_be_sent_are_not_written_over() {
        let stored = Stored::new();
        let mut body = stored.body(0, BYTES as u64);
        let mut held = Vec::new();
        while let Some(frame) = body.frame().await {
            held.push(frame.expect("it is read").into_data().expect("bytes"));
        }
        assert_eq!(held.len(), 3);
        assert_eq!(held.concat(), stored.content);
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_not_ended_as_if_it_were_whole() {
        for read_before in [false, true] {
            let stored = Stored::new();
            if read_before {
                sent(stored.body(0, BYTES as u64)).await;
            }
            let body = stored.body(0, BYTES as u64);
            stored.file.as_file().set_len(10).expect("it is cut");
            body.collect().await.expect_err("bytes are missing");
        }
    }

    #[tokio::test]
    async fn a_file_that_grows_is_sent_as_long_as_it_was() {
        let mut stored = Stored::new();
        let body = stored.body(0, BYTES as u64);
        stored.file.write_all(&[7; 100]).expect("it is written");
        assert_eq!(sent(body).await, stored.content);
    }
}
