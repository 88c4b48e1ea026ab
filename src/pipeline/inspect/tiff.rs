//! TIFF: what the first directory says of its page.

use std::io::{BufRead, Seek};
use std::ops::Range;

use image::metadata::Orientation;

use super::{Header, InspectError};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::tiff::{TiffDirectory, tag};

/// Samples a pixel: four of colour, and a few masks that are passed over.
const SAMPLES_MAX: usize = 16;

/// Sides of a tile, beyond the picture's own: what sticks out is decoded for nothing.
const TILE_SIDE: u64 = 4096;

/// Strips or tiles of all planes: as many as sixteen planes of 65,535 rows have. Their places take 16 bytes each.
const CHUNKS_MAX: u64 = 16 * 65_536;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let page = TiffPage::read(source)?;
    let mut header = Header::still(page.width, page.height, page.channels());
    header.bits = if page.bits > 8 { 16 } else { 8 };
    header.alpha = Some(page.extra != Extra::None);
    header.orientation = page.orientation;
    Ok(header)
}

/// What a page's samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Meaning {
    Grey,
    /// Grey with all bits set for black.
    InvertedGrey,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
    /// L, a, b of a white point D50; signed says how a and b are stored.
    Lab {
        signed: bool,
    },
}

impl Meaning {
    /// Samples of colour a pixel.
    pub(in crate::pipeline) fn colours(self) -> usize {
        match self {
            Self::Grey | Self::InvertedGrey | Self::Palette => 1,
            Self::Rgb | Self::YCbCr | Self::Lab { .. } => 3,
            Self::Cmyk => 4,
        }
    }
}

/// What the sample behind the colours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Extra {
    /// Nothing that shows.
    None,
    Straight,
    /// The colours are multiplied by it.
    Premultiplied,
}

/// How strips and tiles are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Compression {
    None,
    Fax(FaxKind),
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
}

/// Kinds of ITU-T T.4 and T.6, as TIFF has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum FaxKind {
    /// Rows of run lengths, each from a whole number of so many bytes on.
    RunLengths { aligned: usize },
    /// Group 3: rows divided by codes of their own, in one dimension or in two.
    Group3 { two_dimensional: bool },
    /// Group 4: rows in two dimensions, and nothing else.
    Group4,
}

/// What was done to samples before they were compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Predictor {
    None,
    /// Each is the difference from its neighbour on the left.
    Horizontal,
    /// Of floating point: first the highest bytes of a row, then the next; each the difference from the one before.
    FloatingPoint,
}

/// The first page of a TIFF.
#[derive(Debug)]
pub(in crate::pipeline) struct TiffPage {
    pub(in crate::pipeline) directory: TiffDirectory,
    pub(in crate::pipeline) width: u32,
    pub(in crate::pipeline) height: u32,
    pub(in crate::pipeline) meaning: Meaning,
    /// Samples a pixel, all of them.
    pub(in crate::pipeline) samples: usize,
    pub(in crate::pipeline) extra: Extra,
    /// Bits a sample: 1 to 16, 24, 32 or 64.
    pub(in crate::pipeline) bits: u8,
    pub(in crate::pipeline) float: bool,
    /// Whether each sample has a plane of its own.
    pub(in crate::pipeline) planar: bool,
    pub(in crate::pipeline) compression: Compression,
    pub(in crate::pipeline) predictor: Predictor,
    /// Whether the first of a byte's bits is the lowest.
    pub(in crate::pipeline) reversed: bool,
    /// Pixels of a strip or tile: across and down. Those at the edges stick out, but for the last strip.
    pub(in crate::pipeline) chunk: (u32, u32),
    /// The tag that says where strips or tiles are. Some writers have strips under the tags of tiles, or the other way
    /// round.
    offsets_tag: u16,
    orientation: Orientation,
}

