//! The JPEGs that most are, by zune-jpeg.

use std::borrow::Cow;
use std::ops::Range;

use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::colours::Colours;
use super::general::has_whole_levels;
use super::sentinel::{NO_CODE, SentinelReader};
use crate::pipeline::container::jpeg::{Frame, Jpeg, Part};
use crate::pipeline::raster::{Raster, Samples};

/// Whether zune-jpeg 0.5.15 is right for such a file, if it is whole: measured, as the tests in
/// `jpeg/tests/matrix.rs` hold it against libjpeg.
pub(super) fn is_for(jpeg: &Jpeg) -> bool {
    let Some(frame) = &jpeg.frame else { return false };
    let huffman = jpeg.parts.iter().any(|part| matches!(part, Part::Huffman(_)));
    // What never comes is smoothed over, which it doesn't do.
    let shape = if frame.progressive { can_show_beyond(frame) && jpeg.has_given_all() } else { jpeg.is_in_one_scan() };
    // Markers that nobody announced it passes over, and what they are between comes out as another picture.
    jpeg.end.is_some() && !jpeg.restarts_left_over && huffman && is_ordinary(frame) && shape && !repeats_colour(frame)
}

/// Whether chroma has half of the columns, and no more than two: libjpeg repeats them then, instead of interpolating.
fn repeats_colour(frame: &Frame) -> bool {
    frame.sampling_max().0 == 2 && frame.width <= 4
}

/// Whether the components are as encoders write them: chroma with as many samples as luma, or with half as many across,
/// down or both; of ink no component with fewer than another; and no two called the same.
fn is_ordinary(frame: &Frame) -> bool {
    let [first, others @ ..] = frame.components.as_slice() else { return false };
    let chroma = others.iter().all(|component| component.sampling == (1, 1));
    let (h, v) = first.sampling;
    let luma = h <= 2 && v <= 2 && (others.len() == 2 || (h, v) == (1, 1));
    let twice = |i: usize| frame.components[..i].iter().any(|other| other.id == frame.components[i].id);
    // It takes these names for colours, whatever else says what they are.
    let is_called_rgb = frame.components.iter().map(|component| component.id).eq(*b"RGB");
    chroma && luma && !is_called_rgb && !(0..frame.components.len()).any(twice)
}

/// Pixels that are decoded beyond the picture, across and down.
///
/// Where chroma is half as wide, zune-jpeg makes the last of an even number of columns in part of the padding beyond it.
/// Encoders repeat the last column there; after lossless cropping it is another picture. One column of it shows which.
fn beyond(frame: &Frame) -> (u32, u32) {
    let shown = |side: u32, factor: u32| u32::from(factor == 2 && side.is_multiple_of(2) && !side.is_multiple_of(16));
    let (h, v) = frame.sampling_max();
    (shown(frame.width, h), shown(frame.height, v))
}

/// Whether what [`beyond`] adds is in blocks that scans of luma alone have, too.
fn can_show_beyond(frame: &Frame) -> bool {
    let (right, below) = beyond(frame);
    let opens_a_block = |more: u32, side: u32| more == 1 && side.is_multiple_of(8);
    !opens_a_block(right, frame.width) && !opens_a_block(below, frame.height)
}

