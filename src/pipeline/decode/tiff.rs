//! TIFF by the tiff crate, asked for the samples as they are stored; what they mean is worked out here.

use std::io::Cursor;

use bytemuck::Pod;
use tiff::TiffError;

use super::jpeg_structure::Structure;
use super::tiff_samples::{Half, TiffSample, cielab, in_place_of_palette, rgb_of_ycbcr, srgb_encoded, unpacked};
use super::{DecodedRaster, ICC_BYTES_MAX, decoder_limits};
use crate::encoder::Pixels;
use crate::pipeline::colour::Converter;
use crate::pipeline::inspect::{Extra, Meaning, TiffPage};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

type Tiff<'a> = TiffPage<Cursor<&'a [u8]>>;

pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let mut page = TiffPage::open(Cursor::new(source))?;
    let icc = page.icc(ICC_BYTES_MAX);
    if page.jpeg {
        check_jpeg_chunks(source, &mut page)?;
    }
    let read = Reading { info, tolerant };
    let samples = match (page.bits, page.float) {
        (1..=7, _) => {
            let bytes = read.stored::<u8>(&mut page)?;
            Samples::U8(read.chosen(&page, &unpacked(&bytes, &page)))
        }
        (8, _) => Samples::U8(read.whole::<u8, u8>(&mut page)?),
        (16, false) => Samples::U16(read.whole::<u16, u16>(&mut page)?),
        (16, true) => Samples::U16(read.whole::<Half, u16>(&mut page)?),
        (32, false) => Samples::U16(read.whole::<u32, u16>(&mut page)?),
        (32, true) => Samples::U16(read.whole::<f32, u16>(&mut page)?),
        (_, false) => Samples::U16(read.whole::<u64, u16>(&mut page)?),
        (_, true) => Samples::U16(read.whole::<f64, u16>(&mut page)?),
    };
    let linear = page.float && icc.is_none();
    let samples = if linear { encoded(samples, &page) } else { samples };
    let raster = interpreted(&mut page, samples)?;
    if raster.model == Model::Cmyk && raster.alpha {
        // No later step knows ink with alpha.
        return Ok(DecodedRaster { raster: shown_ink(&raster, icc.as_deref())?, icc: None });
    }
    Ok(DecodedRaster { raster, icc })
}

struct Reading<'a> {
    info: &'a SourceInfo,
    tolerant: bool,
}

impl Reading<'_> {
    /// The samples that show, in the depth that the pipeline works in.
    fn whole<T: TiffSample<Out> + Pod + Default, Out: Copy + 'static>(
        &self,
        page: &mut Tiff<'_>,
    ) -> Result<Vec<Out>, PipelineError> {
        let stored = self.stored::<T>(page)?;
        if !page.planar && shown(page) == page.samples {
            return Ok(T::all(stored));
        }
        Ok(T::all(self.chosen(page, &stored)))
    }

    /// Every sample as it is stored.
    fn stored<T: Pod + Default>(&self, page: &mut Tiff<'_>) -> Result<Vec<T>, PipelineError> {
        let layout = page.decoder.image_buffer_layout().map_err(refuse)?;
        if layout.complete_len as u64 > decoder_limits(self.info).max_alloc.unwrap_or(u64::MAX) {
            return Err(PipelineError::TooLarge { detail: format!("{} bytes of samples", layout.complete_len) });
        }
        let mut samples = vec![T::default(); layout.complete_len.div_ceil(size_of::<T>())];
        match page.decoder.read_image_bytes(bytemuck::cast_slice_mut(&mut samples)) {
            Ok(()) => {}
            // What comes before the damage is there.
            Err(TiffError::IoError(_) | TiffError::FormatError(_)) if self.tolerant => {}
            Err(e) => return Err(refuse(e)),
        }
        Ok(samples)
    }

    /// The samples that show, interleaved, out of all.
    #[expect(clippy::unused_self, reason = "reads as one step of the reading")]
    fn chosen<T: Copy>(&self, page: &Tiff<'_>, samples: &[T]) -> Vec<T> {
        let pixels = page.width as usize * page.height as usize;
        let shown = shown(page);
        if page.planar {
            let plane = |channel: usize| &samples[channel * pixels..(channel + 1) * pixels];
            return (0..pixels).flat_map(|pixel| (0..shown).map(move |channel| plane(channel)[pixel])).collect();
        }
        samples.chunks_exact(page.samples).flat_map(|pixel| &pixel[..shown]).copied().collect()
    }
}

/// Samples a pixel that show.
fn shown(page: &Tiff<'_>) -> usize {
    page.meaning.colours() + usize::from(page.extra != Extra::None)
}

/// A raster of what shows.
fn interpreted(page: &mut Tiff<'_>, samples: Samples) -> Result<Raster, PipelineError> {
    let (width, height) = (page.width, page.height);
    let alpha = page.extra != Extra::None;
    let channels = shown(page);
    let (model, mut samples) = match page.meaning {
        Meaning::Grey => (Model::Grey, samples),
        Meaning::InvertedGrey => (Model::Grey, inverted(samples, channels)),
        Meaning::Rgb => (Model::Rgb, samples),
        Meaning::Cmyk => (Model::Cmyk, samples),
        Meaning::YCbCr => (Model::Rgb, rgb_of_ycbcr(samples, channels)),
        Meaning::Palette => (Model::Rgb, in_place_of_palette(page, &samples)?),
        Meaning::Lab { signed } => (Model::Rgb, cielab(samples, channels, signed)),
    };
    if page.extra == Extra::Premultiplied {
        samples = divided(samples, channels);
    }
    Ok(Raster { width, height, model, alpha, samples })
}