impl TiffPage {
    /// Reads the directory and refuses what can't be shown.
    pub(in crate::pipeline) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Self, InspectError> {
        let directory = TiffDirectory::read(source)?;
        if tag::RAW.iter().any(|tag| directory.has(*tag)) {
            return Err(InspectError::unsupported("this is a camera's raw file, not a finished picture"));
        }
        let mut tags = Tags { directory: &directory, source };
        let (width, height) = (tags.side(tag::WIDTH)?, tags.side(tag::HEIGHT)?);
        let samples = usize::try_from(tags.first(tag::SAMPLES, 1)?).unwrap_or(usize::MAX);
        let bits = tags.same_for_all(tag::BITS, 1, "different numbers of bits")?;
        let format = tags.same_for_all(tag::SAMPLE_FORMAT, 1, "different formats")?;
        let planar = tags.first(tag::PLANAR, 1)? == 2 && samples > 1;
        let compression = tags.compression()?;
        let photometric = tags.photometric(samples, compression)?;
        let meaning = meaning(photometric, tags.first(tag::INK_SET, 1)?)?;
        if meaning == Meaning::YCbCr && compression != Compression::Jpeg {
            let sampling = directory.numbers(tags.source, tag::CHROMA_SUBSAMPLING, 2).unwrap_or(vec![2, 2]);
            if sampling != [1, 1] {
                return Err(InspectError::unsupported("TIFF with subsampled colour that is no JPEG can't be read"));
            }
        }
        let float = format == 3;
        let fits = match (meaning, bits) {
            (_, 16 | 32 | 64) if float => !matches!(meaning, Meaning::Palette | Meaning::Lab { .. } | Meaning::YCbCr),
            _ if float => false,
            (Meaning::Palette, 1..=8) | (Meaning::YCbCr, 8) => true,
            (Meaning::Palette | Meaning::YCbCr, _) => false,
            (Meaning::Lab { .. }, bits) => matches!(bits, 8 | 16),
            (_, bits) => matches!(bits, 1..=16 | 24 | 32 | 64),
        };
        let whole = matches!(format, 1 | 4) || (format == 2 && matches!(meaning, Meaning::Lab { signed: true }));
        let fits_codec = match compression {
            Compression::Jpeg => bits == 8,
            Compression::Fax(_) => bits == 1 && (samples == 1 || planar),
            _ => true,
        };
        if !fits || !fits_codec || !(whole || float) {
            return Err(InspectError::unsupported(format!(
                "TIFF of {bits} bits a sample (format {format}, photometric {photometric}, compression {}) can't be read",
                tags.first(tag::COMPRESSION, 1)?
            )));
        }
        if samples < meaning.colours() || samples > SAMPLES_MAX {
            return Err(InspectError::damaged(format!("it has {samples} samples a pixel")));
        }
        let bits = u8::try_from(bits).unwrap_or(64);
        let predictor = tags.predictor(compression, bits, float)?;
        let said = directory.numbers(tags.source, tag::EXTRA_SAMPLES, 1);
        let extra = extra_sample(samples, meaning, said.as_deref());
        // As everywhere: one that says nothing is none.
        let orientation = tags.directory.number(tags.source, tag::ORIENTATION).unwrap_or(1);
        let orientation = u8::try_from(orientation).ok().and_then(Orientation::from_exif);
        let reversed = tags.first(tag::FILL_ORDER, 1)? == 2;
        let (chunk, tiled) = tags.chunk(width, height)?;
        let offsets_tags = [tag::STRIP_OFFSETS, tag::TILE_OFFSETS];
        let offsets_tag = offsets_tags
            .into_iter()
            .filter(|tag| directory.has(*tag))
            .max_by_key(|tag| (*tag == tag::TILE_OFFSETS) == tiled);
        let page = Self {
            width,
            height,
            meaning,
            samples,
            extra,
            bits,
            float,
            planar,
            compression,
            predictor,
            reversed,
            chunk,
            offsets_tag: offsets_tag.ok_or_else(|| InspectError::damaged("it doesn't say where its samples are"))?,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            directory,
        };
        page.check_chunks()?;
        Ok(page)
    }

    /// Samples a pixel that are held.
    fn channels(&self) -> u8 {
        let shown = if self.meaning == Meaning::Palette { 3 } else { self.meaning.colours() };
        u8::try_from(shown + usize::from(self.extra != Extra::None)).unwrap_or(u8::MAX)
    }

    /// The colour profile, if there is one of at most `most` bytes.
    pub(in crate::pipeline) fn icc<R: BufRead + Seek>(
        &self,
        source: &mut BoundedReader<R>,
        most: usize,
    ) -> Option<Vec<u8>> {
        self.directory.bytes(source, tag::ICC, most)
    }

