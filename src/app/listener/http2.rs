//! As much of HTTP/2's framing (RFC 9113) and of HPACK (RFC 7541) as it takes to find a response that is nothing but a
//! status, and to add a field to it.

use std::ops::Range;

const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
/// `END_STREAM` and `END_HEADERS`, and neither padding nor priority.
const WHOLE_AND_LAST: u8 = 0x5;

/// The static table's entry for `:status`, as the name of a literal: with indexing, without, and never indexed.
const STATUS_LITERALS: [u8; 3] = [0x48, 0x08, 0x18];

/// Where in the stream of frames a writer is.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameReader {
    /// The head of the current frame, as far as it has come.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// What is to come of the current frame's payload.
    payload_left: usize,
}

impl FrameReader {
    /// Goes on by these bytes.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// The first whole frame in `bytes` that is a response's only one and holds nothing but `:status`.
    pub(super) fn find_bare_status(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let mut reader = self.clone();
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            if reader.is_between_frames() && is_bare_status(rest) {
                return Some(start..start + HEAD_BYTES + payload_bytes(rest));
            }
            start += reader.step(rest);
        }
        None
    }

    fn is_between_frames(&self) -> bool {
        self.head_bytes == 0 && self.payload_left == 0
    }

    /// Takes what is left of a frame's head, or of its payload: how many bytes of them there are.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let taken = self.payload_left.min(bytes.len());
            self.payload_left -= taken;
            return taken;
        }
        let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
        self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
        self.head_bytes += taken;
        if self.head_bytes == HEAD_BYTES {
            self.payload_left = payload_bytes(&self.head);
            self.head_bytes = 0;
        }
        taken
    }
}

/// A frame's length, by its head.
fn payload_bytes(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// Whether `bytes` begin with a whole such frame.
fn is_bare_status(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return false };
    if (head[3], head[4]) != (HEADERS, WHOLE_AND_LAST) {
        return false;
    }
    rest.get(..payload_bytes(head)).is_some_and(is_one_field)
}

/// Whether a header block is one field: an entry of a table, or a literal `:status`. Updates of the table's size may
/// stand before it.
fn is_one_field(block: &[u8]) -> bool {
    match without_size_updates(block) {
        [indexed] => indexed & 0x80 != 0,
        [literal, length, value @ ..] => {
            STATUS_LITERALS.contains(literal) && usize::from(length & 0x7F) == value.len() && value.len() < 0x7F
        }
        [] => false,
    }
}

fn without_size_updates(mut block: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = block
        && first & 0xE0 == 0x20
    {
        // A size of 31 or more goes on in further bytes, of which the last is below 128.
        let further = if *first == 0x3F { rest.iter().take_while(|byte| **byte >= 0x80).count() + 1 } else { 0 };
        block = rest.get(further..).unwrap_or_default();
    }
    block
}

/// The frame with one more field, as a literal that leaves the tables alone.
pub(super) fn with_field(frame: &[u8], name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 0x7F);
    let lengths = length(name).zip(length(value));
    let (name_bytes, value_bytes) = lengths.expect("INVARIANT: a header's name and an id are short");
    let field = [&[0, name_bytes], name.as_bytes(), &[value_bytes], value.as_bytes()].concat();
    let payload = u32::try_from(payload_bytes(frame) + field.len()).expect("INVARIANT: 24 bits and a little");
    [&payload.to_be_bytes()[1..], &frame[3..], &field].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// `:status: 431` as a literal, and as an entry of the dynamic table.
    const LITERAL: &[u8] = b"\x48\x82\x68\x0b";
    const INDEXED: &[u8] = b"\xbe";

    #[test]
    fn a_response_of_a_status_alone_is_found_among_other_frames() {
        let data = frame(0, 0, &[0xbe; 300]);
        for own in
            [frame(1, 5, LITERAL), frame(1, 5, INDEXED), frame(1, 5, &[&b"\x20\x3f\xe1\x1f"[..], INDEXED].concat())]
        {
            let bytes = [&data[..], &own, &data].concat();
            let found = FrameReader::default().find_bare_status(&bytes);
            assert_eq!(found, Some(data.len()..data.len() + own.len()));
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for (kind, flags, payload) in [
            (0, 5, LITERAL),                 // DATA
            (1, 4, INDEXED),                 // a body follows
            (1, 0xD, LITERAL),               // padded
            (1, 5, &b"\xbe\xbf"[..]),        // two fields
            (1, 5, b"\x48\x82\x68\x0b\xbe"), // two fields
            (1, 5, b""),
        ] {
            assert_eq!(FrameReader::default().find_bare_status(&frame(kind, flags, payload)), None, "{payload:?}");
        }
        let whole = frame(1, 5, LITERAL);
        assert_eq!(FrameReader::default().find_bare_status(&whole[..whole.len() - 1]), None, "cut off");
    }

    #[test]
    fn frames_are_told_apart_wherever_writes_end() {
        // A payload that looks like a frame.
        let inner = frame(1, 5, INDEXED);
        let bytes = [frame(0, 0, &inner), frame(1, 5, LITERAL)].concat();
        let own = bytes.len() - frame(1, 5, LITERAL).len();
        for cut in 0..=own {
            let mut reader = FrameReader::default();
            reader.advance(&bytes[..cut]);
            assert_eq!(reader.find_bare_status(&bytes[cut..]), Some(own - cut..bytes.len() - cut), "{cut}");
        }
    }

    #[test]
    fn a_field_is_added_behind_the_others() {
        let with = with_field(&frame(1, 5, INDEXED), "x-a", "id");
        assert_eq!(with, frame(1, 5, b"\xbe\x00\x03x-a\x02id"));
    }
}
