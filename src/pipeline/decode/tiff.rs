//! TIFF: strips and tiles put together; what their samples mean is worked out here.
//!
//! Rows are read one by one and go to their place as samples of the depth that the pipeline works in, so that besides the
//! picture only a row is held, or a strip that is a JPEG.

use std::io::{Cursor, ErrorKind, Read};

use super::tiff_chunk::Chunks;
use super::tiff_samples::{SampleRow, cielab, in_place_of_palette, rgb_of_ycbcr, srgb_encoded};
use super::{DecodedRaster, ICC_BYTES_MAX, decoder_limits};
use crate::encoder::Pixels;
use crate::pipeline::colour::Converter;
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::tiff::tag;
use crate::pipeline::inspect::{Compression, Extra, Meaning, TiffPage};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// The largest tables for JPEGs that are read; honest ones have some 600 bytes.
const JPEG_TABLES_BYTES_MAX: usize = 64 * 1024;

type File<'a> = BoundedReader<Cursor<&'a [u8]>>;

pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let mut file = File::new(Cursor::new(source)).map_err(PipelineError::bad_image)?;
    let page = TiffPage::read(&mut file)?;
    let icc = page.icc(&mut file, ICC_BYTES_MAX);
    let samples = read(source, &mut file, &page, info, tolerant)?;
    let linear = page.float && icc.is_none();
    let samples = if linear { encoded(samples, &page) } else { samples };
    let raster = interpreted(&mut file, &page, samples)?;
    if raster.model == Model::Cmyk && raster.alpha {
        // No later step knows ink with alpha.
        return Ok(DecodedRaster { raster: shown_ink(&raster, icc.as_deref())?, icc: None });
    }
    Ok(DecodedRaster { raster, icc })
}

/// The samples that show, in the depth that the pipeline works in.
fn read(
    source: &[u8],
    file: &mut File<'_>,
    page: &TiffPage,
    info: &SourceInfo,
    tolerant: bool,
) -> Result<Samples, PipelineError> {
    let count = page.width as usize * page.height as usize * shown(page);
    let bytes = count as u64 * if page.bits > 8 { 2 } else { 1 };
    if bytes > decoder_limits(info).max_alloc.unwrap_or(u64::MAX) {
        return Err(PipelineError::TooLarge { detail: format!("{bytes} bytes of samples") });
    }
    let jpeg_tables = page.directory.bytes(file, tag::JPEG_TABLES, JPEG_TABLES_BYTES_MAX);
    let mut reading =
        Reading { source, page, chunks: Chunks { page, jpeg_tables, tolerant }, tolerant, rows: 0, passed_over: None };
    let places = page.places(file);
    let samples = if page.bits > 8 {
        Samples::U16(reading.all(&places, vec![0; count])?)
    } else {
        Samples::U8(reading.all(&places, vec![0; count])?)
    };
    // Of a picture that shows nothing, tolerance has nothing to show.
    if reading.rows == 0 { Err(reading.passed_over.unwrap_or(PipelineError::Truncated)) } else { Ok(samples) }
}

struct Reading<'a> {
    source: &'a [u8],
    page: &'a TiffPage,
    chunks: Chunks<'a>,
    tolerant: bool,
    /// Rows of strips and tiles that were read.
    rows: usize,
    /// The first error that was tolerated.
    passed_over: Option<PipelineError>,
}

