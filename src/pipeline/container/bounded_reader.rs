//! A reader that knows how long it is, so that the lengths in a header can be checked against it.

use std::io::{self, BufRead, ErrorKind, Seek, SeekFrom};

use memchr::memchr;

/// A seekable reader, its length, and where it stands: to ask a file costs a system call, and to seek in one its buffer.
pub(in crate::pipeline) struct BoundedReader<R> {
    reader: R,
    length: u64,
    /// Bytes before here; none when somebody else has used the reader.
    position: Option<u64>,
}

impl<R: BufRead + Seek> BoundedReader<R> {
    pub(in crate::pipeline) fn new(mut reader: R) -> io::Result<Self> {
        let length = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        Ok(Self { reader, length, position: Some(0) })
    }

    pub(in crate::pipeline) fn reader(&mut self) -> &mut R {
        self.position = None;
        &mut self.reader
    }

    pub(in crate::pipeline) fn seek_to(&mut self, position: u64) -> io::Result<()> {
        let here = self.position()?;
        if let (Ok(from), Ok(to)) = (i64::try_from(here), i64::try_from(position)) {
            self.reader.seek_relative(to - from)?;
        } else {
            self.reader.seek(SeekFrom::Start(position))?;
        }
        self.position = Some(position);
        Ok(())
    }

    /// Notes that so many bytes were read.
    fn advance(&mut self, count: u64) {
        self.position = self.position.map(|position| position.saturating_add(count));
    }

    /// As many of the next bytes as there are and `into` holds.
    pub(in crate::pipeline) fn read_some(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.reader.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.position = None;
                    return Err(e);
                }
            }
        }
        self.advance(filled as u64);
        Ok(filled)
    }

    /// Fills `into`, or leaves the reader anywhere.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let filled = self.reader.read_exact(into);
        match filled {
            Ok(()) => self.advance(into.len() as u64),
            Err(_) => self.position = None,
        }
        filled
    }

    /// Exactly the next `N` bytes.
    pub(in crate::pipeline) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(in crate::pipeline) fn byte(&mut self) -> io::Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next `count` bytes, at most `max` of them kept; the reader stands behind all of them.
    pub(in crate::pipeline) fn take(&mut self, count: u64, max: usize) -> io::Result<Vec<u8>> {
        let kept = usize::try_from(count).unwrap_or(usize::MAX).min(max);
        if self.left()? < kept as u64 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; kept];
        self.fill(&mut bytes)?;
        self.skip(count - kept as u64)?;
        Ok(bytes)
    }

    /// Passes over `count` bytes, which may lie beyond the end; reading there fails.
    pub(in crate::pipeline) fn skip(&mut self, count: u64) -> io::Result<()> {
        let relative = i64::try_from(count).map_err(|_| io::Error::from(ErrorKind::UnexpectedEof))?;
        self.reader.seek_relative(relative)?;
        self.advance(count);
        Ok(())
    }

    /// Passes over everything before the next `byte`, and says how much that was.
    ///
    /// # Errors
    /// `UnexpectedEof` if it doesn't come, or not within `max` bytes.
    pub(in crate::pipeline) fn skip_to(&mut self, byte: u8, max: u64) -> io::Result<u64> {
        let mut passed = 0;
        loop {
            let there = self.reader.fill_buf()?;
            let found = memchr(byte, there);
            let count = found.unwrap_or(there.len());
            if there.is_empty() || passed + count as u64 > max {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.reader.consume(count);
            self.advance(count as u64);
            passed += count as u64;
            if found.is_some() {
                return Ok(passed);
            }
        }
    }

    /// Bytes of the whole.
    pub(in crate::pipeline) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes before here.
    pub(in crate::pipeline) fn position(&mut self) -> io::Result<u64> {
        if let Some(position) = self.position {
            return Ok(position);
        }
        let position = self.reader.stream_position()?;
        self.position = Some(position);
        Ok(position)
    }

    /// Bytes from here to the end.
    pub(in crate::pipeline) fn left(&mut self) -> io::Result<u64> {
        Ok(self.length.saturating_sub(self.position()?))
    }
}
