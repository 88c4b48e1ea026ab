//! The original as it came, for `keepOriginal`. It is no [`super::Encoder`]: it starts from bytes, not from pixels.

use std::io::{self, Read, Write};

use crate::job::{ContentHash, ContentHasher};

/// Why an original could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be read.
    #[error("the original can't be read: {0}")]
    Read(#[source] io::Error),
    /// The copy could not be written.
    #[error("the copy of the original can't be written: {0}")]
    Write(#[source] io::Error),
    /// It is not what was uploaded: the disk lies.
    #[error("the original has changed since it was uploaded: its hash is {found}, not {expected}")]
    Changed {
        /// The hash of the upload.
        expected: ContentHash,
        /// The hash of what was read.
        found: ContentHash,
    },
}

/// Hands an original on unchanged, metadata and all, and proves on the way that its bytes are still those that were
/// uploaded. Returns how many there are. What was written is worthless after an error.
pub fn copy<R: Read, W: Write>(mut original: R, mut into: W, expected: ContentHash) -> Result<u64, CopyError> {
    let mut hasher = ContentHasher::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let read = match original.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(CopyError::Read(e)),
        };
        hasher.update(&buffer[..read]);
        into.write_all(&buffer[..read]).map_err(CopyError::Write)?;
        total += read as u64;
    }
    into.flush().map_err(CopyError::Write)?;
    let found = hasher.finish();
    if found == expected { Ok(total) } else { Err(CopyError::Changed { expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_original() {
        let original: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut copied = Vec::new();
        let bytes = copy(original.as_slice(), &mut copied, ContentHash::of(&original)).expect("same bytes");
        assert_eq!((bytes, copied), (200_000, original));
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut original = vec![7; 1000];
        let expected = ContentHash::of(&original);
        original[500] ^= 1;
        assert!(matches!(copy(original.as_slice(), io::sink(), expected), Err(CopyError::Changed { .. })));
    }
}
