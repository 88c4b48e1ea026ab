//! The headers of sled's segments, by which it finds its way through the file.
//!
//! sled takes a segment whose header is damaged for a free one, and what was written there for never written: depending
//! on what else is there, records vanish without an error. So the headers are looked at before.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use super::error::DatabaseError;
use super::files::DatabaseFiles;

/// A database can shrink after a burst of records only if its segments are large.
const BYTES_MAX: usize = 8 << 20;
/// A record must fit into a quarter of one.
const BYTES_MIN: usize = 256 << 10;
/// A file system should have room for so many: sled writes the whole of a segment, and needs free ones to tidy up.
const IN_A_FILE_SYSTEM: u64 = 64;

/// How large the database's segments are: as they were made, or fit for its file system if there are none yet.
pub(super) fn bytes(files: &DatabaseFiles) -> usize {
    match files.read_conf() {
        // Whatever can't be read is for sled to refuse.
        Some(conf) => bytes_in(&conf).unwrap_or(BYTES_MAX),
        None => files.file_system().map_or(BYTES_MAX, |size| fitting(size.total_bytes)),
    }
}

fn fitting(total_bytes: u64) -> usize {
    let share = usize::try_from(total_bytes / IN_A_FILE_SYSTEM).unwrap_or(usize::MAX).clamp(BYTES_MIN, BYTES_MAX);
    // The power of two that is not above it.
    1 << share.ilog2()
}

/// What sled's `conf` says: lines of text, and their checksum.
fn bytes_in(conf: &[u8]) -> Option<usize> {
    let (text, checksum) = conf.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*checksum) != crc32fast::hash(text) {
        return None;
    }
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    let bytes: usize = lines.find_map(|line| line.strip_prefix("segment_size: "))?.trim().parse().ok()?;
    (bytes.is_power_of_two() && (BYTES_MIN..=BYTES_MAX).contains(&bytes)).then_some(bytes)
}

/// A checksum, a log position, and the position up to which everything was stable.
const HEADER_BYTES: usize = 20;

/// Where the first damaged header is, if there is one. A segment that was never written is all zeros there.
pub(super) fn damaged_header(files: &DatabaseFiles) -> Result<Option<u64>, DatabaseError> {
    let failed = |source| files.io_error("reading", source);
    let bytes = files.file_bytes()?;
    if bytes == 0 {
        return Ok(None);
    }
    let mut file = files.open_file()?;
    for offset in (0..bytes).step_by(self::bytes(files)) {
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        match file.read_exact(&mut header) {
            Ok(()) => {}
            // That the file ends early is for sled to say.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        if header != [0; HEADER_BYTES] && !is_sound(&header) {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// Whether the checksum, which is stored inverted, is that of the rest.
fn is_sound(header: &[u8; HEADER_BYTES]) -> bool {
    let (checksum, rest) = header.split_at(4);
    let stored = checksum.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    stored == !crc32fast::hash(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;

    #[test]
    fn segments_fit_their_file_system() {
        for (total, bytes) in [(0, 256 << 10), (16 << 20, 256 << 10), (100 << 20, 1 << 20), (1 << 40, 8 << 20)] {
            assert_eq!(fitting(total), bytes, "{total}");
        }
    }

    #[test]
    fn a_database_keeps_the_segments_it_was_made_with() -> Result<(), Box<dyn std::error::Error>> {
        let temp = tempfile::tempdir()?;
        let files = DatabaseFiles::new(&temp.path().join("queue.db"));
        let small = sled::Config::new().path(files.dir()).segment_size(BYTES_MIN).open()?;
        small.insert("a", "record")?;
        drop(small);
        assert_eq!(bytes(&files), BYTES_MIN);
        let opened = Database::open(files.dir())?;
        assert_eq!(opened.set_aside.map(|aside| aside.why), Some("it opens, but what was in it is gone".to_owned()));
        Ok(())
    }

    #[test]
    fn a_damaged_conf_is_not_read() {
        let text = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n";
        let whole = [text.as_slice(), &crc32fast::hash(text).to_le_bytes()].concat();
        assert_eq!(bytes_in(&whole), Some(512 << 10));
        for i in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[i] ^= 1;
            assert_eq!(bytes_in(&flipped), None, "byte {i}");
        }
        assert_eq!(bytes_in(b""), None);
    }
}
