//! TIFF: what the first directory says of its page.

use std::io::{BufRead, Read, Seek};

use image::metadata::Orientation;
use tiff::TiffError;
use tiff::decoder::Decoder;
use tiff::tags::{Tag, ValueBuffer};

use super::tiff_directory::{Plain, TiffDirectory};
use super::{Header, InspectError};

/// Samples a pixel: four of colour, and a few masks that are passed over.
const SAMPLES_MAX: usize = 16;

/// Sides of a tile, beyond the picture's own: what sticks out is decoded for nothing.
const TILE_SIDE: u32 = 4096;

pub(super) fn header<R: BufRead + Seek>(reader: &mut R) -> Result<Header, InspectError> {
    let page = TiffPage::open(reader)?;
    let mut header = Header::still(page.width, page.height, page.channels());
    header.bits = page.bits.max(8);
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

/// The first page of a TIFF and its decoder, which hands out samples as they are stored.
pub(in crate::pipeline) struct TiffPage<R: Read + Seek> {
    pub(in crate::pipeline) decoder: Decoder<Plain<R>>,
    pub(in crate::pipeline) width: u32,
    pub(in crate::pipeline) height: u32,
    pub(in crate::pipeline) meaning: Meaning,
    /// Samples a pixel, all of them.
    pub(in crate::pipeline) samples: usize,
    pub(in crate::pipeline) extra: Extra,
    /// Bits a sample: 1, 2, 4, 8, 16, 32 or 64.
    pub(in crate::pipeline) bits: u8,
    pub(in crate::pipeline) float: bool,
    /// Whether each sample has a plane of its own.
    pub(in crate::pipeline) planar: bool,
    /// Whether strips and tiles are JPEG files.
    pub(in crate::pipeline) jpeg: bool,
    orientation: Orientation,
}

impl<R: Read + Seek> TiffPage<R> {
    /// Reads the directory and refuses what can't be shown.
    pub(in crate::pipeline) fn open(mut reader: R) -> Result<Self, InspectError> {
        let directory = TiffDirectory::read(&mut reader)?;
        let mut decoder = Decoder::new(directory.plain(reader)).map_err(refuse)?;
        let (width, height) = decoder.dimensions().map_err(refuse)?;
        let mut tags = Tags { decoder: &mut decoder };
        let samples = usize::from(tags.first(Tag::SamplesPerPixel, 1)?);
        let bits = tags.first(Tag::BitsPerSample, 1)?;
        let format = tags.first(Tag::SampleFormat, 1)?;
        let planar = tags.first(Tag::PlanarConfiguration, 1)? == 2;
        let compression = tags.first(Tag::Compression, 1)?;
        let orientation = tags.first(Tag::Orientation, 1).unwrap_or(1);
        let extra = tags.all(Tag::ExtraSamples)?;
        if tags.first(Tag::FillOrder, 1)? == 2 && (bits < 8 || compression == 4) {
            return Err(InspectError::unsupported("TIFF with its bits in reverse can't be read"));
        }
        tags.refuse_odd_chunks(width, height)?;
        let meaning = meaning(directory.photometric, tags.first(Tag::Unknown(332), 1)?)?;
        let jpeg = compression == 7;
        if !matches!(compression, 1 | 4 | 5 | 7 | 8 | 32_773 | 32_946) {
            return Err(InspectError::unsupported(format!("TIFF compressed by method {compression} can't be read")));
        }
        if meaning == Meaning::YCbCr && !jpeg && tags.all(Tag::ChromaSubsampling)?.unwrap_or(vec![2, 2]) != [1, 1] {
            return Err(InspectError::unsupported("TIFF with subsampled colour that is no JPEG can't be read"));
        }
        let float = format == 3;
        let fits = match meaning {
            Meaning::Palette => !float && bits <= 8,
            Meaning::Lab { .. } => !float && matches!(bits, 8 | 16),
            Meaning::YCbCr => !float && bits == 8,
            _ if float => matches!(bits, 16 | 32 | 64),
            _ => true,
        };
        if !fits || !matches!(bits, 1 | 2 | 4 | 8 | 16 | 32 | 64) || !(matches!(format, 1 | 3 | 4) || signed(meaning)) {
            return Err(InspectError::unsupported(format!(
                "TIFF of {bits} bits a sample (format {format}, photometric {}) can't be read",
                directory.photometric
            )));
        }
        if samples < meaning.colours() || samples > SAMPLES_MAX {
            return Err(InspectError::damaged(format!("it has {samples} samples a pixel")));
        }
        let extra = extra_sample(samples, meaning, extra.as_deref());
        let orientation = u8::try_from(orientation).ok().and_then(Orientation::from_exif);
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        let bits = u8::try_from(bits).unwrap_or(64);
        Ok(Self { decoder, width, height, meaning, samples, extra, bits, float, planar, jpeg, orientation })
    }

    /// Samples a pixel that are held at once: as stored, or once interpreted.
    fn channels(&self) -> u8 {
        let shown = if self.meaning == Meaning::Palette { 3 } else { self.meaning.colours() };
        let shown = shown + usize::from(self.extra != Extra::None);
        u8::try_from(shown.max(self.samples)).unwrap_or(u8::MAX)
    }

    /// The colour profile, if there is one of at most `bytes_max` bytes.
    pub(in crate::pipeline) fn icc(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        self.bytes(Tag::IccProfile, bytes_max)
    }

    fn bytes(&mut self, tag: Tag, bytes_max: usize) -> Option<Vec<u8>> {
        let count = self.decoder.image_ifd().find_entry(tag)?.count();
        usize::try_from(count).ok().filter(|count| *count <= bytes_max)?;
        let mut value = ValueBuffer::empty(tiff::tags::Type::BYTE);
        self.decoder.image_ifd().find_tag_buf(tag, &mut value).ok()??;
        Some(value.as_bytes().to_vec())
    }
}

/// Whether colours may be stored as signed numbers.
fn signed(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Lab { signed: true })
}

