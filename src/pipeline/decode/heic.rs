//! HEVC by heic-decoder, a coded picture at a time.
//!
//! That decoder takes files and holds a whole grid at four bytes a sample. So each tile is handed over as a file of its
//! own, made here: its memory is a tile's, and of its parser an uploaded file reaches only the codec's configuration.

use heic_decoder::{DecodeOptions, DecodedImage, HeifError};

use super::planes::{AnyPlanes, CodedPlanes, Plane};
use crate::pipeline::PipelineError;
use crate::pipeline::inspect::{ChromaSubsampling, Cicp, Tile};

/// A decoded picture.
pub(super) struct Hevc {
    image: DecodedImage,
    chroma: ChromaSubsampling,
    cosited: bool,
}

/// Decodes the picture in `data`, of `size`.
pub(super) fn decode(data: &[u8], tile: &Tile, size: (u32, u32)) -> Result<Hevc, PipelineError> {
    let file = file(&tile.stream.configuration, data).ok_or_else(|| PipelineError::bad_image("it is too large"))?;
    let image = heic_decoder::decode_with(&file, &DecodeOptions { apply_transforms: false }).map_err(refuse)?;
    let chroma = match image.chroma_format_idc {
        0 => ChromaSubsampling::None,
        1 => ChromaSubsampling::Quarter,
        2 => ChromaSubsampling::Half,
        _ => ChromaSubsampling::Full,
    };
    let bits = u32::from(tile.stream.bits);
    if (image.width, image.height) != (size.0 as usize, size.1 as usize)
        || (chroma, image.bit_depth_luma) != (tile.stream.chroma, bits)
    {
        return Err(PipelineError::bad_image("its header and its data disagree"));
    }
    Ok(Hevc { image, chroma, cosited: tile.stream.cosited })
}

fn refuse(error: HeifError) -> PipelineError {
    PipelineError::bad_image(error)
}

impl Hevc {
    pub(super) fn planes(&self) -> AnyPlanes<'_> {
        let image = &self.image;
        let difference = |samples| Plane { samples, stride: image.cb_width };
        AnyPlanes::I32(CodedPlanes {
            luma: Plane { samples: &image.y, stride: image.width },
            differences: (self.chroma != ChromaSubsampling::None)
                .then(|| [difference(&image.cb), difference(&image.cr)]),
            chroma: self.chroma,
            cosited: self.cosited,
            bits: u8::try_from(image.bit_depth_luma).unwrap_or(16),
            size: (image.width, image.height),
        })
    }

    /// Whether samples use the whole range of their bits; those of alpha do, unless the stream says otherwise.
    pub(super) fn full_range(&self) -> bool {
        self.image.color_info.is_none_or(|said| said.full_range)
    }

    /// The colours that the stream names.
    pub(super) fn cicp(&self) -> Option<Cicp> {
        let said = self.image.color_info?;
        let number = |number| u8::try_from(number).unwrap_or(2);
        Some(Cicp {
            primaries: number(said.color_primaries),
            transfer: number(said.transfer_characteristics),
            matrix: number(said.matrix_coefficients),
            full_range: said.full_range,
        })
    }
}

/// A file of one picture: its configuration, and its data.
fn file(configuration: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let full = |code, parts: &[&[u8]]| boxed(code, &[&[0; 4], &parts.concat()]);
    let kind = boxed(*b"ftyp", &[b"heic", &[0; 4], b"mif1heic"])?;
    let entry = boxed(*b"infe", &[&[2, 0, 0, 0], &[0, 1, 0, 0], b"hvc1", &[0]])?;
    let properties = boxed(*b"ipco", &[&boxed(*b"hvcC", &[configuration])?])?;
    // One item, number 1; it has one property, the first, which must be known.
    let associations = full(*b"ipma", &[&[0, 0, 0, 1, 0, 1, 1, 0x81]])?;
    let meta = |offset: u32| {
        let length = u32::try_from(data.len()).ok()?;
        // Offsets and lengths of four bytes; one item, in one piece.
        let place = [&[0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1][..], &offset.to_be_bytes(), &length.to_be_bytes()].concat();
        full(
            *b"meta",
            &[
                &full(*b"hdlr", &[&[0; 4], b"pict", &[0; 13]])?,
                &full(*b"pitm", &[&[0, 1]])?,
                &full(*b"iinf", &[&[0, 1], &entry])?,
                &full(*b"iloc", &[&place])?,
                &boxed(*b"iprp", &[&properties, &associations])?,
            ],
        )
    };
    let before = kind.len() + meta(0)?.len() + 8;
    let head = [kind, meta(u32::try_from(before).ok()?)?].concat();
    Some([head, boxed(*b"mdat", &[data])?].concat())
}

fn boxed(code: [u8; 4], parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).ok()?.to_be_bytes());
    bytes.extend(code);
    bytes.extend(parts.iter().flat_map(|part| *part));
    Some(bytes)
}
