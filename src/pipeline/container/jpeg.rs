//! JPEG (ITU-T T.81): markers, segments, the frame and its scans.

use std::io::{self, BufRead, Cursor, ErrorKind, Seek};
use std::ops::Range;

use super::BoundedReader;

/// Segments that are looked at. A long colour profile takes dozens, a progressive file some 30; a million tiny ones are
/// an attack.
const SEGMENTS_MAX: usize = 16 * 1024;

/// Where a marker was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Mark {
    /// A segment.
    Segment {
        code: u8,
        /// Where its marker is, one fill byte included.
        marker: u64,
        /// Where its payload begins.
        start: u64,
        /// Bytes of its payload, which may lie beyond the end of the file.
        length: u64,
    },
    /// RST0 to RST7, by their number.
    Restart(u8),
    /// EOI, and where it is.
    End(u64),
}

/// Goes from marker to marker. Of entropy-coded data and of bytes between segments it sees only where they end.
pub(in crate::pipeline) struct Walker<'a, R> {
    source: &'a mut BoundedReader<R>,
    /// Bytes before the next one that is read.
    position: u64,
}

impl<'a, R: BufRead + Seek> Walker<'a, R> {
    /// Walks `source`, which stands at its beginning.
    pub(in crate::pipeline) fn new(source: &'a mut BoundedReader<R>) -> io::Result<Self> {
        source.skip(2)?;
        Ok(Self { source, position: 2 })
    }

    /// The next marker; of a segment, the payload comes next: [`Self::payload`] reads it, [`Self::skip`] doesn't.
    ///
    /// # Errors
    /// `UnexpectedEof` if there is none within `max` bytes, `InvalidData` if it says that its segment is shorter than its
    /// length is long.
    pub(in crate::pipeline) fn next(&mut self, max: u64) -> io::Result<Mark> {
        let mut left = max;
        loop {
            let passed = self.source.skip_to(0xFF, left)?;
            left -= passed;
            self.position += passed;
            let mut code = 0xFF;
            while code == 0xFF {
                code = self.source.byte()?;
                self.position += 1;
            }
            // One fill byte, as decoders want it.
            let marker = self.position - 2;
            match code {
                // A stuffed zero; markers that stand alone and mean nothing here.
                0x00 | 0x01 | 0xD8 => left = left.saturating_sub(self.position - marker),
                0xD0..=0xD7 => return Ok(Mark::Restart(code - 0xD0)),
                0xD9 => return Ok(Mark::End(marker)),
                _ => {
                    let length = u64::from(u16::from_be_bytes(self.source.array()?));
                    self.position += 2;
                    let length = length.checked_sub(2).ok_or_else(|| io::Error::from(ErrorKind::InvalidData))?;
                    return Ok(Mark::Segment { code, marker, start: self.position, length });
                }
            }
        }
    }

    /// The next `length` bytes.
    pub(in crate::pipeline) fn payload(&mut self, length: u64) -> io::Result<Vec<u8>> {
        // A length has 16 bits.
        let payload = self.source.take(length, usize::from(u16::MAX))?;
        self.position += length;
        Ok(payload)
    }

    /// Passes over the next `length` bytes.
    pub(in crate::pipeline) fn skip(&mut self, length: u64) -> io::Result<()> {
        self.position += length;
        self.source.skip(length)
    }
}

/// What a frame header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Frame {
    pub(in crate::pipeline) progressive: bool,
    /// Bits a sample.
    pub(in crate::pipeline) precision: u8,
    pub(in crate::pipeline) width: u32,
    pub(in crate::pipeline) height: u32,
    pub(in crate::pipeline) components: Vec<Component>,
}

/// One of a frame's components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Component {
    pub(in crate::pipeline) id: u8,
    /// Sampling factors, across and down.
    pub(in crate::pipeline) sampling: (u32, u32),
    /// Its quantisation table.
    pub(in crate::pipeline) table: u8,
}

