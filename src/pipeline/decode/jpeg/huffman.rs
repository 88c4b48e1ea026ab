//! Huffman tables (T.81, annex C and F.2.2.3).

use super::bits::BitReader;

/// Bits that the table for short codes is asked by.
const SHORT: u32 = 10;

/// A code that is no longer than [`SHORT`], maybe with the number behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Bits of the code, and of the number if `value` is one; 0 if the code is longer.
    bits: u8,
    symbol: u8,
    /// The number behind the code, where both are within [`SHORT`] bits; else 0, which no number is.
    value: i16,
}

/// A table to decode with.
#[derive(Clone, Debug)]
pub(super) struct HuffmanTable {
    short: Vec<Entry>,
    /// By length less one: the first number that is no code of this length or a shorter one, as 16 bits.
    limits: [u32; 16],
    /// By length less one: what to add to a code to have its place among the symbols.
    offsets: [i32; 16],
    symbols: Vec<u8>,
}

/// A symbol and, if it was decoded along, the number behind it, which is never 0.
pub(super) struct Decoded {
    pub(super) symbol: u8,
    pub(super) value: i32,
}

impl HuffmanTable {
    /// The table with `counts` codes of 1 to 16 bits for `symbols`; none if there are no such codes.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            short: vec![Entry::default(); 1 << SHORT],
            limits: [0; 16],
            offsets: [0; 16],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            let i = length as usize - 1;
            table.offsets[i] = i32::try_from(place).ok()? - code.cast_signed();
            for _ in 0..count {
                // All ones is a code that no table has, but that encoders without care use.
                if code >= 1 << length {
                    return None;
                }
                table.set_short(code, length, *symbols.get(place)?);
                code += 1;
                place += 1;
            }
            table.limits[i] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    fn set_short(&mut self, code: u32, length: u32, symbol: u8) {
        let Some(free) = SHORT.checked_sub(length) else { return };
        let size = u32::from(symbol & 15);
        for rest in 0..1_u32 << free {
            let mut entry = Entry { bits: length.to_le_bytes()[0], symbol, value: 0 };
            if size > 0 && size <= free {
                let number = (rest >> (free - size)).cast_signed();
                let value = if number < 1 << (size - 1) { number - (1 << size) + 1 } else { number };
                entry.value = i16::try_from(value).unwrap_or(0);
                entry.bits += size.to_le_bytes()[0];
            }
            self.short[((code << free) | rest) as usize] = entry;
        }
    }

    /// The next symbol; of one whose low half says how many bits of a number follow, the number too, if `with_value`.
    ///
    /// None if the bits are no code.
    #[inline]
    pub(super) fn decode(&self, bits: &mut BitReader<'_>) -> Option<Decoded> {
        bits.fill();
        let entry = self.short[bits.peek(SHORT)];
        if entry.bits > 0 {
            bits.consume(u32::from(entry.bits));
            return Some(Decoded { symbol: entry.symbol, value: i32::from(entry.value) });
        }
        self.decode_long(bits).map(|symbol| Decoded { symbol, value: 0 })
    }

    /// The next symbol, and nothing behind it.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut BitReader<'_>) -> Option<u8> {
        bits.fill();
        let entry = self.short[bits.peek(SHORT)];
        if entry.bits > 0 {
            let number = if entry.value == 0 { 0 } else { entry.symbol & 15 };
            bits.consume(u32::from(entry.bits - number));
            return Some(entry.symbol);
        }
        self.decode_long(bits)
    }

    #[cold]
    fn decode_long(&self, bits: &mut BitReader<'_>) -> Option<u8> {
        let next = u32::try_from(bits.peek(16)).ok()?;
        let i = self.limits.iter().position(|limit| next < *limit)?;
        let code = next >> (15 - i);
        let symbol = self.symbols.get(usize::try_from(code.cast_signed() + self.offsets[i]).ok()?)?;
        bits.consume(u32::try_from(i).ok()? + 1);
        Some(*symbol)
    }
}

/// What a DHT segment defines: class (0 for DC, 1 for AC), number, counts and symbols of each table; an error if it is
/// damaged.
pub(super) fn tables(mut payload: &[u8]) -> Result<Vec<(u8, u8, HuffmanTable)>, &'static str> {
    const DAMAGED: &str = "a Huffman table is damaged";
    let mut tables = Vec::new();
    while let Some((id, rest)) = payload.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(total).ok_or(DAMAGED)?;
        let (class, number) = (id >> 4, id & 15);
        if class > 1 || number > 3 || total > 256 {
            return Err(DAMAGED);
        }
        tables.push((class, number, HuffmanTable::new(*counts, symbols).ok_or(DAMAGED)?));
        payload = rest;
    }
    Ok(tables)
}

/// The table of annex K that Motion JPEG uses without saying it: class 0 for DC, 1 for AC; number 0 for luma, 1 for chroma.
pub(super) fn standard(class: u8, number: u8) -> Option<HuffmanTable> {
    let (counts, symbols): (_, &[u8]) = match (class, number) {
        (0, 0) => ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &DC_SYMBOLS),
        (0, 1) => ([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &DC_SYMBOLS),
        (1, 0) => ([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], &LUMA_SYMBOLS),
        (1, 1) => ([0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119], &CHROMA_SYMBOLS),
        _ => return None,
    };
    HuffmanTable::new(counts, symbols)
}

/// Tables K.3 and K.4.
const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// Table K.5.
#[rustfmt::skip]
pub(super) const LUMA_SYMBOLS: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3,
    0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];

/// Table K.6.
#[rustfmt::skip]
const CHROMA_SYMBOLS: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1,
    0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A,
    0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA,
    0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];
