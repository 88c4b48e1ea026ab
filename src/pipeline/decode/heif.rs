//! AVIF and HEIC: coded pictures, one after the other, to one raster.

use std::io::Cursor;

use super::items::gather;
use super::planes::{AnyPlanes, CodedPlanes, Conversion, PaintTarget, Patch, RasterSample, paint_alpha};
use super::{DecodedRaster, cicp};
use crate::pipeline::inspect::{Assembly, Cicp, Codec, Still, Tile};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, inspect};

/// What counts where neither file nor stream says anything: sRGB, and the range that HEVC's standard then names.
const UNSAID: Cicp = Cicp { primaries: 1, transfer: 13, matrix: 6, full_range: false };

pub(super) fn decode(source: &[u8], tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let still = inspect::still(Cursor::new(source))?;
    let (_, _, width, height) = still.placement.window;
    let count = width as usize * height as usize * usize::from(still.channels());
    let mut job = HeifJob { source, still: &still, tolerant, said: still.cicp };
    let mut samples = if still.bits() > 8 {
        Samples::U16(job.fill(vec![0_u16; count])?)
    } else {
        Samples::U8(job.fill(vec![0_u8; count])?)
    };
    let said = job.said.unwrap_or(UNSAID);
    let grey = still.is_grey();
    let icc = match still.icc {
        Some(icc) => Some(icc),
        None if grey => None,
        None => cicp::explain(said, &mut samples, still.alpha.is_some()),
    };
    let model = if grey { Model::Grey } else { Model::Rgb };
    Ok(DecodedRaster { raster: Raster { width, height, model, alpha: still.alpha.is_some(), samples }, icc })
}

struct HeifJob<'a> {
    source: &'a [u8],
    still: &'a Still,
    tolerant: bool,
    /// What is known of the colours: from the file, else from the first stream.
    said: Option<Cicp>,
}

/// A decoder's own form of a picture.
enum DecodedTile {
    #[cfg(feature = "input-avif")]
    Av1(super::avif::Av1),
    #[cfg(feature = "input-heic")]
    Hevc(Box<super::heic::Hevc>),
}