impl Frame {
    /// Reads the header `payload` of the marker `code`; none if it is too short for what it says.
    pub(in crate::pipeline) fn of(code: u8, payload: &[u8]) -> Option<Self> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = payload else { return None };
        let components = components.get(..3 * usize::from(*count))?.chunks_exact(3).map(|c| Component {
            id: c[0],
            sampling: (u32::from(c[1] >> 4), u32::from(c[1] & 15)),
            table: c[2],
        });
        let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
        Some(Self {
            progressive: code == 0xC2,
            precision: *precision,
            width: u32::from(width),
            height: u32::from(height),
            components: components.collect(),
        })
    }

    /// The largest sampling factors, across and down.
    pub(in crate::pipeline) fn sampling_max(&self) -> (u32, u32) {
        self.components.iter().map(|c| c.sampling).fold((1, 1), |a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    /// What is wrong with the sampling factors, if anything: a factor outside 1 to 4, or one that doesn't divide the
    /// largest (fractional sampling, which no common decoder reads either).
    pub(in crate::pipeline) fn sampling_fault(&self) -> Option<SamplingFault> {
        let (across, down) = self.sampling_max();
        for component in &self.components {
            let (h, v) = component.sampling;
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Some(SamplingFault::Illegal(h, v));
            }
            if across % h != 0 || down % v != 0 {
                return Some(SamplingFault::Fractional { factors: (h, v), largest: (across, down) });
            }
        }
        None
    }

    /// Samples across and down that `component` has in this frame.
    pub(in crate::pipeline) fn samples(&self, component: &Component) -> (u32, u32) {
        let largest = self.sampling_max();
        let count = |side: u32, factor: u32, largest: u32| (side * factor).div_ceil(largest);
        let (h, v) = component.sampling;
        (count(self.width, h, largest.0), count(self.height, v, largest.1))
    }

    /// Units of coding, across and down, that hold all components.
    pub(in crate::pipeline) fn mcus(&self) -> (u32, u32) {
        let (across, down) = self.sampling_max();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Units of coding of a scan of the components `members`, across and down. Alone, a component is coded block by block.
    pub(in crate::pipeline) fn units(&self, members: &[ScanComponent]) -> (u32, u32) {
        match members {
            [only] => {
                let (width, height) = self.samples(&self.components[only.index]);
                (width.div_ceil(8), height.div_ceil(8))
            }
            _ => self.mcus(),
        }
    }
}

/// What is wrong with sampling factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::pipeline) enum SamplingFault {
    #[error("a component's sampling factors are {0} x {1}; 1 to 4 are legal")]
    Illegal(u32, u32),
    #[error("fractional sampling, {} x {} beside {} x {}, can't be read", factors.0, factors.1, largest.0, largest.1)]
    Fractional { factors: (u32, u32), largest: (u32, u32) },
}

/// A component as a scan has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct ScanComponent {
    /// Which of the frame's it is.
    pub(in crate::pipeline) index: usize,
    /// Its Huffman tables.
    pub(in crate::pipeline) dc: u8,
    pub(in crate::pipeline) ac: u8,
}

/// A scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Scan {
    pub(in crate::pipeline) members: Vec<ScanComponent>,
    /// Coefficients that it gives, in zigzag order.
    pub(in crate::pipeline) band: (u8, u8),
    /// How many low bits of them are still to come: before it, and after it.
    pub(in crate::pipeline) bits: (u8, u8),
    /// Units of coding between restart markers; 0 if there are none.
    pub(in crate::pipeline) interval: u32,
    /// Its entropy-coded data, restart markers included.
    pub(in crate::pipeline) data: Range<usize>,
}

/// What a decoder has to heed, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Part {
    /// The payload of DQT.
    Quantisation(Range<usize>),
    /// The payload of DHT.
    Huffman(Range<usize>),
    Scan(Scan),
    /// The header of a scan that can't be: it names components that the frame doesn't have.
    BadScan,
}

/// A JPEG's markers, from start to end.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing about the markers, and none follows from another"
)]
pub(in crate::pipeline) struct Jpeg {
    pub(in crate::pipeline) frame: Option<Frame>,
    pub(in crate::pipeline) parts: Vec<Part>,
    pub(in crate::pipeline) scans: usize,
    /// Where the end-of-image marker is.
    pub(in crate::pipeline) end: Option<usize>,
    pub(in crate::pipeline) jfif: bool,
    /// The colour transform that Adobe's marker names.
    pub(in crate::pipeline) adobe: Option<u8>,
    /// The segments that begin with a name for what they hold.
    applications: Vec<(u8, Range<usize>)>,
    /// Where the segments before the first scan that a decoder needs are, that scan's header included, each with its marker.
    pub(in crate::pipeline) head: Vec<Range<usize>>,
    /// Of each component, for each coefficient, how many of its low bits are still to come; none if all are.
    bits_to_come: Vec<[Option<u8>; 64]>,
    /// Whether a scan has too few restart markers.
    restarts_missing: bool,
    /// Whether a scan has more of them than it needs, or than it says that it has.
    pub(in crate::pipeline) restarts_left_over: bool,
    /// Whether there are more segments than [`SEGMENTS_MAX`].
    pub(in crate::pipeline) too_many_segments: bool,
}

