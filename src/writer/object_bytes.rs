//! The bytes of a stored object, piece by piece.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::timeout;

use super::WriteError;
use super::failure::Failure;

/// An object whose bytes are coming: as many as the store said, or an error.
pub struct ObjectBytes {
    what: String,
    bytes: u64,
    left: u64,
    /// For each piece.
    timeout: Duration,
    pieces: BoxStream<'static, Result<Bytes, Failure>>,
}

impl ObjectBytes {
    /// What `pieces` are to add up to, `bytes` in all; `what` is attempted, for messages.
    ///
    /// # Errors
    /// If those are more than `bytes_max`.
    pub(super) fn of(
        what: String,
        bytes: u64,
        bytes_max: u64,
        timeout: Duration,
        pieces: BoxStream<'static, Result<Bytes, Failure>>,
    ) -> Result<Self, WriteError> {
        if bytes > bytes_max {
            return Err(Failure::permanent(format!("it has {bytes} bytes, more than {bytes_max}")).on(what));
        }
        Ok(Self { what, bytes, left: bytes, timeout, pieces })
    }

    /// How many there are in all, as the store says.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If they don't come, or are fewer or more than they were said to be; another try may get past that.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WriteError> {
        let failure = match timeout(self.timeout, self.pieces.next()).await {
            Ok(Some(Ok(piece))) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    return Ok(Some(piece));
                }
                None => Failure::transient(format!("more came than the {} bytes that it was said to have", self.bytes)),
            },
            Ok(None) if self.left == 0 => return Ok(None),
            Ok(None) => Failure::transient(format!("it ended {} bytes before its end", self.left)),
            Ok(Some(Err(failure))) => failure,
            Err(_) => Failure::transient(format!("nothing more came within {:?}", self.timeout)),
        };
        Err(failure.on(self.what.clone()))
    }
}

impl fmt::Debug for ObjectBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBytes({} bytes, {} to come)", self.bytes, self.left)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read(said: u64, pieces: &[&'static [u8]]) -> Result<usize, WriteError> {
        let pieces = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect::<Vec<_>>());
        let mut bytes = ObjectBytes::of("get it".to_owned(), said, 100, Duration::from_mins(1), pieces.boxed())?;
        let mut read = 0;
        while let Some(piece) = bytes.chunk().await? {
            read += piece.len();
        }
        Ok(read)
    }

    #[tokio::test]
    async fn only_as_many_bytes_as_were_said_are_an_object() {
        assert_eq!(read(5, &[b"abc", b"", b"de"]).await.expect("whole"), 5);
        assert_eq!(read(0, &[]).await.expect("whole"), 0);
        for (said, why) in [(6, "1 bytes before its end"), (4, "more came than the 4 bytes")] {
            let error = read(said, &[b"abc", b"de"]).await.expect_err("refused");
            assert!(error.is_transient() && error.detail.contains(why), "{error}");
        }
        let error = read(101, &[]).await.expect_err("refused");
        assert!(!error.is_transient() && error.to_string().contains("get it: it has 101 bytes"), "{error}");
    }
}
