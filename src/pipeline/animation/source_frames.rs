//! The frames of a source that moves, each as the whole canvas shows it.

use std::io::Cursor;

use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
use image::metadata::LoopCount;
use image::{AnimationDecoder, Frames, ImageDecoder, ImageError};

use super::apng::Apng;
use crate::job::SourceFormat;
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::gif::GifBlocks;
use crate::pipeline::decode::decoder_limits;
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// One frame: the whole canvas, R, G, B, A of 8 bits.
pub(super) struct SourceFrame {
    pub(super) raster: Raster,
    pub(super) duration_ms: u32,
}

/// A source that moves.
pub(super) struct SourceFrames<'a> {
    frames: Decoder<'a>,
    /// The profile of all frames.
    pub(super) icc: Option<Vec<u8>>,
    /// How often it plays; 0 for ever.
    pub(super) plays: u16,
}

enum Decoder<'a> {
    Apng(Box<Apng<'a>>),
    Image(Frames<'a>),
}

impl<'a> SourceFrames<'a> {
    pub(super) fn open(source: &'a [u8], info: &SourceInfo) -> Result<Self, PipelineError> {
        let bytes = Cursor::new(source);
        match info.format {
            SourceFormat::Gif => {
                let mut file = BoundedReader::new(bytes.clone()).map_err(PipelineError::bad_image)?;
                let blocks = GifBlocks::read(&mut file).map_err(PipelineError::bad_image)?;
                let plays = blocks.plays(&mut file);
                let opened = GifDecoder::new(bytes).and_then(|decoder| Self::of(decoder, info));
                opened.map(|frames| Self { plays, ..frames }).map_err(PipelineError::bad_image)
            }
            SourceFormat::Webp => {
                WebPDecoder::new(bytes).and_then(|decoder| Self::of(decoder, info)).map_err(PipelineError::bad_image)
            }
            SourceFormat::Png => {
                let apng = Apng::open(source, info)?;
                Ok(Self { icc: apng.icc(), plays: apng.plays(), frames: Decoder::Apng(Box::new(apng)) })
            }
            still @ (SourceFormat::Jpeg
            | SourceFormat::Tiff
            | SourceFormat::Bmp
            | SourceFormat::Avif
            | SourceFormat::Heic) => Err(PipelineError::bad_image(format!("{} has no frames", still.info().name))),
        }
    }

    fn of<D>(mut decoder: D, info: &SourceInfo) -> Result<Self, ImageError>
    where
        D: ImageDecoder + AnimationDecoder<'a>,
    {
        decoder.set_limits(decoder_limits(info))?;
        let icc = decoder.icc_profile()?;
        let plays = match decoder.loop_count() {
            LoopCount::Infinite => 0,
            LoopCount::Finite(plays) => u16::try_from(plays.get()).unwrap_or(u16::MAX),
        };
        Ok(Self { plays, icc, frames: Decoder::Image(decoder.into_frames()) })
    }

    /// The next frame; none behind the last.
    pub(super) fn next(&mut self) -> Option<Result<SourceFrame, PipelineError>> {
        match &mut self.frames {
            Decoder::Apng(apng) => apng.next(),
            Decoder::Image(frames) => frames.next().map(|frame| frame.map(of_image).map_err(PipelineError::bad_image)),
        }
    }
}

fn of_image(frame: image::Frame) -> SourceFrame {
    let (numerator, denominator) = frame.delay().numer_denom_ms();
    let buffer = frame.into_buffer();
    let (width, height) = buffer.dimensions();
    let samples = Samples::U8(buffer.into_raw());
    let raster = Raster { width, height, model: Model::Rgb, alpha: true, samples };
    SourceFrame { raster, duration_ms: numerator / denominator.max(1) }
}
