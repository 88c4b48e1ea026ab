//! AVIF and HEIC: which coded pictures make up the picture that the file shows, and how (ISO/IEC 23008-12).
//!
//! Orientation comes from the transforming properties alone. What EXIF says about it is for the camera's own use.

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::isobmff::{Code, Fields, Items, brands};
use super::source::Source;
use super::transform::Placement;
use super::{Header, InspectError, avif, heic};
use crate::job::SourceFormat;

/// Brands of files that hold a still picture, or a sequence that shows one.
const BRANDS: [Code; 11] =
    [*b"avif", *b"avis", *b"heic", *b"heix", *b"heim", *b"heis", *b"hevc", *b"hevx", *b"mif1", *b"mif2", *b"msf1"];

/// Coded pictures that one picture may be assembled from. Phones make tiles of 512 pixels: 400 for 100 MP.
const TILES_MAX: usize = 4096;

/// Pictures that may stand for another (`iden`), one after the other.
const CHAIN_MAX: usize = 8;

/// Properties that change or explain the picture and are understood here, or that may be passed over.
const KNOWN: [Code; 17] = [
    *b"ispe", *b"pixi", *b"colr", *b"auxC", *b"irot", *b"imir", *b"clap", *b"pasp", *b"hvcC", *b"av1C", *b"a1op",
    *b"a1lx", *b"lsel", *b"clli", *b"mdcv", *b"cclv", *b"amve",
];

/// How a picture's samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Codec {
    Av1,
    Hevc,
}

impl Codec {
    fn format(self) -> SourceFormat {
        match self {
            Self::Av1 => SourceFormat::Avif,
            Self::Hevc => SourceFormat::Heic,
        }
    }
}

/// How many chroma samples there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Chroma {
    /// None: grey.
    None,
    /// 4:2:0.
    Quarter,
    /// 4:2:2.
    Half,
    /// 4:4:4.
    Full,
}

impl Chroma {
    /// Luma samples per chroma sample, across and down.
    pub(in crate::pipeline) fn steps(self) -> (u32, u32) {
        match self {
            Self::Quarter => (2, 2),
            Self::Half => (2, 1),
            Self::None | Self::Full => (1, 1),
        }
    }
}

/// What a codec's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Stream {
    /// Bits a sample: 8 to 16.
    pub(in crate::pipeline) bits: u8,
    pub(in crate::pipeline) chroma: Chroma,
    /// Whether chroma lies on the columns of luma, not between them.
    pub(in crate::pipeline) cosited: bool,
    /// The size, where the configuration has it.
    pub(in crate::pipeline) coded: Option<Coded>,
    /// The configuration itself, where the decoder needs it.
    pub(in crate::pipeline) configuration: Vec<u8>,
}

/// Sizes that a stream claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Coded {
    /// As shown.
    pub(in crate::pipeline) size: (u32, u32),
    /// As decoded, padding included.
    pub(in crate::pipeline) pixels: u64,
}

/// One coded picture.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Tile {
    pub(in crate::pipeline) stream: Stream,
    /// AV1: which of its operating points to decode.
    pub(in crate::pipeline) operating_point: u8,
    /// Where its bytes lie in the file.
    pub(in crate::pipeline) extents: Vec<Range<u64>>,
}

/// A picture made of one coded picture or a grid of them, all of one size, the last ones overhanging.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Assembly {
    pub(in crate::pipeline) codec: Codec,
    /// (width, height).
    pub(in crate::pipeline) size: (u32, u32),
    /// (width, height) of each tile.
    pub(in crate::pipeline) tile_size: (u32, u32),
    /// Tiles a row.
    pub(in crate::pipeline) columns: u32,
    /// Row by row.
    pub(in crate::pipeline) tiles: Vec<Tile>,
}

/// Colours by number (ITU-T H.273).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Cicp {
    pub(in crate::pipeline) primaries: u8,
    pub(in crate::pipeline) transfer: u8,
    pub(in crate::pipeline) matrix: u8,
    pub(in crate::pipeline) full_range: bool,
}

/// The picture that a file shows.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Still {
    pub(in crate::pipeline) colour: Assembly,
    pub(in crate::pipeline) alpha: Option<Assembly>,
    /// Whether the colours are multiplied by alpha.
    pub(in crate::pipeline) premultiplied: bool,
    /// What of it is shown, and how that becomes upright.
    pub(in crate::pipeline) placement: Placement,
    /// The file's word on its colours; without one, the stream's counts.
    pub(in crate::pipeline) cicp: Option<Cicp>,
    pub(in crate::pipeline) icc: Option<Vec<u8>>,
    /// Where the EXIF item's bytes lie in the file.
    pub(in crate::pipeline) exif: Vec<Range<u64>>,
}

pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<(SourceFormat, Header), InspectError> {
    let still = Still::read(source)?;
    let format = still.colour.codec.format();
    let readable = match still.colour.codec {
        Codec::Av1 => cfg!(feature = "input-avif"),
        Codec::Hevc => cfg!(feature = "input-heic"),
    };
    if !readable {
        let name = if format == SourceFormat::Avif { "AVIF" } else { "HEIC" };
        return Err(InspectError::unsupported(format!("{name} can't be read by this build")));
    }
    let (_, _, width, height) = still.placement.window;
    let mut header = Header::still(width, height, still.channels());
    header.bits = if still.bits() > 8 { 16 } else { 8 };
    header.orientation = still.placement.orientation();
    Ok((format, header))
}

impl Still {
    /// Reads what the file shows, from `ftyp` and `meta` alone.
    pub(super) fn read<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Self, InspectError> {
        source.seek_to(0)?;
        if !brands(source)?.iter().any(|brand| BRANDS.contains(brand)) {
            return Err(InspectError::unsupported("this is a video or another ISO media file, not an image"));
        }
        source.seek_to(0)?;
        let items = Items::read(source)?;
        let chain = chain(&items)?;
        let shown = *chain.last().unwrap_or(&items.primary);
        let colour = assembly(&items, shown, None, source)?;
        let (mut alpha, mut premultiplied) = (None, false);
        if let Some(item) = chain.iter().find_map(|id| alpha_of(&items, *id)) {
            alpha = Some(assembly(&items, item, Some(colour.size), source)?);
            premultiplied = chain.iter().any(|id| items.referred(*id, *b"prem").contains(&item));
        } else if items.kind(shown) == Some(b"grid") {
            // Or each tile has its own.
            let parts: Option<Vec<_>> =
                items.referred(shown, *b"dimg").iter().map(|id| alpha_of(&items, *id)).collect();
            if let Some(parts) = parts {
                alpha = Some(tiled(&items, &parts, colour.columns, colour.size)?);
            }
        }
        check(&colour, alpha.as_ref(), source.length())?;

        // The source's own transforms come before those of what stands for it.
        let mut placement = Placement::whole(colour.size);
        for (code, body, _) in chain.iter().rev().flat_map(|id| items.properties(*id)) {
            placement
                .apply(*code, body)
                .ok_or_else(|| InspectError::damaged("it is cropped or turned in no way there is"))?;
        }
        // Some writers describe the tiles' colours, not the grid's.
        let described = || chain.iter().chain(items.referred(shown, *b"dimg").first());
        let colours = || described().flat_map(|id| items.properties(*id)).filter(|(code, ..)| *code == b"colr");
        let cicp = colours().find_map(|(_, body, _)| nclx(body));
        let icc = colours()
            .find_map(|(_, body, _)| body.strip_prefix(b"prof").or(body.strip_prefix(b"rICC")).map(<[u8]>::to_vec));
        let exif = exif_item(&items, &chain).map_or(Vec::new(), |id| items.extents(id).to_vec());
        Ok(Self { colour, alpha, premultiplied, placement, cicp, icc, exif })
    }

    /// Bits a colour sample.
    pub(in crate::pipeline) fn bits(&self) -> u8 {
        self.colour.tiles.first().map_or(8, |tile| tile.stream.bits)
    }

    /// Samples a pixel of the raster: grey stays so unless a profile speaks of RGB.
    pub(in crate::pipeline) fn channels(&self) -> u8 {
        u8::from(self.alpha.is_some()) + if self.is_grey() { 1 } else { 3 }
    }

    /// Whether there is lightness alone, in the file and in what explains it.
    pub(in crate::pipeline) fn is_grey(&self) -> bool {
        let grey = self.colour.tiles.first().is_some_and(|tile| tile.stream.chroma == Chroma::None);
        grey && match &self.icc {
            Some(icc) => icc.get(16..20) == Some(b"GRAY"),
            None => self.cicp.is_none_or(|cicp| matches!(cicp.transfer, 1 | 2 | 6 | 13 | 14 | 15)),
        }
    }

    /// Every stretch of the file that holds samples.
    pub(in crate::pipeline) fn extents(&self) -> impl Iterator<Item = &Range<u64>> {
        let tiles = self.colour.tiles.iter().chain(self.alpha.iter().flat_map(|alpha| &alpha.tiles));
        tiles.flat_map(|tile| &tile.extents)
    }
}

/// The primary item, and what it stands for, to the last.
fn chain(items: &Items) -> Result<Vec<u32>, InspectError> {
    let mut chain = vec![items.primary];
    let mut item = items.primary;
    while items.kind(item) == Some(b"iden") {
        item = *items.referred(item, *b"dimg").first().ok_or_else(|| InspectError::damaged("it shows nothing"))?;
        chain.push(item);
        if chain.len() > CHAIN_MAX {
            return Err(InspectError::damaged("its pictures stand for one another"));
        }
    }
    Ok(chain)
}

