//! JPEG: segments up to the first scan.

use std::io::{BufRead, ErrorKind, Seek};

use image::metadata::Orientation;

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::jpeg::{Frame, Mark, SamplingFault, Walker};

/// Segments before the first scan. A long colour profile takes dozens; a million tiny ones are an attack.
const SEGMENTS_MAX: usize = 4096;

/// Bytes that may lie between two segments: every decoder passes over them.
const BETWEEN_MAX: u64 = 64 * 1024;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let mut walker = Walker::new(source)?;
    let mut orientation = None;
    let frame = frame(&mut walker, &mut orientation)?;
    let components = frame.components.len();
    // That something is missing behind the frame header is for the decoder to tell.
    let in_first_scan = first_scan(&mut walker, &mut orientation).unwrap_or(components);
    let still = Header::still(frame.width, frame.height, u8::try_from(components).unwrap_or(u8::MAX));
    Ok(Header {
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        // Component by component is as bad: no pixel is whole before the last scan.
        progressive: frame.progressive || in_first_scan < components,
        alpha: Some(false),
        ..still
    })
}

/// Reads on to the frame header. What EXIF says before it goes into `orientation`.
fn frame<R: BufRead + Seek>(
    walker: &mut Walker<'_, R>,
    orientation: &mut Option<Orientation>,
) -> Result<Frame, InspectError> {
    for _ in 0..SEGMENTS_MAX {
        let mark = walker.next(BETWEEN_MAX).map_err(|e| match e.kind() {
            ErrorKind::InvalidData => InspectError::damaged("a segment shorter than its length"),
            _ => e.into(),
        })?;
        let (code, length) = match mark {
            Mark::Restart(_) => continue,
            Mark::End(_) | Mark::Segment { code: 0xDA, .. } => {
                return Err(InspectError::damaged("picture data comes before the frame header"));
            }
            Mark::Segment { code, length, .. } => (code, length),
        };
        match code {
            0xC0..=0xC2 => {
                let payload = walker.payload(length)?;
                let frame = Frame::of(code, &payload).ok_or_else(|| InspectError::damaged("a short frame header"))?;
                return readable(frame);
            }
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(InspectError::unsupported(
                    "lossless, hierarchical and arithmetic-coded JPEG can't be read",
                ));
            }
            0xE1 => note_orientation(&walker.payload(length)?, orientation),
            _ => walker.skip(length)?,
        }
    }
    Err(InspectError::damaged("there are thousands of segments and no frame header"))
}

/// Reads on to the first scan, and says how many components it holds; none if it doesn't come.
fn first_scan<R: BufRead + Seek>(walker: &mut Walker<'_, R>, orientation: &mut Option<Orientation>) -> Option<usize> {
    for _ in 0..SEGMENTS_MAX {
        match walker.next(BETWEEN_MAX).ok()? {
            Mark::Restart(_) => {}
            Mark::End(_) => return None,
            Mark::Segment { code: 0xDA, length, .. } => {
                return walker.payload(length).ok()?.first().map(|count| usize::from(*count));
            }
            Mark::Segment { code: 0xE1, length, .. } => note_orientation(&walker.payload(length).ok()?, orientation),
            Mark::Segment { length, .. } => walker.skip(length).ok()?,
        }
    }
    None
}

/// The first EXIF block counts.
fn note_orientation(payload: &[u8], orientation: &mut Option<Orientation>) {
    if orientation.is_none() && payload.starts_with(b"Exif\0\0") {
        *orientation = Some(exif_orientation(payload));
    }
}

fn readable(frame: Frame) -> Result<Frame, InspectError> {
    let Frame { precision, .. } = frame;
    if precision != 8 {
        return Err(InspectError::unsupported(format!("JPEG of {precision} bits a sample can't be read")));
    }
    let components = frame.components.len();
    if !matches!(components, 1 | 3 | 4) {
        return Err(InspectError::unsupported(format!("JPEG of {components} components can't be read")));
    }
    match frame.sampling_fault() {
        Some(fault @ SamplingFault::Illegal(..)) => Err(InspectError::damaged(fault.to_string())),
        Some(fault @ SamplingFault::Fractional { .. }) => Err(InspectError::unsupported(format!("JPEG with {fault}"))),
        None => Ok(frame),
    }
}
