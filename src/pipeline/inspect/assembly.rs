//! The coded pictures that an item is made of, and whether they may be what they claim.

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::coded::{Assembly, Codec, CodedSize, Tile};
use super::{InspectError, avif, heic};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::isobmff::{BoxFields, Code, Items};

/// Coded pictures that one picture may be assembled from. Phones make tiles of 512 pixels: 400 for 100 MP.
const TILES_MAX: usize = 4096;

/// Properties that change or explain the picture and are understood here, or that may be passed over.
const KNOWN: [Code; 17] = [
    *b"ispe", *b"pixi", *b"colr", *b"auxC", *b"irot", *b"imir", *b"clap", *b"pasp", *b"hvcC", *b"av1C", *b"a1op",
    *b"a1lx", *b"lsel", *b"clli", *b"mdcv", *b"cclv", *b"amve",
];

/// How `item` is put together. `size` is what it should have, should it not say.
pub(super) fn assembly<R: BufRead + Seek>(
    items: &Items,
    item: u32,
    size: Option<(u32, u32)>,
    source: &mut BoundedReader<R>,
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

fn grid<R: BufRead + Seek>(items: &Items, item: u32, source: &mut BoundedReader<R>) -> Result<Assembly, InspectError> {
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
pub(super) fn tiled(items: &Items, parts: &[u32], columns: u32, size: (u32, u32)) -> Result<Assembly, InspectError> {
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
    let mut fields = BoxFields(bytes);
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
    let mut fields = BoxFields(items.property(item, *b"ispe")?);
    fields.take(4)?;
    Some((fields.u32()?, fields.u32()?))
}

/// Holds what the file claims against what decoding it would cost.
pub(super) fn check(colour: &Assembly, alpha: Option<&Assembly>, file: u64) -> Result<(), InspectError> {
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
            let coded = stream.coded.unwrap_or(CodedSize { size: part.tile_size, pixels: tile });
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
    source: &mut BoundedReader<R>,
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