/// How `item` is put together. `size` is what it should have, should it not say.
fn assembly<R: BufRead + Seek>(
    items: &Items,
    item: u32,
    size: Option<(u32, u32)>,
    source: &mut Source<R>,
) -> Result<Assembly, InspectError> {
    known(items, item)?;
    if items.kind(item) == Some(b"grid") {
        return grid(items, item, source);
    }
    let (codec, tile) = tile(items, item)?;
    let said = ispe(items, item);
    let told = tile.stream.coded.map(|coded| coded.size);
    let size = said.or(told).or(size).ok_or_else(|| InspectError::damaged("it doesn't say how large it is"))?;
    Ok(Assembly { codec, size, tile_size: size, columns: 1, tiles: vec![tile] })
}

fn grid<R: BufRead + Seek>(items: &Items, item: u32, source: &mut Source<R>) -> Result<Assembly, InspectError> {
    let descriptor = read(source, items.extents(item), 12)?;
    let (rows, columns, size) =
        grid_descriptor(&descriptor).ok_or_else(|| InspectError::damaged("its grid is cut short"))?;
    let parts = items.referred(item, *b"dimg");
    if parts.len() != rows as usize * columns as usize {
        let detail = format!("its grid has {columns} x {rows} tiles, of which it names {}", parts.len());
        return Err(InspectError::damaged(detail));
    }
    if parts.len() > TILES_MAX {
        return Err(InspectError::TooLarge { detail: format!("{} tiles; {TILES_MAX} are allowed", parts.len()) });
    }
    tiled(items, parts, columns, size)
}

/// A grid of these items, row by row.
fn tiled(items: &Items, parts: &[u32], columns: u32, size: (u32, u32)) -> Result<Assembly, InspectError> {
    let mut tiles = Vec::with_capacity(parts.len());
    let mut first = None;
    for part in parts {
        let (codec, tile) = tile(items, *part)?;
        let told = tile.stream.coded.map(|coded| coded.size);
        let size = ispe(items, *part).or(told).ok_or_else(|| InspectError::damaged("a tile has no size"))?;
        let kind = (codec, size, tile.stream.bits, tile.stream.chroma);
        if *first.get_or_insert(kind) != kind {
            return Err(InspectError::damaged("the tiles of its grid differ"));
        }
        tiles.push(tile);
    }
    let (codec, tile_size, ..) = first.ok_or_else(|| InspectError::damaged("its grid is empty"))?;
    Ok(Assembly { codec, size, tile_size, columns, tiles })
}

/// Rows, columns, and the size of the whole.
fn grid_descriptor(bytes: &[u8]) -> Option<(u32, u32, (u32, u32))> {
    let mut fields = Fields(bytes);
    let [_, flags, rows, columns] = fields.array()?;
    let mut side = || if flags & 1 == 1 { fields.u32() } else { fields.u16().map(u32::from) };
    Some((u32::from(rows) + 1, u32::from(columns) + 1, (side()?, side()?)))
}

fn tile(items: &Items, item: u32) -> Result<(Codec, Tile), InspectError> {
    known(items, item)?;
    let kind = items.kind(item).copied().unwrap_or(*b"none");
    let (codec, configuration) = match &kind {
        b"av01" => (Codec::Av1, items.property(item, *b"av1C")),
        b"hvc1" | b"hev1" => (Codec::Hevc, items.property(item, *b"hvcC")),
        _ => {
            let detail = format!("a picture of the type `{}` in an ISO media file can't be read", kind.escape_ascii());
            return Err(InspectError::unsupported(detail));
        }
    };
    let missing = || InspectError::damaged("its codec is not configured");
    let body = configuration.ok_or_else(missing)?;
    let stream = match codec {
        Codec::Av1 => avif::stream(body),
        Codec::Hevc => heic::stream(body),
    };
    let stream = stream.ok_or_else(|| InspectError::unsupported("this kind of its codec can't be read"))?;
    let operating_point = items.property(item, *b"a1op").and_then(|body| body.first().copied()).unwrap_or(0);
    Ok((codec, Tile { stream, operating_point, extents: items.extents(item).to_vec() }))
}

/// Refuses an item of which something must be known that isn't.
fn known(items: &Items, item: u32) -> Result<(), InspectError> {
    for (code, body, essential) in items.properties(item) {
        // A layer other than the best is asked for.
        let layer = code == b"lsel" && body != [0xFF, 0xFF];
        if layer || (essential && !KNOWN.contains(code)) {
            let detail = format!("its `{}` can't be followed, and must be", code.escape_ascii());
            return Err(InspectError::unsupported(detail));
        }
    }
    Ok(())
}

