//! AV1 by rav1d, a coded picture at a time.

use rav1d::pixel::YUVRange;
use rav1d::{Decoder, Error, Picture, PixelLayout, PlanarImageComponent, Settings};
use std::panic::{AssertUnwindSafe, catch_unwind};

use re_rav1d as rav1d;

use super::planes::{AnyPlanes, CodedPlanes, Plane};
use crate::pipeline::PipelineError;
use crate::pipeline::inspect::{ChromaSubsampling, Cicp, Tile};

/// Frames that the data of one picture may hold. Layered pictures have a few; thousands that are never shown are an
/// attack on time.
const FRAMES_MAX: usize = 16;

/// A decoded picture.
pub(super) struct Av1 {
    picture: Picture,
    planes: Vec<rav1d::Plane>,
    chroma: ChromaSubsampling,
    cosited: bool,
    bits: u8,
}

const COMPONENTS: [PlanarImageComponent; 3] =
    [PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V];

/// Decodes the picture in `data`, of `size`.
pub(super) fn decode(data: &[u8], tile: &Tile, size: (u32, u32)) -> Result<Av1, PipelineError> {
    if data.is_empty() {
        return Err(PipelineError::Truncated);
    }
    if frames(data) > FRAMES_MAX {
        return Err(PipelineError::bad_image("it holds more frames than it can show"));
    }
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    settings.set_operating_point(u32::from(tile.operating_point & 31));
    // Held against every frame before memory is taken for it.
    settings.set_frame_size_limit(size.0.saturating_mul(size.1));
    let mut decoder = Decoder::with_settings(&settings).map_err(refuse)?;
    let picture = run(&mut decoder, data.to_vec()).map_err(refuse)?;
    if (picture.width(), picture.height()) != size {
        return Err(PipelineError::bad_image("its header and its data disagree"));
    }
    // Old writers got the configuration wrong, so the stream decides. But what was announced as grey is shown so.
    let chroma = match picture.pixel_layout() {
        PixelLayout::I420 if tile.stream.chroma != ChromaSubsampling::None => ChromaSubsampling::Quarter,
        PixelLayout::I422 if tile.stream.chroma != ChromaSubsampling::None => ChromaSubsampling::Half,
        PixelLayout::I444 if tile.stream.chroma != ChromaSubsampling::None => ChromaSubsampling::Full,
        _ => ChromaSubsampling::None,
    };
    let bits = picture.bits_per_component().and_then(|bits| u8::try_from(bits.0).ok()).unwrap_or(tile.stream.bits);
    let count = if chroma == ChromaSubsampling::None { 1 } else { 3 };
    let planes = COMPONENTS[..count].iter().map(|component| picture.plane(*component)).collect();
    Ok(Av1 { picture, planes, chroma, cosited: tile.stream.cosited, bits })
}

fn run(decoder: &mut Decoder, data: Vec<u8>) -> Result<Picture, Error> {
    let mut sent = decoder.send_data(data, None, None, None);
    // Each round takes a frame out or data in. Asked twice, the decoder gives up waiting for a better layer.
    for _ in 0..4 * FRAMES_MAX {
        if let Err(error) = sent
            && !error.is_again()
        {
            return Err(error);
        }
        match decoder.get_picture() {
            Ok(picture) => return Ok(picture),
            Err(error) if error.is_again() => sent = decoder.send_pending_data(),
            Err(error) => return Err(error),
        }
    }
    Err(Error::InvalidArgument)
}

fn refuse(error: Error) -> PipelineError {
    PipelineError::bad_image(match error {
        Error::InvalidArgument => "its AV1 data is damaged".to_owned(),
        other => other.to_string(),
    })
}

/// Counts frames by the headers of the data's units (AV1, 5.3).
fn frames(mut data: &[u8]) -> usize {
    let mut frames = 0;
    while let [header, rest @ ..] = data {
        let (kind, extended, sized) = (header >> 3 & 15, header >> 2 & 1, header >> 1 & 1);
        frames += usize::from(matches!(kind, 3 | 6));
        let Some(rest) = rest.get(usize::from(extended)..) else { break };
        if sized == 0 {
            break;
        }
        let (mut length, mut taken) = (0_usize, 0_usize);
        for byte in rest.iter().take(8) {
            length |= usize::from(byte & 0x7F) << (7 * taken);
            taken += 1;
            if byte >> 7 == 0 {
                break;
            }
        }
        data = rest.get(taken.saturating_add(length)..).unwrap_or_default();
    }
    frames
}

impl Av1 {
    pub(super) fn planes(&self) -> Option<AnyPlanes<'_>> {
        let planes = if self.picture.bit_depth() == 8 {
            AnyPlanes::U8(self.planes_of(Some)?)
        } else {
            AnyPlanes::U16(self.planes_of(|bytes| bytemuck::try_cast_slice(bytes).ok())?)
        };
        Some(planes)
    }

    fn planes_of<'a, T>(&'a self, cast: impl Fn(&'a [u8]) -> Option<&'a [T]>) -> Option<CodedPlanes<'a, T>> {
        let plane = |i: usize| {
            let stride = self.picture.stride(COMPONENTS[i]) as usize / size_of::<T>();
            Some(Plane { samples: cast(self.planes.get(i)?)?, stride })
        };
        Some(CodedPlanes {
            luma: plane(0)?,
            differences: if self.chroma == ChromaSubsampling::None { None } else { Some([plane(1)?, plane(2)?]) },
            chroma: self.chroma,
            cosited: self.cosited,
            bits: self.bits,
            size: (self.picture.width() as usize, self.picture.height() as usize),
        })
    }

    /// Whether samples use the whole range of their bits.
    pub(super) fn full_range(&self) -> bool {
        self.picture.color_range() == YUVRange::Full
    }

    /// The colours that the stream names; none if it names one that isn't defined.
    pub(super) fn cicp(&self) -> Option<Cicp> {
        // rav1d's getters panic on numbers that the standard reserves. They read; nothing is left half done.
        catch_unwind(AssertUnwindSafe(|| Cicp {
            primaries: self.picture.color_primaries() as u8,
            transfer: self.picture.transfer_characteristic() as u8,
            matrix: self.picture.matrix_coefficients() as u8,
            full_range: self.full_range(),
        }))
        .ok()
    }
}
