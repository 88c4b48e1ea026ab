//! Animated PNG, frame by frame on one canvas (PNG's third edition, 7.4 and 11.3.6).
//!
//! `image` has a decoder too; it forgets that a frame was cleared when the next is taken back, and says nothing of colours.

use std::io::Cursor;

use png::{BlendOp, ColorType, DisposeOp, FrameControl};

use super::source_frames::SourceFrame;
use crate::pipeline::colour::rounded;
use crate::pipeline::decode::OpenPng;
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// What frames are painted on, and what they come from.
pub(super) struct Apng<'a> {
    reader: png::Reader<Cursor<&'a [u8]>>,
    icc: Option<Vec<u8>>,
    width: u32,
    height: u32,
    /// R, G, B, A.
    canvas: Vec<u8>,
    frames_left: u32,
    plays: u16,
    /// What becomes of the last frame before the next: its rectangle is cleared, or gets these pixels back.
    disposal: Option<(Rectangle, Option<Vec<u8>>)>,
}

#[derive(Clone, Copy)]
struct Rectangle {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl<'a> Apng<'a> {
    pub(super) fn open(source: &'a [u8], info: &SourceInfo) -> Result<Self, PipelineError> {
        let OpenPng { reader, icc, .. } = OpenPng::new(source, info)?;
        let control = *reader.info().animation_control().ok_or_else(|| PipelineError::bad_image("it doesn't move"))?;
        let (width, height) = reader.info().size();
        if (width, height) != info.stored_size() {
            return Err(PipelineError::bad_image("its header and its data disagree"));
        }
        let canvas = vec![0; width as usize * height as usize * 4];
        let plays = u16::try_from(control.num_plays).unwrap_or(u16::MAX);
        let mut apng =
            Self { reader, icc, width, height, canvas, frames_left: control.num_frames, plays, disposal: None };
        if apng.reader.info().frame_control().is_none() {
            // The picture that stands for the animation where nothing moves.
            apng.read()?;
        }
        Ok(apng)
    }

    pub(super) fn icc(&self) -> Option<Vec<u8>> {
        self.icc.clone()
    }

    /// How often it plays; 0 for ever.
    pub(super) fn plays(&self) -> u16 {
        self.plays
    }

    /// The next frame; none behind the last.
    pub(super) fn next(&mut self) -> Option<Result<SourceFrame, PipelineError>> {
        self.frames_left = self.frames_left.checked_sub(1)?;
        let frame = self.frame();
        if frame.is_err() {
            self.frames_left = 0;
        }
        Some(frame)
    }

    fn frame(&mut self) -> Result<SourceFrame, PipelineError> {
        let pixels = self.read()?;
        let control = *self
            .reader
            .info()
            .frame_control()
            .ok_or_else(|| PipelineError::bad_image("a frame of it has no place"))?;
        if let Some((rectangle, pixels)) = self.disposal.take() {
            self.restore(rectangle, pixels.as_deref());
        }
        let FrameControl { width, height, x_offset, y_offset, .. } = control;
        if x_offset.saturating_add(width) > self.width || y_offset.saturating_add(height) > self.height {
            return Err(PipelineError::bad_image("a frame of it lies outside the picture"));
        }
        let [left, top, width, height] = [x_offset, y_offset, width, height].map(|length| length as usize);
        let rectangle = Rectangle { left, top, width, height };
        self.disposal = match control.dispose_op {
            DisposeOp::None => None,
            DisposeOp::Background => Some((rectangle, None)),
            DisposeOp::Previous => Some((rectangle, Some(self.copy(rectangle)))),
        };
        self.paint(rectangle, &pixels, control.blend_op);
        let parts = if control.delay_den == 0 { 100 } else { u32::from(control.delay_den) };
        let samples = Samples::U8(self.canvas.clone());
        let raster = Raster { width: self.width, height: self.height, model: Model::Rgb, alpha: true, samples };
        Ok(SourceFrame { raster, duration_ms: u32::from(control.delay_num) * 1000 / parts })
    }

    /// Decodes the next picture: R, G, B, A.
    fn read(&mut self) -> Result<Vec<u8>, PipelineError> {
        let too_large = || PipelineError::bad_image("it is too large for memory");
        let mut bytes = vec![0; self.reader.output_buffer_size().ok_or_else(too_large)?];
        let found = self.reader.next_frame(&mut bytes).map_err(PipelineError::bad_image)?;
        // The decoder spreads interlaced rows as wide as the whole picture's.
        let interlaced = self.reader.info().interlaced;
        let whole_line = self.reader.output_line_size(self.width).ok_or_else(too_large)?;
        let stride = if interlaced { whole_line } else { found.line_size };
        let rows =
            bytes.chunks(stride).take(found.height as usize).flat_map(|row| &row[..found.line_size.min(row.len())]);
        let samples: Vec<u8> = if found.bit_depth == png::BitDepth::Sixteen {
            let bytes: Vec<u8> = rows.copied().collect();
            let deep: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|two| u16::from_be_bytes(*two)).collect();
            rounded(&deep)
        } else {
            rows.copied().collect()
        };
        Ok(match found.color_type {
            ColorType::Grayscale | ColorType::Indexed => samples.iter().flat_map(|v| [*v, *v, *v, 255]).collect(),
            ColorType::GrayscaleAlpha => samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
            ColorType::Rgb => samples.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
            ColorType::Rgba => samples,
        })
    }

    fn rows(&self, rectangle: Rectangle) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let Rectangle { left, top, width, height } = rectangle;
        let stride = self.width as usize;
        (top..top + height).map(move |y| (y * stride + left) * 4..(y * stride + left + width) * 4)
    }

    fn copy(&self, rectangle: Rectangle) -> Vec<u8> {
        self.rows(rectangle).flat_map(|row| &self.canvas[row]).copied().collect()
    }

    /// Gives a rectangle its pixels back, or clears it.
    fn restore(&mut self, rectangle: Rectangle, pixels: Option<&[u8]>) {
        for (y, row) in self.rows(rectangle).enumerate() {
            let length = row.len();
            match pixels {
                Some(pixels) => self.canvas[row].copy_from_slice(&pixels[y * length..(y + 1) * length]),
                None => self.canvas[row].fill(0),
            }
        }
    }

    fn paint(&mut self, rectangle: Rectangle, pixels: &[u8], blend: BlendOp) {
        for (row, new) in self.rows(rectangle).zip(pixels.chunks_exact(rectangle.width * 4)) {
            match blend {
                BlendOp::Source => self.canvas[row].copy_from_slice(new),
                BlendOp::Over => {
                    let (under, _) = self.canvas[row].as_chunks_mut::<4>();
                    let (over, _) = new.as_chunks::<4>();
                    under.iter_mut().zip(over).for_each(|(under, over)| *under = blended(*over, *under));
                }
            }
        }
    }
}

/// `over` on `under`, both with straight alpha.
fn blended(over: [u8; 4], under: [u8; 4]) -> [u8; 4] {
    match (over[3], under[3]) {
        (255, _) | (1.., 0) => return over,
        (0, _) => return under,
        _ => {}
    }
    let (above, below) = (u32::from(over[3]) * 255, (255 - u32::from(over[3])) * u32::from(under[3]));
    let all = above + below;
    let mut mixed: [u8; 4] = std::array::from_fn(|i| {
        let sum = u32::from(over[i]) * above + u32::from(under[i]) * below;
        u8::try_from((sum + all / 2) / all).unwrap_or(u8::MAX)
    });
    mixed[3] = u8::try_from((all + 127) / 255).unwrap_or(u8::MAX);
    mixed
}