impl Reading<'_> {
    /// Reads every strip or tile into `samples`, the picture's.
    fn all<T: SampleRow>(
        &mut self,
        chunks: &[std::ops::Range<u64>],
        mut samples: Vec<T>,
    ) -> Result<Vec<T>, PipelineError> {
        let (across, down) = self.page.grid();
        let planes = if self.page.planar { shown(self.page) } else { 1 };
        let positions =
            (0..planes).flat_map(|plane| (0..down).flat_map(move |y| (0..across).map(move |x| (plane, x, y))));
        for (index, (plane, x, y)) in positions.enumerate() {
            let target = Target { page: self.page, plane, left: x * self.page.chunk.0, top: y * self.page.chunk.1 };
            match self.chunk(chunks.get(index), &target, &mut samples) {
                // What comes before the damage is there, and what other strips have.
                Err(error @ (PipelineError::Truncated | PipelineError::BadImage { .. })) if self.tolerant => {
                    self.passed_over.get_or_insert(error);
                }
                outcome => outcome?,
            }
        }
        Ok(samples)
    }

    fn chunk<T: SampleRow>(
        &mut self,
        place: Option<&std::ops::Range<u64>>,
        target: &Target<'_>,
        samples: &mut [T],
    ) -> Result<(), PipelineError> {
        let place =
            place.ok_or_else(|| PipelineError::bad_image("it doesn't say where all of its strips or tiles are"))?;
        let rows = target.rows();
        let mut row = vec![0; self.chunks.row_bytes()];
        let end = match self.page.compression {
            // The count says nothing that isn't known, and is wrong in many a file.
            Compression::None => place.start.saturating_add(row.len() as u64 * u64::from(rows)),
            _ => place.end,
        };
        if end > place.end && self.page.has_places_left_over() {
            return Err(PipelineError::bad_image("it has more strips or tiles than their size lets it have"));
        }
        let length = self.source.len() as u64;
        let within = |at: u64| usize::try_from(at.min(length)).unwrap_or(self.source.len());
        let data = self.source.get(within(place.start)..within(end)).unwrap_or_default();
        let cut = |error: std::io::Error| match error.kind() {
            ErrorKind::UnexpectedEof if end >= length => PipelineError::Truncated,
            ErrorKind::UnexpectedEof => PipelineError::bad_image("a strip or tile of it ends before its rows do"),
            _ => PipelineError::bad_image(error),
        };
        let mut reader = self.chunks.open(data, rows)?;
        let mut row_samples = vec![T::default(); self.page.chunk.0 as usize * target.in_pixel()];
        for y in 0..rows {
            reader.read_exact(&mut row).map_err(cut)?;
            T::of_row(&mut row, self.page, &mut row_samples);
            target.put(y, &row_samples, samples);
            self.rows += 1;
        }
        if self.page.compression == Compression::Deflate && !self.tolerant {
            // Behind a tile's last rows, which stick out of the picture, is a checksum of all. What is missing of that is
            // none of the picture.
            let left = row.len() as u64 * u64::from(self.page.chunk.1 - rows) + 1;
            let drained = std::io::copy(&mut reader.take(left), &mut std::io::sink());
            if drained.is_err_and(|error| error.kind() != ErrorKind::UnexpectedEof) {
                return Err(PipelineError::bad_image("a strip or tile of it fails its checksum"));
            }
        }
        Ok(())
    }
}

/// Where the samples of a strip or tile go.
struct Target<'a> {
    page: &'a TiffPage,
    plane: usize,
    left: u32,
    top: u32,
}

impl Target<'_> {
    /// Rows that are in the picture; a tile has more, perhaps.
    fn rows(&self) -> u32 {
        self.page.chunk.1.min(self.page.height - self.top)
    }

    /// Samples a pixel of the strip or tile.
    fn in_pixel(&self) -> usize {
        if self.page.planar { 1 } else { self.page.samples }
    }

    /// Puts those samples of row `y` that show to their place in the picture.
    fn put<T: Copy>(&self, y: u32, row: &[T], picture: &mut [T]) {
        let shown = shown(self.page);
        let visible = self.page.chunk.0.min(self.page.width - self.left) as usize;
        let start = ((self.top + y) as usize * self.page.width as usize + self.left as usize) * shown;
        let place = &mut picture[start..start + visible * shown];
        if self.page.planar {
            for (to, from) in place.iter_mut().skip(self.plane).step_by(shown).zip(row) {
                *to = *from;
            }
        } else if shown == self.page.samples {
            place.copy_from_slice(&row[..visible * shown]);
        } else {
            for (to, from) in place.chunks_exact_mut(shown).zip(row.chunks_exact(self.page.samples)) {
                to.copy_from_slice(&from[..shown]);
            }
        }
    }
}

/// Samples a pixel that show.
fn shown(page: &TiffPage) -> usize {
    page.meaning.colours() + usize::from(page.extra != Extra::None)
}

/// A raster of what shows.
fn interpreted(file: &mut File<'_>, page: &TiffPage, samples: Samples) -> Result<Raster, PipelineError> {
    let (width, height) = (page.width, page.height);
    let alpha = page.extra != Extra::None;
    let channels = shown(page);
    let (model, mut samples) = match page.meaning {
        Meaning::Grey => (Model::Grey, samples),
        Meaning::InvertedGrey => (Model::Grey, inverted(samples, channels)),
        Meaning::Rgb => (Model::Rgb, samples),
        Meaning::Cmyk => (Model::Cmyk, samples),
        // The JPEG decoder made RGB of them.
        Meaning::YCbCr if page.compression == Compression::Jpeg && !page.planar => (Model::Rgb, samples),
        Meaning::YCbCr => (Model::Rgb, rgb_of_ycbcr(samples, channels)),
        Meaning::Palette => (Model::Rgb, in_place_of_palette(file, page, &samples)?),
        Meaning::Lab { signed } => (Model::Rgb, cielab(samples, channels, signed)),
    };
    if page.extra == Extra::Premultiplied {
        samples = divided(samples, channels);
    }
    Ok(Raster { width, height, model, alpha, samples })
}

/// Floating point is linear light, unless a profile says otherwise.
fn encoded(samples: Samples, page: &TiffPage) -> Samples {
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