/// Decodes `source`; none if it is damaged, or anything about it isn't to zune-jpeg's liking, or what lies beyond the
/// picture would show in it.
pub(super) fn decode(source: &[u8], jpeg: &Jpeg, colours: Colours) -> Option<Raster> {
    let frame = jpeg.frame.as_ref()?;
    let (right, below) = beyond(frame);
    let (width, height) = (frame.width + right, frame.height + below);
    let end = jpeg.end.unwrap_or(source.len());
    let data = jpeg.head.last().map_or(end, |last| last.end.min(end))..end;
    let head = head(source, jpeg, (width, height));
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    // Said to be YCbCr, and so not converted: what has no application segments is YCbCr or ink to it.
    let asked = match colours {
        Colours::Grey => ColorSpace::Luma,
        Colours::YCbCr => ColorSpace::RGB,
        Colours::Rgb => ColorSpace::YCbCr,
        Colours::Cmyk | Colours::Ycck => ColorSpace::CMYK,
    };
    // It passes over scans that are cut short. A sentinel behind each has it notice, but for those of levels: they may be
    // mere bits, without codes, and behind the first it needs the marker itself.
    if frame.progressive && !has_whole_levels(source, jpeg) {
        return None;
    }
    let data: Cow<[u8]> =
        if frame.progressive { with_sentinels(source, data, jpeg).into() } else { (&source[data]).into() };
    let reader = SentinelReader::new(&head, &data);
    let mut decoder = JpegDecoder::new_with_options(reader, options.jpeg_set_out_colorspace(asked));
    let mut samples = decoder.decode().ok()?;
    let channels = colours.model().colours();
    if samples.len() != width as usize * height as usize * channels {
        return None;
    }
    if (right, below) != (0, 0) {
        let (pixels, _) = samples.as_chunks::<3>();
        let (shown, stride) = (frame.width as usize, width as usize);
        let row = |y: u32| &pixels[y as usize * stride..][..shown];
        let column = |x: u32| pixels[x as usize..].iter().step_by(stride).take(frame.height as usize);
        let is_seen = (right == 1 && is_seen(column(frame.width - 1), column(frame.width)))
            || (below == 1 && is_seen(row(frame.height - 1), row(frame.height)));
        if is_seen {
            return None;
        }
        crop(&mut samples, channels * stride, channels * shown, frame.height as usize);
    }
    colours.convert_ink(&mut samples);
    let samples = Samples::U8(samples);
    Some(Raster { width: frame.width, height: frame.height, model: colours.model(), alpha: false, samples })
}

/// The `data` of `source` with a sentinel behind each scan but the first and the last: a decoder that needs more than one
/// of them has doesn't find what is behind it.
fn with_sentinels(source: &[u8], data: Range<usize>, jpeg: &Jpeg) -> Vec<u8> {
    let mut with = Vec::with_capacity(data.len() + jpeg.scans * NO_CODE.len());
    let mut from = data.start;
    let scans = jpeg.parts.iter().filter_map(|part| if let Part::Scan(scan) = part { Some(scan) } else { None });
    for scan in scans.skip(1) {
        let end = scan.data.end.clamp(from, data.end);
        with.extend(&source[from..end]);
        with.extend(NO_CODE);
        from = end;
    }
    with.extend(&source[from..data.end]);
    with
}

/// How much the colour of the last pixels may differ from those beyond them, in levels: a single one, and on average of a
/// few. Half of that is what the last pixels are off; encoders that quantise coarsely come to as much.
const APART_MAX: [u32; 2] = [24, 10];

/// Whether the last row or column of a picture and the first beyond it differ in colour, lightness left aside.
fn is_seen<'a>(last: impl IntoIterator<Item = &'a [u8; 3]>, beyond: impl IntoIterator<Item = &'a [u8; 3]>) -> bool {
    const FEW: usize = 8;
    let colour = |[r, g, b]: &[u8; 3]| [i32::from(*r) - i32::from(*g), i32::from(*b) - i32::from(*g)];
    let apart = |(a, b): (&'a [u8; 3], &'a [u8; 3])| {
        let [(a, b), (c, d)] = [(colour(a)[0], colour(b)[0]), (colour(a)[1], colour(b)[1])];
        a.abs_diff(b).max(c.abs_diff(d))
    };
    let mut few = [0; FEW];
    for (i, apart) in last.into_iter().zip(beyond).map(apart).enumerate() {
        few[i % FEW] = apart;
        if apart > APART_MAX[0] || few.iter().sum::<u32>() > APART_MAX[1] * 8 {
            return true;
        }
    }
    false
}

/// Keeps the first `shown` of the `stride` samples of each of the first `height` rows.
fn crop(samples: &mut Vec<u8>, stride: usize, shown: usize, height: usize) {
    if shown < stride {
        for y in 1..height {
            samples.copy_within(y * stride..y * stride + shown, y * shown);
        }
    }
    samples.truncate(shown * height);
}

/// The segments up to the first scan's data that say how to decode, without those that say what it means and without what
/// lies between them; the frame is `size` large.
fn head(source: &[u8], jpeg: &Jpeg, size: (u32, u32)) -> Vec<u8> {
    let mut head = source[..2].to_vec();
    for segment in &jpeg.head {
        let at = head.len();
        head.extend(&source[segment.clone()]);
        if let [0xFF, 0xC0..=0xC2, _, _, _, h1, h0, w1, w0, ..] = &mut head[at..] {
            [[*h1, *h0], [*w1, *w0]] = [size.1, size.0].map(|side| {
                let [.., high, low] = side.to_be_bytes();
                [high, low]
            });
        }
    }
    head
}