    /// Strips or tiles across and down.
    pub(in crate::pipeline) fn grid(&self) -> (u32, u32) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// Strips or tiles of all planes.
    fn chunks(&self) -> u64 {
        let (across, down) = self.grid();
        let planes = if self.planar { self.samples as u64 } else { 1 };
        u64::from(across) * u64::from(down) * planes
    }

    /// Whether the directory has places for more strips or tiles than the page has by its sizes: one of the two is wrong.
    pub(in crate::pipeline) fn has_places_left_over(&self) -> bool {
        self.directory.count(self.offsets_tag) > self.chunks()
    }

    fn check_chunks(&self) -> Result<(), InspectError> {
        let chunks = self.chunks();
        if chunks > CHUNKS_MAX {
            let detail = format!("{chunks} strips or tiles; {CHUNKS_MAX} are allowed");
            return Err(InspectError::TooLarge { detail });
        }
        Ok(())
    }

    /// Where the strips or tiles are, plane by plane, row by row: a range whose end isn't known goes to the file's. There
    /// may be fewer than the page has.
    pub(in crate::pipeline) fn places<R: BufRead + Seek>(&self, source: &mut BoundedReader<R>) -> Vec<Range<u64>> {
        let wanted = usize::try_from(self.chunks()).unwrap_or(usize::MAX);
        let offsets = self.directory.numbers(source, self.offsets_tag, wanted).unwrap_or_default();
        let counts = [tag::STRIP_COUNTS, tag::TILE_COUNTS];
        let counts = counts.into_iter().find(|tag| self.directory.has(*tag));
        let counts = counts.and_then(|tag| self.directory.numbers(source, tag, wanted)).unwrap_or_default();
        let counts = counts.into_iter().map(Some).chain(std::iter::repeat(None));
        let end = |offset: u64, count: Option<u64>| count.map_or(u64::MAX, |count| offset.saturating_add(count));
        offsets.into_iter().zip(counts).map(|(offset, count)| offset..end(offset, count)).collect()
    }
}

/// Reads tags whose absence means something.
struct Tags<'a, R> {
    directory: &'a TiffDirectory,
    source: &'a mut BoundedReader<R>,
}

