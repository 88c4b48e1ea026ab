//! The one object of an upload: what is said of it, its manifest, its bytes.
//!
//! ```text
//! 8 bytes        "pixerve" and a line break
//! 4 bytes        version of this format, big endian
//! 4 bytes        how long the header is, big endian
//! the header     JSON; fields that are not known are passed over
//! the manifest   the JobRecord, JSON
//! the original   to the object's end
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"pixerve\n";
const VERSION: u32 = 1;
const LEAD_BYTES: usize = 16;

/// Both are far beyond what is written: whatever says more is damaged, and is not read into memory.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// In which header and manifest are, as a rule.
pub(super) const HEAD_BYTES: u64 = 128 * 1024;

/// What is said of an upload besides its manifest. What is added is optional, and left out when empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    manifest_bytes: usize,
    original_bytes: u64,
}

/// What comes before an original.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// A `JobRecord`.
    pub(super) manifest: &'a [u8],
    /// Where the original begins.
    pub(super) bytes: usize,
    /// How long it is.
    pub(super) original_bytes: u64,
}

/// What the first bytes of an object come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    Whole(Head<'a>),
    /// It takes so many bytes from the object's start to go on.
    Needs(usize),
    /// It is no upload, or one of a later version; why.
    Bad(String),
}

/// What comes before an original of so many bytes.
pub(super) fn head(manifest: &[u8], original_bytes: u64) -> Bytes {
    let header = Header { manifest_bytes: manifest.len(), original_bytes };
    let header = serde_json::to_vec(&header).expect("INVARIANT: a header is numbers");
    let mut head = BytesMut::with_capacity(LEAD_BYTES + header.len() + manifest.len());
    head.put_slice(&MAGIC);
    head.put_u32(VERSION);
    head.put_u32(u32::try_from(header.len()).expect("INVARIANT: a header is a few fields"));
    head.put_slice(&header);
    head.put_slice(manifest);
    head.freeze()
}

/// Reads the first bytes of an object.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((lead, rest)) = bytes.split_at_checked(LEAD_BYTES) else { return Parsed::Needs(LEAD_BYTES) };
    let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| lead[at + i]));
    if lead[..MAGIC.len()] != MAGIC {
        return Parsed::Bad("it doesn't begin as an upload does".to_owned());
    }
    if number(8) != VERSION {
        let found = number(8);
        return Parsed::Bad(format!(
            "it has format version {found}; this Pixerve reads version {VERSION}: use the newer Pixerve"
        ));
    }
    let header_bytes = number(12) as usize;
    if header_bytes > HEADER_BYTES_MAX {
        return Parsed::Bad(format!("its header says that it has {header_bytes} bytes"));
    }
    let Some((header, rest)) = rest.split_at_checked(header_bytes) else {
        return Parsed::Needs(LEAD_BYTES + header_bytes);
    };
    let Header { manifest_bytes, original_bytes } = match serde_json::from_slice(header) {
        Ok(header) => header,
        Err(error) => return Parsed::Bad(format!("its header is bad: {error}")),
    };
    if manifest_bytes > MANIFEST_BYTES_MAX {
        return Parsed::Bad(format!("its header says that its manifest has {manifest_bytes} bytes"));
    }
    let head_bytes = LEAD_BYTES + header_bytes + manifest_bytes;
    match rest.get(..manifest_bytes) {
        Some(manifest) => Parsed::Whole(Head { manifest, bytes: head_bytes, original_bytes }),
        None => Parsed::Needs(head_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_from_however_few_bytes_at_a_time() {
        let object = [head(b"{\"id\":1}", 8).as_ref(), b"original"].concat();
        let mut have = 0;
        let found = loop {
            match parse(&object[..have]) {
                Parsed::Needs(bytes) => {
                    assert!(bytes > have && bytes <= object.len(), "{bytes} after {have}");
                    have = bytes;
                }
                Parsed::Whole(head) => break (head.manifest, head.original_bytes, &object[head.bytes..]),
                Parsed::Bad(why) => panic!("{why}"),
            }
        };
        assert_eq!(found, (&b"{\"id\":1}"[..], 8, &b"original"[..]));
    }

    #[test]
    fn a_field_that_is_not_known_yet_is_passed_over() {
        let header = br#"{"manifest_bytes":2,"of_a_later":{"version":1},"original_bytes":3}"#;
        let length = u32::try_from(header.len()).expect("short").to_be_bytes();
        let object = [&MAGIC[..], &VERSION.to_be_bytes(), &length, header, b"{}abc"].concat();
        let Parsed::Whole(found) = parse(&object) else { panic!("{:?}", parse(&object)) };
        assert_eq!((found.manifest, found.original_bytes, &object[found.bytes..]), (&b"{}"[..], 3, &b"abc"[..]));
    }

    #[test]
    fn what_is_no_upload_or_of_a_later_version_is_told_apart() {
        let lead = |version: u32, header: u32| [&MAGIC[..], &version.to_be_bytes(), &header.to_be_bytes()].concat();
        for (object, words) in [
            (b"something else, and long enough".to_vec(), "doesn't begin"),
            (lead(2, 10), "use the newer Pixerve"),
            (lead(VERSION, u32::MAX), "header says"),
            ([lead(VERSION, 4), b"nope".to_vec()].concat(), "header is bad"),
            (
                [lead(VERSION, 43), br#"{"manifest_bytes":9999999,"original_bytes":1}"#.to_vec()].concat(),
                "header is bad",
            ),
            (
                [lead(VERSION, 45), br#"{"manifest_bytes":9999999,"original_bytes":1}"#.to_vec()].concat(),
                "manifest has",
            ),
        ] {
            let Parsed::Bad(why) = parse(&object) else { panic!("{:?}", parse(&object)) };
            assert!(why.contains(words), "{why}");
        }
    }
}