impl HeifJob<'_> {
    /// Decodes everything into `samples`, black and transparent so far.
    fn fill<S: RasterSample>(&mut self, mut samples: Vec<S>) -> Result<Vec<S>, PipelineError> {
        let channels = usize::from(self.still.channels());
        let mut canvas = PaintTarget { samples: &mut samples, width: self.still.placement.window.2 as usize, channels };
        self.paint(&self.still.colour, &mut canvas, false)?;
        if let Some(alpha) = &self.still.alpha {
            self.paint(alpha, &mut canvas, true)?;
            if self.still.premultiplied {
                divide(&mut samples, channels);
            }
        }
        Ok(samples)
    }

    fn paint<S: RasterSample>(
        &mut self,
        assembly: &Assembly,
        canvas: &mut PaintTarget<S>,
        alpha: bool,
    ) -> Result<(), PipelineError> {
        for (i, tile) in assembly.tiles.iter().enumerate() {
            let Some(patch) = self.patch(assembly, i) else { continue };
            match self.decode(assembly, tile) {
                Ok(coded) => self.place(&coded, canvas, patch, alpha)?,
                // What is there of a grid is shown; its first tile must be.
                Err(_) if self.tolerant && i > 0 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where the tile shows; nowhere, perhaps.
    fn patch(&self, assembly: &Assembly, tile: usize) -> Option<Patch> {
        let (left, top, width, height) = self.still.placement.window;
        let (column, row) = (tile % assembly.columns as usize, tile / assembly.columns as usize);
        let (x, from_x, width) = overlap(column, assembly.tile_size.0, left, width)?;
        let (y, from_y, height) = overlap(row, assembly.tile_size.1, top, height)?;
        Some(Patch { to: (x, y), from: (from_x, from_y), size: (width, height) })
    }

    fn decode(&self, assembly: &Assembly, tile: &Tile) -> Result<DecodedTile, PipelineError> {
        let data = gather(self.source, &tile.extents);
        match assembly.codec {
            #[cfg(feature = "input-avif")]
            Codec::Av1 => super::avif::decode(&data, tile, assembly.tile_size).map(DecodedTile::Av1),
            #[cfg(feature = "input-heic")]
            Codec::Hevc => {
                super::heic::decode(&data, tile, assembly.tile_size).map(|picture| DecodedTile::Hevc(Box::new(picture)))
            }
            // Refused at its header already.
            #[cfg(not(all(feature = "input-avif", feature = "input-heic")))]
            _ => Err(PipelineError::bad_image("this build can't read its codec")),
        }
    }

    fn place<S: RasterSample>(
        &mut self,
        coded: &DecodedTile,
        canvas: &mut PaintTarget<S>,
        patch: Patch,
        alpha: bool,
    ) -> Result<(), PipelineError> {
        let planes = match coded {
            #[cfg(feature = "input-avif")]
            DecodedTile::Av1(picture) => picture.planes(),
            #[cfg(feature = "input-heic")]
            DecodedTile::Hevc(picture) => Some(picture.planes()),
        };
        let painted = planes.map(|planes| match planes {
            #[cfg(feature = "input-avif")]
            AnyPlanes::U8(planes) => self.place_planes(&planes, coded, canvas, patch, alpha),
            #[cfg(feature = "input-avif")]
            AnyPlanes::U16(planes) => self.place_planes(&planes, coded, canvas, patch, alpha),
            #[cfg(feature = "input-heic")]
            AnyPlanes::I32(planes) => self.place_planes(&planes, coded, canvas, patch, alpha),
        });
        painted.unwrap_or_else(|| Err(PipelineError::bad_image("its decoder gave too few samples")))
    }

    fn place_planes<T: Copy + Into<i32>, S: RasterSample>(
        &mut self,
        planes: &CodedPlanes<T>,
        coded: &DecodedTile,
        canvas: &mut PaintTarget<S>,
        patch: Patch,
        alpha: bool,
    ) -> Result<(), PipelineError> {
        let painted = if alpha {
            paint_alpha(planes, coded.full_range(), canvas, patch)
        } else {
            let said = *self.said.get_or_insert_with(|| coded.cicp().unwrap_or(UNSAID));
            let colours = if self.still.is_grey() { 1 } else { 3 };
            Conversion::new(said, planes.bits, S::FULL)?.paint(planes, canvas, patch, colours)
        };
        painted.ok_or_else(|| PipelineError::bad_image("its decoder gave too few samples"))
    }
}

impl DecodedTile {
    fn full_range(&self) -> bool {
        match self {
            #[cfg(feature = "input-avif")]
            Self::Av1(picture) => picture.full_range(),
            #[cfg(feature = "input-heic")]
            Self::Hevc(picture) => picture.full_range(),
        }
    }

    /// What the stream itself says of its colours. AV1 always names the range.
    fn cicp(&self) -> Option<Cicp> {
        match self {
            #[cfg(feature = "input-avif")]
            Self::Av1(picture) => picture.cicp().or(Some(Cicp { full_range: picture.full_range(), ..UNSAID })),
            #[cfg(feature = "input-heic")]
            Self::Hevc(picture) => picture.cicp(),
        }
    }
}

/// Of one side of a tile: where it starts in the window, where the window starts in it, and how much they share.
fn overlap(index: usize, tile: u32, start: u32, length: u32) -> Option<(usize, usize, usize)> {
    let (tile, start, length) = (tile as usize, start as usize, length as usize);
    let first = index * tile;
    let from = first.max(start);
    let to = (first + tile).min(start + length);
    (from < to).then(|| (from - start, from - first, to - from))
}

/// Takes alpha out of colours that were multiplied by it.
fn divide<S: RasterSample>(samples: &mut [S], channels: usize) {
    for pixel in samples.chunks_exact_mut(channels) {
        if let [colours @ .., alpha] = pixel {
            let alpha = alpha.value();
            for colour in colours.iter_mut().filter(|_| alpha > 0.0) {
                *colour = S::rounded(colour.value() * S::FULL / alpha);
            }
        }
    }
}
