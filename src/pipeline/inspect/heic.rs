//! What `hvcC` says of an HEVC picture: the first fields of its sequence parameter set (ITU-T H.265, 7.3.2.2).

use super::coded::{ChromaSubsampling, CodedSize, Stream};
use crate::pipeline::container::isobmff::BoxFields;

/// The NAL unit type of a sequence parameter set.
const SPS: u8 = 33;

/// Reads an `hvcC` property.
pub(super) fn stream(body: &[u8]) -> Option<Stream> {
    let sps = unescaped(sps(body)?);
    let mut bits = Bits { bytes: &sps, at: 0 };
    // Type and layer of the unit, and the number of a parameter set that says nothing here.
    bits.skip(16 + 4)?;
    if bits.take(3)? != 0 {
        return None; // Layers in time; no decoder is asked for them.
    }
    // Whether layers nest, then profile, tier and level, 96 bits of them.
    bits.skip(1 + 96)?;
    bits.golomb()?;
    let chroma = match bits.golomb()? {
        0 => ChromaSubsampling::None,
        1 => ChromaSubsampling::Quarter,
        2 => ChromaSubsampling::Half,
        3 if bits.take(1)? == 0 => ChromaSubsampling::Full,
        _ => return None,
    };
    let (coded_width, coded_height) = (bits.golomb()?, bits.golomb()?);
    let (mut width, mut height) = (coded_width, coded_height);
    if bits.take(1)? == 1 {
        let (across, down) = chroma.steps();
        let mut cut = |step: u32| bits.golomb()?.checked_add(bits.golomb()?)?.checked_mul(step);
        width = width.checked_sub(cut(across)?)?;
        height = height.checked_sub(cut(down)?)?;
    }
    let (luma, colour) = (bits.golomb()?, bits.golomb()?);
    if luma > 8 || (colour != luma && chroma != ChromaSubsampling::None) {
        return None;
    }
    Some(Stream {
        bits: u8::try_from(8 + luma).ok()?,
        chroma,
        // Streams that don't say put chroma on the columns of luma, by the standard. Writers that halve RGB don't.
        cosited: false,
        coded: Some(CodedSize { size: (width, height), pixels: u64::from(coded_width) * u64::from(coded_height) }),
        configuration: body.to_vec(),
    })
}

/// The first sequence parameter set of the base layer, as the decoder picks it.
fn sps(body: &[u8]) -> Option<&[u8]> {
    let mut fields = BoxFields(body);
    fields.take(22)?;
    for _ in 0..fields.u8()? {
        let kind = fields.u8()? & 0x3F;
        for _ in 0..fields.u16()? {
            let length = fields.u16()?;
            let unit = fields.take(usize::from(length))?;
            if let [b0, b1, ..] = *unit
                && (kind, b0 >> 1 & 0x3F) == (SPS, SPS)
                && (b0 & 1, b1 >> 3) == (0, 0)
            {
                return Some(unit);
            }
        }
    }
    None
}

/// A unit without the bytes that keep start codes out of it: of 00 00 03, the 03.
fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let keep = |byte: &u8| {
        let escape = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !escape
    };
    let mut bytes = unit.to_vec();
    bytes.retain(keep);
    bytes
}

/// Bits, the highest first; `None` behind the end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// Up to 32 bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// An Exp-Golomb code, `ue(v)`.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        (1_u32 << zeros).checked_add(self.take(zeros)?)?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_read_as_the_standard_lists_them() {
        // 1, 010, 011, 00100, 00111, 0001000
        let mut bits = Bits { bytes: &[0b1010_0110, 0b0100_0011, 0b1000_1000], at: 0 };
        let read: Vec<_> = (0..6).map_while(|_| bits.golomb()).collect();
        assert_eq!(read, [0, 1, 2, 3, 6, 7]);
        assert_eq!(Bits { bytes: &[0; 9], at: 0 }.golomb(), None);
    }

    #[test]
    fn only_the_three_after_two_zeros_is_an_escape() {
        assert_eq!(unescaped(&[0, 0, 3, 1, 0, 3, 0, 0, 0, 3, 3]), [0, 0, 1, 0, 3, 0, 0, 0, 3]);
    }
}