/// Reads tags whose absence means something.
struct Tags<'a, R: Read + Seek> {
    decoder: &'a mut Decoder<Plain<R>>,
}

impl<R: Read + Seek> Tags<'_, R> {
    fn all(&mut self, tag: Tag) -> Result<Option<Vec<u16>>, InspectError> {
        self.decoder.find_tag_unsigned_vec(tag).map_err(refuse)
    }

    fn first(&mut self, tag: Tag, default: u16) -> Result<u16, InspectError> {
        Ok(self.all(tag)?.and_then(|values| values.first().copied()).unwrap_or(default))
    }

    /// Tiles far larger than the picture make the decoder work for nothing.
    fn refuse_odd_chunks(&mut self, width: u32, height: u32) -> Result<(), InspectError> {
        let (across, down) = self.decoder.chunk_dimensions();
        let strips = self.decoder.get_chunk_type() == tiff::decoder::ChunkType::Strip;
        if !strips && (across > width.max(TILE_SIDE) || down > height.max(TILE_SIDE)) {
            let detail = format!("tiles of {across} x {down} for {width} x {height} pixels");
            return Err(InspectError::TooLarge { detail });
        }
        Ok(())
    }
}

fn meaning(photometric: u16, ink_set: u16) -> Result<Meaning, InspectError> {
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
fn extra_sample(samples: usize, meaning: Meaning, said: Option<&[u16]>) -> Extra {
    let more = samples > meaning.colours() && meaning != Meaning::Palette;
    match said.map(|said| said.first().copied()) {
        _ if !more => Extra::None,
        None if meaning == Meaning::Cmyk => Extra::None,
        None | Some(Some(2)) => Extra::Straight,
        Some(Some(1)) => Extra::Premultiplied,
        Some(_) => Extra::None,
    }
}

fn refuse(error: TiffError) -> InspectError {
    match error {
        TiffError::UnsupportedError(kind) => {
            InspectError::unsupported(format!("this kind of TIFF can't be read ({kind})"))
        }
        TiffError::IoError(io) => io.into(),
        TiffError::LimitsExceeded => {
            InspectError::TooLarge { detail: "its directory takes too much memory".to_owned() }
        }
        other => InspectError::damaged(other.to_string()),
    }
}
