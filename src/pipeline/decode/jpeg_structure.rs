//! A JPEG's markers, from start to end: what its scans hold, whether they hold all, and where they end.
//!
//! Decoders answer Ok for a picture that is cut in the middle, and paint the rest grey. The structure shows it.

use memchr::memchr;

use crate::pipeline::PipelineError;

/// Scans that a file may have. Encoders write 1 to 4 (baseline) or 6 to 12 (progressive); optimisers that try every split
/// reach about 30.
const SCANS_MAX: usize = 100;

/// Scans times pixels. Every scan of a progressive file passes over all coefficients, at about 2 ns a pixel, however
/// little it says; at 100 MP this still allows twice the scans that encoders write.
const SCAN_PIXELS_MAX: u64 = 2_000_000_000;

/// What a JPEG's markers say.
#[derive(Debug, Default)]
pub(super) struct Structure {
    pub(super) frame: Option<JpegFrame>,
    pub(super) scans: usize,
    /// Where the end-of-image marker is.
    pub(super) end: Option<usize>,
    /// Up to where there is nothing but whole segments and entropy-coded data.
    pub(super) walked: usize,
    /// Whether Adobe's marker is there.
    pub(super) adobe: bool,
    pub(super) jfif: bool,
    /// Where the segments before the first scan are, that scan's header included.
    pub(super) segments: Vec<std::ops::Range<usize>>,
    /// Whether a scan has too few restart markers.
    restarts_missing: bool,
}

/// The frame header.
#[derive(Debug)]
pub(super) struct JpegFrame {
    pub(super) width: u32,
    pub(super) height: u32,
    progressive: bool,
    pub(super) components: Vec<Component>,
}

/// One of a frame's components.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors, across and down.
    pub(super) sampling: (u32, u32),
    /// For each coefficient, how many of its low bits are still to come; none if all are.
    bits_to_come: [Option<u8>; 64],
}

/// The segments of `source` before its first scan: the marker's code, and what it holds.
pub(in crate::pipeline) fn segments(source: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let segments = Structure::of(source).segments;
    segments.into_iter().filter_map(move |range| match source.get(range)? {
        [_, code, _, _, data @ ..] => Some((*code, data)),
        _ => None,
    })
}

/// The scan being read.
struct Scan {
    restarts: u64,
    restarts_expected: u64,
}

impl Structure {
    /// Walks all of `source`.
    pub(super) fn of(source: &[u8]) -> Self {
        let mut structure = Self::default();
        structure.walk(source);
        structure
    }

    /// Whether the file has its end, and its scans have given every coefficient that they began to give.
    pub(super) fn is_complete(&self) -> bool {
        let given = |component: &Component| {
            component.bits_to_come[0].is_some() && component.bits_to_come.iter().flatten().all(|bits| *bits == 0)
        };
        let all = self.frame.as_ref().is_some_and(|frame| frame.components.iter().all(given));
        self.end.is_some() && all && !self.restarts_missing
    }

    /// Refuses more scans than any encoder writes: each takes time for every pixel.
    pub(super) fn check_scans(&self) -> Result<(), PipelineError> {
        let pixels = self.frame.as_ref().map_or(0, |frame| u64::from(frame.width) * u64::from(frame.height));
        if self.scans > SCANS_MAX || (self.scans as u64).saturating_mul(pixels) > SCAN_PIXELS_MAX {
            let detail = format!("{} scans of {pixels} pixels take too long to decode", self.scans);
            return Err(PipelineError::TooLarge { detail });
        }
        Ok(())
    }

    fn walk(&mut self, source: &[u8]) -> Option<()> {
        let mut at = 2;
        let mut interval = 0;
        let mut scan: Option<Scan> = None;
        loop {
            // Outside segments: entropy-coded data, stuffed zeros and fill bytes.
            self.walked = source.len();
            at += memchr(0xFF, source.get(at..)?)?;
            let marker = at;
            self.walked = marker;
            at += source[at..].iter().take_while(|byte| **byte == 0xFF).count();
            let code = *source.get(at)?;
            at += 1;
            match (code, &mut scan) {
                (0x00 | 0x01 | 0xD8, _) | (0xD0..=0xD7 | 0xD9, None) => continue,
                (0xD0..=0xD7, Some(scan)) => {
                    scan.restarts += 1;
                    continue;
                }
                _ => {}
            }
            if let Some(scan) = &scan {
                self.restarts_missing |= scan.restarts < scan.restarts_expected;
            }
            if code == 0xD9 {
                self.end = Some(marker);
                return Some(());
            }
            let length = usize::from(u16::from_be_bytes([*source.get(at)?, *source.get(at + 1)?])).max(2);
            let segment = source.get(at + 2..at + length)?;
            at += length;
            if scan.is_none() {
                // One fill byte, as decoders want it.
                self.segments.push(at - length - 2..at);
            }
            match code {
                0xC0..=0xC2 if self.frame.is_none() => self.frame = JpegFrame::of(segment, code == 0xC2),
                0xDA => {
                    self.scans += 1;
                    let mcus = self.frame.as_mut().and_then(|frame| frame.begin_scan(segment)).unwrap_or(0);
                    let restarts_expected = if interval == 0 { 0 } else { mcus.div_ceil(interval).saturating_sub(1) };
                    scan = Some(Scan { restarts: 0, restarts_expected });
                }
                0xDD => interval = u64::from(u16::from_be_bytes(*segment.first_chunk()?)),
                0xE0 => self.jfif |= segment.starts_with(b"JFIF\0"),
                0xEE => self.adobe |= segment.starts_with(b"Adobe"),
                _ => {}
            }
        }
    }
}

impl JpegFrame {
    fn of(segment: &[u8], progressive: bool) -> Option<Self> {
        let [_, h1, h0, w1, w0, count, components @ ..] = segment else { return None };
        let components = components.chunks_exact(3).take(usize::from(*count)).map(|c| Component {
            id: c[0],
            sampling: (u32::from(c[1] >> 4).max(1), u32::from(c[1] & 15).max(1)),
            bits_to_come: [None; 64],
        });
        let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
        let components = components.collect();
        Some(Self { width: u32::from(width), height: u32::from(height), progressive, components })
    }

    /// Notes what a scan will give, and says how many units of coding it has.
    fn begin_scan(&mut self, segment: &[u8]) -> Option<u64> {
        let (count, rest) = segment.split_first()?;
        let count = usize::from(*count);
        let (parameters, components) = (rest.get(2 * count..2 * count + 3)?, &rest[..2 * count]);
        let (first, last, low) = if self.progressive {
            (usize::from(parameters[0]), usize::from(parameters[1]), parameters[2] & 15)
        } else {
            (0, 63, 0)
        };
        let largest = self.components.iter().map(|c| c.sampling).fold((1, 1), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let mut units = 0;
        for id in components.iter().step_by(2) {
            let Some(component) = self.components.iter_mut().find(|component| component.id == *id) else { continue };
            component.bits_to_come.get_mut(first..=last)?.fill(Some(low));
            // Alone, a component is coded block by block; together, by the largest sampling factors.
            let (across, down) = if count == 1 { component.sampling } else { largest };
            let blocks = |side: u32, factor: u32, largest: u32| {
                let samples = (u64::from(side) * u64::from(factor)).div_ceil(u64::from(largest));
                samples.div_ceil(if count == 1 { 8 } else { 8 * u64::from(factor) })
            };
            units = blocks(self.width, across, largest.0) * blocks(self.height, down, largest.1);
        }
        Some(units)
    }
}