/// The application segments of `source` that say more than how to decode it, up to the first scan's data: their markers'
/// codes, and what they hold.
pub(in crate::pipeline) fn segments(source: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let applications = Jpeg::walked(source, true).applications;
    applications.into_iter().filter_map(|(code, payload)| Some((code, source.get(payload)?)))
}

impl Jpeg {
    /// Walks all of `source`.
    pub(in crate::pipeline) fn of(source: &[u8]) -> Self {
        Self::walked(source, false)
    }

    fn walked(source: &[u8], header_only: bool) -> Self {
        let mut jpeg = Self::default();
        // In memory, nothing fails but for the end that comes too soon.
        _ = jpeg.walk(source, header_only);
        jpeg
    }

    /// Whether the frame's components are all in the first scan, the only one of a sequential file then.
    pub(in crate::pipeline) fn is_in_one_scan(&self) -> bool {
        let all = self.frame.as_ref().map(|frame| frame.components.len());
        let first = self.parts.iter().find_map(|part| if let Part::Scan(scan) = part { Some(scan) } else { None });
        all.is_some() && first.map(|scan| scan.members.len()) == all
    }

    /// Whether the file says by itself that something is missing: a scan has fewer restart markers than it needs, bits of
    /// coefficients were announced that don't come, or there is no end and not everything has come.
    pub(in crate::pipeline) fn is_cut(&self) -> bool {
        let begun = |bits: &[Option<u8>; 64]| bits[0].is_some() && bits.iter().flatten().all(|bits| *bits == 0);
        // Without an end only a file that has given everything is whole: what else might have come can't be known.
        let given = if self.end.is_some() { self.bits_to_come.iter().all(begun) } else { self.has_given_all() };
        self.frame.is_none() || !given || self.restarts_missing
    }

    /// Whether every coefficient of every component comes in some scan, to its last bit.
    pub(in crate::pipeline) fn has_given_all(&self) -> bool {
        self.bits_to_come.iter().flatten().all(|bits| *bits == Some(0))
    }

    /// Whether the file goes on to its end, and its scans have given every coefficient that they began to give.
    pub(in crate::pipeline) fn is_complete(&self) -> bool {
        self.end.is_some() && !self.is_cut()
    }

    /// The colour profile; none unless all of it is there, once.
    pub(in crate::pipeline) fn icc(&self, source: &[u8]) -> Option<Vec<u8>> {
        let chunks: Vec<&[u8]> = self.named(source, 0xE2, b"ICC_PROFILE\0").collect();
        let count = *chunks.first()?.get(1)?;
        let mut ordered = vec![None; usize::from(count)];
        for chunk in &chunks {
            let [number, of, bytes @ ..] = chunk else { return None };
            let place = ordered.get_mut(usize::from(*number).checked_sub(1)?)?;
            if *of != count || place.replace(bytes).is_some() {
                return None;
            }
        }
        ordered.into_iter().collect::<Option<Vec<&[u8]>>>().map(|parts| parts.concat())
    }

    /// What comes behind `name` in the segments with the marker `code` that begin with it, in their order.
    pub(in crate::pipeline) fn named<'a>(
        &'a self,
        source: &'a [u8],
        code: u8,
        name: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> {
        let payloads = self.applications.iter().filter(move |(c, _)| *c == code).map(|(_, payload)| payload);
        payloads.filter_map(move |payload| source.get(payload.clone())?.strip_prefix(name))
    }

