//! Bits of entropy-coded data, up to the next marker.

/// Reads `data` from `at`; past the end, and past a marker, come zeros that are known not to be there.
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    /// The next byte that is not in `bits`.
    at: usize,
    /// What comes next, from the highest bit.
    bits: u64,
    /// How many of `bits` there are.
    count: u32,
    /// Whether more bits were taken than there were.
    missing: bool,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, bits: 0, count: 0, missing: false }
    }

    /// Makes sure of 32 bits, unless the data end before.
    #[inline]
    pub(super) fn fill(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline]
    fn refill(&mut self) {
        if let Some(ahead) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*ahead);
            // Whether a byte of the inverse is zero, so that none of the eight is 0xFF.
            let inverse = !word;
            let zeros = inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if zeros == 0 {
                self.bits |= word >> self.count;
                let taken = (63 - self.count) >> 3;
                self.at += taken as usize;
                self.count += 8 * taken;
                // What was beyond the whole bytes comes again.
                self.bits &= u64::MAX << (64 - self.count);
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count <= 56 {
            let Some(byte) = self.data.get(self.at) else { return };
            if *byte == 0xFF {
                let fills = self.data[self.at..].iter().take_while(|byte| **byte == 0xFF).count();
                if self.data.get(self.at + fills) != Some(&0) {
                    return;
                }
                self.at += fills;
            }
            let byte = if *byte == 0xFF { 0xFF } else { *byte };
            self.at += 1;
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next `count` bits, at most 16, without taking them; [`Self::fill`] comes before.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> usize {
        usize::try_from(self.bits >> (64 - count)).unwrap_or(0)
    }

    /// Takes `count` bits.
    #[inline]
    pub(super) fn consume(&mut self, count: u32) {
        if count > self.count {
            self.missing = true;
            (self.bits, self.count) = (0, 0);
            return;
        }
        self.bits <<= count;
        self.count -= count;
    }

    /// The next bit; without one, 0.
    #[inline]
    pub(super) fn bit(&mut self) -> bool {
        self.fill();
        let bit = self.bits >> 63 == 1;
        self.consume(1);
        bit
    }

    /// The next `count` bits, at most 16; [`Self::fill`] comes before.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let value = self.peek(count);
        self.consume(count);
        u32::try_from(value).unwrap_or(0)
    }

    /// A number of `size` bits as JPEG writes it (T.81, F.2.2.1): those that begin with 0 are negative.
    #[inline]
    pub(super) fn number(&mut self, size: u32) -> i32 {
        let value = self.take(size).cast_signed();
        if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }

    /// Whether more bits were taken than there are.
    pub(super) fn is_missing(&self) -> bool {
        self.missing
    }

    /// Whether there is less left than the longest code.
    pub(super) fn is_exhausted(&mut self) -> bool {
        self.fill();
        self.count < 16
    }

    /// Whether there is another restart marker.
    pub(super) fn has_restart(&self) -> bool {
        BitReader::new(self.data.get(self.at..).unwrap_or_default()).restart().is_some()
    }

    /// Goes on behind the next restart marker, and says which it is; none if there is no other.
    pub(super) fn restart(&mut self) -> Option<u8> {
        loop {
            self.at += memchr::memchr(0xFF, self.data.get(self.at..)?)?;
            self.at += self.data[self.at..].iter().take_while(|byte| **byte == 0xFF).count();
            let code = *self.data.get(self.at)?;
            self.at += 1;
            if let 0xD0..=0xD7 = code {
                (self.bits, self.count, self.missing) = (0, 0, false);
                return Some(code - 0xD0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bits of `data`, one by one.
    fn all(data: &[u8]) -> Vec<u8> {
        let mut reader = BitReader::new(data);
        let mut bytes = Vec::new();
        loop {
            reader.fill();
            let byte = reader.take(8);
            if reader.is_missing() {
                return bytes;
            }
            bytes.push(u8::try_from(byte).expect("eight bits"));
        }
    }

    #[test]
    fn stuffed_zeros_are_no_data_and_markers_end_them() {
        let long: Vec<u8> = (0..200).collect();
        for (data, expected) in [
            (long.as_slice(), long.as_slice()),
            (b"ab\xFF\0cdefghijkl", b"ab\xFFcdefghijkl"),
            (b"\xFF\xFF\xFF\0a", b"\xFFa"),
            (b"ab\xFF\xD0cdefghij", b"ab"),
            (b"ab\xFF", b"ab"),
            (b"", b""),
        ] {
            assert_eq!(all(data), expected, "{data:?}");
        }
    }

    #[test]
    fn a_restart_drops_what_is_before_it() {
        let mut reader = BitReader::new(b"abcdefghijklm\xFF\0n\xFF\xFF\xD3xy\xFF\xD4");
        reader.fill();
        assert_eq!(reader.take(8), u32::from(b'a'));
        assert_eq!(reader.restart(), Some(3));
        reader.fill();
        assert_eq!(reader.take(16), 0x7879);
        assert_eq!((reader.restart(), reader.restart()), (Some(4), None));
    }
}
