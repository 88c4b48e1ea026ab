//! BMP: the information header, whose first field tells its kind.

use std::io::{BufRead, Seek};

use super::{Header, InspectError};
use crate::pipeline::container::BoundedReader;

pub(super) fn header<R: BufRead + Seek>(reader: &mut R) -> Result<Header, InspectError> {
    let mut source = BoundedReader::new(reader)?;
    source.skip(14)?;
    let kind = u32::from_le_bytes(source.array()?);
    let (width, height) = if kind == 12 {
        let [w0, w1, h0, h1] = source.array()?;
        (u32::from(u16::from_le_bytes([w0, w1])), u32::from(u16::from_le_bytes([h0, h1])))
    } else if (16..=1024).contains(&kind) {
        let width = i32::from_le_bytes(source.array()?);
        let height = i32::from_le_bytes(source.array()?);
        let width = u32::try_from(width).map_err(|_| InspectError::damaged("its width is negative"))?;
        // Negative means that rows are stored top down.
        (width, height.unsigned_abs())
    } else {
        return Err(InspectError::damaged(format!("an information header of {kind} bytes doesn't exist")));
    };
    source.skip(2)?;
    let bits = u16::from_le_bytes(source.array()?);
    Ok(Header { indexed: bits <= 8, ..Header::still(width, height, 4) })
}