    fn walk(&mut self, source: &[u8], header_only: bool) -> io::Result<()> {
        let mut reader = BoundedReader::new(Cursor::new(source))?;
        let mut walker = Walker::new(&mut reader)?;
        let mut interval = 0;
        // The restart markers that the scan being read has, and those that it needs.
        let mut restarts: Option<(u64, u64)> = None;
        for _ in 0..SEGMENTS_MAX {
            let mark = loop {
                match walker.next(u64::MAX)? {
                    Mark::Restart(_) => {
                        if let Some((there, _)) = &mut restarts {
                            *there += 1;
                        }
                    }
                    mark => break mark,
                }
            };
            let end = match mark {
                Mark::Segment { marker, .. } | Mark::End(marker) => usize::try_from(marker).unwrap_or(usize::MAX),
                Mark::Restart(_) => continue,
            };
            if let Some((there, needed)) = restarts.take() {
                self.restarts_missing |= there < needed;
                self.restarts_left_over |= there > needed;
                self.end_data(end);
            }
            let Mark::Segment { code, start, length, .. } = mark else {
                self.end = Some(end);
                return Ok(());
            };
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let range = start..start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let payload = source.get(range.clone()).ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
            if self.scans == 0 && matches!(code, 0xC0..=0xC2 | 0xC4 | 0xDA | 0xDB | 0xDD) {
                self.head.push(end..range.end);
            }
            match code {
                0xC0..=0xC2 if self.frame.is_none() => {
                    self.frame = Frame::of(code, payload);
                    let components = self.frame.as_ref().map_or(0, |frame| frame.components.len());
                    self.bits_to_come = vec![[None; 64]; components];
                }
                0xC4 => self.parts.push(Part::Huffman(range)),
                0xDB => self.parts.push(Part::Quantisation(range)),
                0xDD => interval = payload.first_chunk().map_or(0, |bytes| u32::from(u16::from_be_bytes(*bytes))),
                0xDA => {
                    self.scans += 1;
                    // Data go on to the end of the file, unless a marker comes.
                    let scan = self.scan(payload, interval, range.end..source.len());
                    let needed = scan.as_ref().map_or(0, |scan| self.restarts_needed(scan));
                    restarts = Some((0, if self.is_over() { 0 } else { needed }));
                    self.parts.push(scan.map_or(Part::BadScan, Part::Scan));
                    if header_only {
                        return Ok(());
                    }
                }
                0xE0 => {
                    // Both as long as libjpeg wants them: what is shorter is no such marker.
                    self.jfif |= payload.len() >= 14 && payload.starts_with(b"JFIF\0");
                    self.applications.push((code, range));
                }
                0xEE if payload.len() >= 12 && payload.starts_with(b"Adobe") => self.adobe = Some(payload[11]),
                0xE1 | 0xE2 | 0xED => self.applications.push((code, range)),
                _ => {}
            }
            walker.skip(length)?;
        }
        self.too_many_segments = true;
        Ok(())
    }

    /// Whether everything has come, so that nothing more is read: sequential, and all in the first scan.
    fn is_over(&self) -> bool {
        self.frame.as_ref().is_some_and(|frame| !frame.progressive) && self.is_in_one_scan()
    }

    /// Notes where the last scan's data end.
    fn end_data(&mut self, end: usize) {
        if let Some(Part::Scan(scan)) = self.parts.last_mut() {
            scan.data.end = end;
        }
    }

    fn restarts_needed(&self, scan: &Scan) -> u64 {
        let units = self.frame.as_ref().map_or((0, 0), |frame| frame.units(&scan.members));
        let units = u64::from(units.0) * u64::from(units.1);
        if scan.interval == 0 { 0 } else { units.div_ceil(u64::from(scan.interval)).saturating_sub(1) }
    }

    /// Reads a scan's header, and notes what the scan will give.
    fn scan(&mut self, payload: &[u8], interval: u32, data: Range<usize>) -> Option<Scan> {
        let frame = self.frame.as_ref()?;
        let (count, rest) = payload.split_first()?;
        let twice = |i: usize| frame.components[..i].iter().any(|other| other.id == frame.components[i].id);
        if frame.progressive && usize::from(*count) < frame.components.len() && (0..frame.components.len()).any(twice) {
            // Which of them it is can't be known.
            return None;
        }
        let (named, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [first, last, bits, ..] = rest else { return None };
        let mut members: Vec<ScanComponent> = Vec::new();
        for name in named.chunks_exact(2) {
            let called = |index: &usize| frame.components[*index].id == name[0];
            let free = |index: &usize| members.iter().all(|member| member.index != *index);
            // Of several that are called the same, those come first that have nothing yet.
            let begun = |index: &usize| self.bits_to_come[*index][0].is_some();
            let index = (0..frame.components.len()).filter(called).filter(free).min_by_key(begun)?;
            members.push(ScanComponent { index, dc: name[1] >> 4, ac: name[1] & 15 });
        }
        if members.is_empty() || members.len() > 4 {
            return None;
        }
        let (band, bits) =
            if frame.progressive { ((*first, *last), (bits >> 4, bits & 15)) } else { ((0, 63), (0, 0)) };
        for member in &members {
            let given = self.bits_to_come[member.index].get_mut(usize::from(band.0)..=usize::from(band.1))?;
            given.fill(Some(bits.1));
        }
        Some(Scan { members, band, bits, interval, data })
    }
}
