//! Faults that leave every pixel where it is, and that decoders stumble over all the same: mended in a copy.

use std::io::Cursor;
use std::ops::Range;

use crate::job::SourceFormat;
use crate::pipeline::container::gif::{GifBlocks, GifEnd};
use crate::pipeline::container::png::{PngChunk, PngChunks};
use crate::pipeline::container::{BoundedReader, riff};

/// `source` as its decoder can read it, if that is another file.
///
/// What is missing of it stays missing: if that is pixels, the decoder finds out.
pub(in crate::pipeline) fn repaired(format: SourceFormat, source: &[u8]) -> Option<Vec<u8>> {
    match format {
        SourceFormat::Png => png(source),
        SourceFormat::Gif => gif(source),
        SourceFormat::Webp => webp(source),
        _ => None,
    }
}

/// Chunks of metadata that the header promises and that aren't there.
fn webp(source: &[u8]) -> Option<Vec<u8>> {
    /// Where the flags are, behind the headers of file and chunk.
    const FLAGS_AT: usize = 20;
    const PROMISES: [(u8, &[u8; 4]); 3] = [(0b10_0000, b"ICCP"), (0b1000, b"EXIF"), (0b100, b"XMP ")];
    let flags = *source.get(FLAGS_AT)?;
    if source.get(12..16)? != b"VP8X" || PROMISES.iter().all(|(flag, _)| flags & flag == 0) {
        return None;
    }
    let mut file = BoundedReader::new(Cursor::new(source)).ok()?;
    let there: Vec<[u8; 4]> = riff::chunks(&mut file).map(|chunk| chunk.id).collect();
    let broken = PROMISES.iter().filter(|(flag, id)| flags & flag != 0 && !there.contains(id));
    let kept = broken.fold(flags, |flags, (flag, _)| flags & !flag);
    (kept != flags).then(|| {
        let mut file = source.to_vec();
        file[FLAGS_AT] = kept;
        file
    })
}

fn png(source: &[u8]) -> Option<Vec<u8>> {
    let chunks = PngChunks::read(&mut BoundedReader::new(Cursor::new(source)).ok()?);
    let mask = transparent_level(source, &chunks);
    // Without its end a still is read, row by row; the frames of an animation are not.
    let ended = chunks.ended || chunks.of(b"acTL").next().is_none();
    if ended && mask.is_none() {
        return None;
    }
    let mut file = source.to_vec();
    if let Some((at, level)) = mask {
        let chunk = at - 4..at + 2;
        file[at] = 0;
        file[at + 1] = level;
        let checksum = crc32fast::hash(&file[chunk.clone()]);
        file.get_mut(chunk.end..chunk.end + 4)?.copy_from_slice(&checksum.to_be_bytes());
    }
    if !ended {
        end_png(&mut file, &chunks);
    }
    Some(file)
}

/// Where the grey level is that is transparent, and what it should be: of the two bytes only as many bits count as a
/// sample has. The decoder compares all of the second.
fn transparent_level(source: &[u8], chunks: &PngChunks) -> Option<(usize, u8)> {
    let [depth @ 1..8, 0, ..] = source.get(24..)? else { return None };
    let PngChunk { data: Range { start, end }, .. } = chunks.of(b"tRNS").next()?;
    let (at, length) = (usize::try_from(*start).ok()?, end - start);
    let [high, low] = *source.get(at..)?.first_chunk()?;
    let level = low & ((1 << depth) - 1);
    (length == 2 && [high, low] != [0, level]).then_some((at, level))
}

/// Ends a file that ends early: its last chunk of data becomes as long as it is, and what else was cut is left out.
fn end_png(file: &mut Vec<u8>, chunks: &PngChunks) {
    const IEND: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";
    if let Some(PngChunk { id, data }) = chunks.chunks.last()
        && data.end + 4 > file.len() as u64
    {
        let start = usize::try_from(data.start).unwrap_or(usize::MAX).min(file.len());
        let is_data = matches!(id, b"IDAT" | b"fdAT");
        file.truncate(if is_data {
            usize::try_from(data.end).unwrap_or(usize::MAX).min(file.len())
        } else {
            start - 8
        });
        if is_data {
            let length = u32::try_from(file.len() - start).unwrap_or(u32::MAX);
            file[start - 8..start - 4].copy_from_slice(&length.to_be_bytes());
            let checksum = crc32fast::hash(&file[start - 4..]);
            file.extend(checksum.to_be_bytes());
        }
    }
    file.extend(IEND);
}

fn gif(source: &[u8]) -> Option<Vec<u8>> {
    let found = GifBlocks::read(&mut BoundedReader::new(Cursor::new(source)).ok()?).ok()?;
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(source.len());
    let mut file;
    match found.end {
        GifEnd::Trailer | GifEnd::InImage => return None,
        GifEnd::NoTrailer(at) | GifEnd::InExtension(at) => file = source[..index(at)].to_vec(),
        GifEnd::InData { length_at } => {
            file = source.to_vec();
            let at = index(length_at);
            let left = file.len().saturating_sub(at + 1);
            match file.get_mut(at) {
                Some(length) => *length = u8::try_from(left).unwrap_or(u8::MAX),
                None => file.push(0),
            }
            if left > 0 {
                file.push(0);
            }
        }
    }
    file.push(0x3B);
    Some(file)
}
