//! Whether a file goes on to its end. Decoders answer Ok for a JPEG that is cut in the middle; its structure shows it.

use std::io::Cursor;

use crate::job::SourceFormat;
use crate::pipeline::container::gif::{GifBlocks, GifEnd};
use crate::pipeline::container::jpeg::Jpeg;
use crate::pipeline::container::png::PngChunks;
use crate::pipeline::container::{BoundedReader, riff};

/// Whether `source` holds everything up to the marker that ends its format. What comes behind is not looked at: trailing
/// bytes and second pictures (gain maps, MPF) are harmless. TIFF and BMP have no such marker; their decoders fail.
pub(in crate::pipeline) fn is_complete(format: SourceFormat, source: &[u8]) -> bool {
    let Ok(mut file) = BoundedReader::new(Cursor::new(source)) else { return false };
    match format {
        SourceFormat::Jpeg => Jpeg::of(source).is_complete(),
        SourceFormat::Png => PngChunks::read(&mut file).ended,
        SourceFormat::Gif => GifBlocks::read(&mut file).is_ok_and(|found| found.end == GifEnd::Trailer),
        SourceFormat::Webp => riff::announced_length(&mut file).is_some_and(|length| file.length() >= length),
        SourceFormat::Avif | SourceFormat::Heic => super::items::is_complete(source),
        SourceFormat::Tiff | SourceFormat::Bmp => true,
    }
}

/// Whether every pixel may be there, of the first picture or, if it `moves`, of all: of some formats the end is a mere
/// formality, and only their decoder knows what is there without it.
pub(in crate::pipeline) fn may_be_whole(format: SourceFormat, source: &[u8], moves: bool) -> bool {
    match format {
        SourceFormat::Gif if moves => {
            let found = BoundedReader::new(Cursor::new(source)).and_then(|mut file| GifBlocks::read(&mut file));
            found.is_ok_and(|found| found.end != GifEnd::InImage)
        }
        SourceFormat::Gif | SourceFormat::Png => true,
        _ => is_complete(format, source),
    }
}
