//! IPTC's records (IIM 4.2), alone or among Photoshop's resources.

use super::joined;
use crate::encoder::Credits;

/// By-line and copyright notice, in the second record.
const BY_LINE: (u8, u8) = (2, 80);
const COPYRIGHT_NOTICE: (u8, u8) = (2, 116);

/// Photoshop's number for them.
const RESOURCE: u16 = 0x0404;

/// The credits in IPTC's records. What isn't valid UTF-8 is Latin-1, whatever character set is announced: few writers
/// announce the one they use.
pub(super) fn credits(records: &[u8]) -> Credits {
    let of = |wanted| joined(data_sets(records).filter(|(id, _)| *id == wanted).map(|(_, data)| data));
    Credits { artist: of(BY_LINE), copyright: of(COPYRIGHT_NOTICE) }
}

/// The data sets: record and number, and what they hold. Bytes between them are passed over.
fn data_sets(mut rest: &[u8]) -> impl Iterator<Item = ((u8, u8), &[u8])> {
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.iter().position(|byte| *byte == 0x1C)?..];
            let [_, record, number, high, low, after @ ..] = rest else { return None };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            // Extended sets say how long their length is; none of them is text.
            match after.split_at_checked(length) {
                Some((data, behind)) if *record < 10 && length < 0x8000 => {
                    rest = behind;
                    return Some(((*record, *number), data));
                }
                _ => rest = &rest[1..],
            }
        }
    })
}

/// IPTC's records among Photoshop's resources.
pub(super) fn in_photoshop(mut rest: &[u8]) -> Option<&[u8]> {
    const SIGNATURE: &[u8] = b"8BIM";
    loop {
        // What was damaged, and padding that was left out, end at the next signature.
        let start = rest.windows(SIGNATURE.len()).position(|bytes| bytes == SIGNATURE)?;
        rest = &rest[start + SIGNATURE.len()..];
        let ([high, low, name_length], _) = rest.split_first_chunk::<3>()?;
        // The name's length counts for its own byte, and both are even.
        let head = 2 + (1 + usize::from(*name_length)).next_multiple_of(2);
        let length = rest.get(head..head + 4).and_then(|bytes| bytes.first_chunk::<4>());
        let Some(length) = length.map(|bytes| u32::from_be_bytes(*bytes) as usize) else { continue };
        let data = &rest[head + 4..];
        if u16::from_be_bytes([*high, *low]) == RESOURCE {
            return Some(&data[..length.min(data.len())]);
        }
        if let Some(behind) = data.get(length..) {
            rest = behind;
        }
    }
}