impl<R: BufRead + Seek> Tags<'_, R> {
    /// What a tag says, or stands for where it is missing.
    fn first(&mut self, tag: u16, default: u64) -> Result<u64, InspectError> {
        self.refuse_unreadable(tag)?;
        Ok(self.directory.number(self.source, tag).unwrap_or(default))
    }

    /// A tag that is there and can't be read is not missing: what its absence stands for would be another picture.
    fn refuse_unreadable(&self, tag: u16) -> Result<(), InspectError> {
        if self.directory.is_whole_number(tag) {
            return Ok(());
        }
        Err(InspectError::damaged(format!("its tag {tag} is no whole number")))
    }

    /// The picture's width or height.
    fn side(&mut self, tag: u16) -> Result<u32, InspectError> {
        let side = self.directory.number(self.source, tag);
        let side = side.ok_or_else(|| InspectError::damaged("it doesn't say how large it is"))?;
        let too_large = || InspectError::TooLarge { detail: format!("a side of {side} pixels") };
        let side = u32::try_from(side).map_err(|_| too_large())?;
        if side == 0 { Err(InspectError::damaged("a side of it has no pixels")) } else { Ok(side) }
    }

    /// The one number that all samples of a pixel have.
    fn same_for_all(&mut self, tag: u16, default: u64, what: &str) -> Result<u64, InspectError> {
        self.refuse_unreadable(tag)?;
        let all = self.directory.numbers(self.source, tag, SAMPLES_MAX).unwrap_or_default();
        let first = all.first().copied().unwrap_or(default);
        if all.iter().any(|number| *number != first) {
            return Err(InspectError::unsupported(format!("TIFF whose samples have {what} can't be read")));
        }
        Ok(first)
    }

    fn compression(&mut self) -> Result<Compression, InspectError> {
        Ok(match self.first(tag::COMPRESSION, 1)? {
            1 => Compression::None,
            2 => Compression::Fax(FaxKind::RunLengths { aligned: 1 }),
            32_771 => Compression::Fax(FaxKind::RunLengths { aligned: 2 }),
            3 => match self.first(tag::T4_OPTIONS, 0)? {
                options if options & 0b10 == 0 => {
                    Compression::Fax(FaxKind::Group3 { two_dimensional: options & 1 == 1 })
                }
                _ => return Err(InspectError::unsupported("TIFF with uncompressed fax rows can't be read")),
            },
            4 => Compression::Fax(FaxKind::Group4),
            5 => Compression::Lzw,
            7 => Compression::Jpeg,
            8 | 32_946 => Compression::Deflate,
            32_773 => Compression::PackBits,
            other => {
                return Err(InspectError::unsupported(format!("TIFF compressed by method {other} can't be read")));
            }
        })
    }

    /// `PhotometricInterpretation`; where it is missing, what the other tags let guess.
    fn photometric(&mut self, samples: usize, compression: Compression) -> Result<u64, InspectError> {
        self.refuse_unreadable(tag::PHOTOMETRIC)?;
        let said = self.directory.number(self.source, tag::PHOTOMETRIC);
        let extra = usize::try_from(self.directory.count(tag::EXTRA_SAMPLES)).unwrap_or(0);
        match (said, samples.saturating_sub(extra)) {
            (Some(said), _) => Ok(said),
            (None, 1) => Ok(u64::from(!matches!(compression, Compression::Fax(_)))),
            (None, 3) => Ok(2),
            _ => Err(InspectError::damaged("it doesn't say what its samples mean")),
        }
    }

    /// Other compressions than these have none, whatever the tag says.
    fn predictor(&mut self, compression: Compression, bits: u8, float: bool) -> Result<Predictor, InspectError> {
        if !matches!(compression, Compression::Lzw | Compression::Deflate) {
            return Ok(Predictor::None);
        }
        match (self.first(tag::PREDICTOR, 1)?, bits) {
            (1, _) => Ok(Predictor::None),
            (2, 8 | 16 | 32 | 64) => Ok(Predictor::Horizontal),
            (3, _) if float => Ok(Predictor::FloatingPoint),
            (other, bits) => Err(InspectError::unsupported(format!(
                "TIFF with predictor {other} of {bits} bits a sample can't be read"
            ))),
        }
    }

    /// Width and height of a strip or tile, and whether it is a tile.
    fn chunk(&mut self, width: u32, height: u32) -> Result<((u32, u32), bool), InspectError> {
        if self.directory.has(tag::TILE_WIDTH) {
            let (across, down) = (self.first(tag::TILE_WIDTH, 0)?, self.first(tag::TILE_HEIGHT, 0)?);
            if across == 0 || down == 0 {
                return Err(InspectError::damaged("it doesn't say how large its tiles are"));
            }
            // What lies outside is decoded for nothing.
            if across > u64::from(width).max(TILE_SIDE) || down > u64::from(height).max(TILE_SIDE) {
                let detail = format!("tiles of {across} x {down} for {width} x {height} pixels");
                return Err(InspectError::TooLarge { detail });
            }
            let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
            return Ok(((side(across), side(down)), true));
        }
        // None, and 2^32 - 1, which is the default, mean all.
        let rows = match self.first(tag::ROWS_PER_STRIP, 0)? {
            0 => height,
            rows => u32::try_from(rows).unwrap_or(u32::MAX).min(height),
        };
        Ok(((width, rows), false))
    }
}

fn meaning(photometric: u64, ink_set: u64) -> Result<Meaning, InspectError> {
    match photometric {
        0 => Ok(Meaning::InvertedGrey),
        1 => Ok(Meaning::Grey),
        2 => Ok(Meaning::Rgb),
        3 => Ok(Meaning::Palette),
        5 if ink_set == 1 => Ok(Meaning::Cmyk),
        6 => Ok(Meaning::YCbCr),
        8 => Ok(Meaning::Lab { signed: true }),
        9 => Ok(Meaning::Lab { signed: false }),
        other => Err(InspectError::unsupported(format!("TIFF of photometric interpretation {other} can't be read"))),
    }
}

/// Writers that give a fourth sample without describing it mean alpha; one that is said to be unspecified is a mask. A
/// fifth beside ink is a spot colour unless it says that it is alpha.
fn extra_sample(samples: usize, meaning: Meaning, said: Option<&[u64]>) -> Extra {
    let more = samples > meaning.colours() && meaning != Meaning::Palette;
    match said.map(|said| said.first().copied()) {
        _ if !more => Extra::None,
        None if meaning == Meaning::Cmyk => Extra::None,
        None | Some(Some(2)) => Extra::Straight,
        Some(Some(1)) => Extra::Premultiplied,
        Some(_) => Extra::None,
    }
}