fn ispe(items: &Items, item: u32) -> Option<(u32, u32)> {
    let mut fields = Fields(items.property(item, *b"ispe")?);
    fields.take(4)?;
    Some((fields.u32()?, fields.u32()?))
}

fn nclx(body: &[u8]) -> Option<Cicp> {
    let mut fields = Fields(body.strip_prefix(b"nclx")?);
    let mut number = || fields.u16().map(|number| u8::try_from(number).unwrap_or(2));
    let (primaries, transfer, matrix) = (number()?, number()?, number()?);
    Some(Cicp { primaries, transfer, matrix, full_range: fields.u8()? >> 7 == 1 })
}

/// The auxiliary picture that is `item`'s alpha.
fn alpha_of(items: &Items, item: u32) -> Option<u32> {
    items.referring(item, *b"auxl").find(|id| {
        let kind = items.property(*id, *b"auxC").and_then(|body| body.get(4..)).unwrap_or_default();
        let kind = kind.split(|byte| *byte == 0).next().unwrap_or_default();
        kind == b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" || kind == b"urn:mpeg:hevc:2015:auxid:1"
    })
}

fn exif_item(items: &Items, chain: &[u32]) -> Option<u32> {
    let described = |id: &u32| items.referred(*id, *b"cdsc");
    let of_this = |id: &u32| described(id).iter().any(|to| chain.contains(to));
    // Some writers don't say what it describes.
    let found = items.of_kind(*b"Exif").find(of_this);
    found.or_else(|| items.of_kind(*b"Exif").find(|id| described(id).is_empty()))
}

/// Holds what the file claims against what decoding it would cost.
fn check(colour: &Assembly, alpha: Option<&Assembly>, file: u64) -> Result<(), InspectError> {
    if let Some(alpha) = alpha
        && (alpha.size, alpha.codec) != (colour.size, colour.codec)
    {
        return Err(InspectError::unsupported("its alpha channel has another size than its colours"));
    }
    let mut bytes = 0_u64;
    for part in [Some(colour), alpha].into_iter().flatten() {
        let ((width, height), (across, down)) = (part.size, part.tile_size);
        let rows = u32::try_from(part.tiles.len()).unwrap_or(u32::MAX).div_ceil(part.columns);
        let covers = |whole: u32, tile: u32, count: u32| {
            let (whole, tile, count) = (u64::from(whole), u64::from(tile), u64::from(count));
            tile > 0 && (count - 1) * tile < whole && whole <= count * tile
        };
        if !covers(width, across, part.columns) || !covers(height, down, rows) {
            return Err(InspectError::damaged("the tiles of its grid don't make up its size"));
        }
        let (pixels, tile) = (u64::from(width) * u64::from(height), u64::from(across) * u64::from(down));
        for stream in part.tiles.iter().map(|tile| &tile.stream) {
            let coded = stream.coded.unwrap_or(Coded { size: part.tile_size, pixels: tile });
            // Padding goes to the next multiple of a coding block, 64 at most.
            let padded = (u64::from(across.div_ceil(64)) * u64::from(down.div_ceil(64))).saturating_mul(64 * 64);
            if coded.size != part.tile_size || coded.pixels > padded {
                return Err(InspectError::damaged("its codec tells another size than its container"));
            }
        }
        if tile > pixels.saturating_mul(4).max(1 << 20) {
            return Err(InspectError::damaged("its tiles are far larger than itself"));
        }
        let extents = part.tiles.iter().flat_map(|tile| &tile.extents);
        bytes = extents.fold(bytes, |sum, range| sum.saturating_add(range.end.min(file).saturating_sub(range.start)));
    }
    // Tiles may share their bytes, but not so that a small file takes long.
    if bytes > file.saturating_mul(8) {
        return Err(InspectError::damaged("its pictures use the same bytes over and over"));
    }
    Ok(())
}

/// The first bytes of an item, up to `max`.
fn read<R: BufRead + Seek>(
    source: &mut Source<R>,
    extents: &[Range<u64>],
    max: usize,
) -> Result<Vec<u8>, InspectError> {
    let mut bytes = Vec::new();
    for range in extents {
        source.seek_to(range.start.min(source.length()))?;
        let wanted = (max - bytes.len()) as u64;
        let length = (range.end - range.start).min(wanted).min(source.left()?);
        bytes.extend(source.take(length, max)?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_of_large_tiles_has_sides_of_32_bits() {
        let small = [0, 0, 1, 2, 0x10, 0, 0x08, 0];
        assert_eq!(grid_descriptor(&small), Some((2, 3, (4096, 2048))));
        let large = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9];
        assert_eq!(grid_descriptor(&large), Some((1, 1, (65_536, 9))));
        assert_eq!(grid_descriptor(&large[..11]), None);
    }
}