/// Floating point is linear light, unless a profile says otherwise.
fn encoded(samples: Samples, page: &Tiff<'_>) -> Samples {
    let Samples::U16(mut samples) = samples else { return samples };
    let table = srgb_encoded();
    let colours = page.meaning.colours();
    for pixel in samples.chunks_exact_mut(shown(page)) {
        for sample in pixel.iter_mut().take(colours) {
            *sample = table[usize::from(*sample)];
        }
    }
    Samples::U16(samples)
}

/// The sRGB of ink with alpha, with its alpha.
fn shown_ink(raster: &Raster, icc: Option<&[u8]>) -> Result<Raster, PipelineError> {
    fn split<T: Copy>(samples: &[T]) -> (Vec<T>, Vec<T>) {
        let inks = samples.chunks_exact(5).flat_map(|pixel| &pixel[..4]).copied().collect();
        (inks, samples.iter().skip(4).step_by(5).copied().collect())
    }
    let (inks, alpha) = match &raster.samples {
        Samples::U8(samples) => {
            let (inks, alpha) = split(samples);
            (Samples::U8(inks), alpha)
        }
        Samples::U16(samples) => {
            let (inks, alpha) = split(samples);
            (Samples::U16(inks), crate::pipeline::colour::rounded(&alpha))
        }
    };
    let opaque = Raster { alpha: false, samples: inks, ..*raster };
    let (Pixels::Rgb(rgb) | Pixels::Rgba(rgb)) = Converter::new(&opaque, icc).convert(&opaque)?.pixels;
    let samples = rgb.chunks_exact(3).zip(alpha).flat_map(|(p, alpha)| [p[0], p[1], p[2], alpha]).collect();
    Ok(Raster { model: Model::Rgb, alpha: true, samples: Samples::U8(samples), ..opaque })
}

fn inverted(samples: Samples, channels: usize) -> Samples {
    match samples {
        Samples::U8(mut samples) => {
            samples.iter_mut().step_by(channels).for_each(|sample| *sample = !*sample);
            Samples::U8(samples)
        }
        Samples::U16(mut samples) => {
            samples.iter_mut().step_by(channels).for_each(|sample| *sample = !*sample);
            Samples::U16(samples)
        }
    }
}

/// Premultiplied colours made straight.
fn divided(samples: Samples, channels: usize) -> Samples {
    fn divide(sample: u32, alpha: u32, full: u32) -> u32 {
        (sample * full + alpha / 2).checked_div(alpha).unwrap_or(0).min(full)
    }
    match samples {
        Samples::U8(mut samples) => {
            for pixel in samples.chunks_exact_mut(channels) {
                if let [colours @ .., alpha] = pixel {
                    for colour in colours {
                        *colour = u8::try_from(divide(u32::from(*colour), u32::from(*alpha), 255)).unwrap_or(u8::MAX);
                    }
                }
            }
            Samples::U8(samples)
        }
        Samples::U16(mut samples) => {
            for pixel in samples.chunks_exact_mut(channels) {
                if let [colours @ .., alpha] = pixel {
                    for colour in colours {
                        let straight = divide(u32::from(*colour), u32::from(*alpha), 65_535);
                        *colour = u16::try_from(straight).unwrap_or(u16::MAX);
                    }
                }
            }
            Samples::U16(samples)
        }
    }
}

/// Each strip or tile is a JPEG with a header of its own, which may be wrong: the decoder allocates what it says.
fn check_jpeg_chunks(source: &[u8], page: &mut Tiff<'_>) -> Result<(), PipelineError> {
    let (across, down) = page.decoder.chunk_dimensions();
    let offsets = match page.decoder.get_chunk_type() {
        tiff::decoder::ChunkType::Strip => tiff::tags::Tag::StripOffsets,
        tiff::decoder::ChunkType::Tile => tiff::tags::Tag::TileOffsets,
    };
    for offset in page.decoder.get_tag_u64_vec(offsets).map_err(refuse)? {
        let chunk = usize::try_from(offset).ok().and_then(|offset| source.get(offset..)).unwrap_or_default();
        let structure = Structure::of(chunk);
        let Some(frame) = &structure.frame else { continue };
        let components = if page.planar { 1 } else { page.samples };
        if frame.width != across || frame.height > down.max(16) || frame.components.len() != components {
            return Err(PipelineError::bad_image("a JPEG in it has another size than its strip or tile"));
        }
        structure.check_scans()?;
    }
    Ok(())
}

fn refuse(error: TiffError) -> PipelineError {
    match error {
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => PipelineError::Truncated,
        TiffError::LimitsExceeded => {
            PipelineError::TooLarge { detail: "it takes too much memory to decode".to_owned() }
        }
        other => PipelineError::bad_image(other),
    }
}
