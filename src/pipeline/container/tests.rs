//! What holds for every walker, whatever a file says.

use std::io::Cursor;

use proptest::prelude::*;

use super::gif::{GifBlocks, GifEnd};
use super::isobmff::Items;
use super::png::PngChunks;
use super::tiff::{TiffDirectory, tag};
use super::{BoundedReader, riff};

/// A file that begins as one of a format does, and goes on in any way.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let heads = prop::sample::select(vec![
        b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR".to_vec(),
        b"RIFF\xFF\xFF\0\0WEBPVP8X\x0A\0\0\0".to_vec(),
        b"GIF89a\x08\0\x08\0\x80\0\0".to_vec(),
        b"II\x2A\0\x08\0\0\0\x05\0".to_vec(),
        b"MM\0\x2B\0\x08\0\0\0\0\0\0\0\0\0\x10".to_vec(),
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\x01\0meta".to_vec(),
    ]);
    let small = prop_oneof![3 => 0..4_u8, 1 => any::<u8>(), 1 => Just(0xFF_u8), 1 => Just(b','), 1 => Just(b'!')];
    (heads, prop::collection::vec(small, 0..400)).prop_map(|(head, rest)| [head, rest].concat())
}

proptest! {
    #[test]
    fn walkers_come_to_an_end_and_stay_inside(file in file()) {
        let length = file.len() as u64;
        let mut source = BoundedReader::new(Cursor::new(&file[..])).expect("memory");
        for chunk in PngChunks::read(&mut source).chunks {
            prop_assert!(chunk.data.start <= length);
        }
        for chunk in riff::chunks(&mut source) {
            prop_assert!(chunk.data.start <= length);
        }
        if let Ok(found) = GifBlocks::read(&mut source) {
            match found.end {
                GifEnd::NoTrailer(at) | GifEnd::InExtension(at) => prop_assert!(at <= length.max(13 + 768)),
                GifEnd::InData { length_at } => prop_assert!(length_at <= length),
                GifEnd::Trailer | GifEnd::InImage => {}
            }
            found.plays(&mut source);
        }
        if let Ok(directory) = TiffDirectory::read(&mut source) {
            for tag in [tag::WIDTH, tag::STRIP_OFFSETS, tag::COPYRIGHT, 0, 1, 256] {
                let numbers = directory.numbers(&mut source, tag, 1_000_000).unwrap_or_default();
                prop_assert!(numbers.len() as u64 <= length);
                let bytes = directory.bytes(&mut source, tag, 1_000_000).unwrap_or_default();
                prop_assert!(bytes.len() as u64 <= length);
            }
        }
        source.seek_to(0).expect("memory");
        let _ = Items::read(&mut source);
    }

    #[test]
    fn a_reader_knows_where_it_stands(file in file(), steps in prop::collection::vec((0..4_u8, 0..64_u64), 0..40)) {
        let mut source = BoundedReader::new(Cursor::new(&file[..])).expect("memory");
        let mut at = 0;
        for (step, count) in steps {
            let left = (file.len() as u64).saturating_sub(at);
            match step {
                0 => { source.seek_to(count).expect("memory"); at = count; }
                1 => { source.skip(count).expect("memory"); at += count; }
                2 => {
                    let taken = source.take(count, 32);
                    prop_assert_eq!(taken.is_ok(), left >= count.min(32));
                    if taken.is_ok() { at += count; } else { prop_assert_eq!(source.position().expect("memory"), at); }
                }
                _ => {
                    if let Ok(byte) = source.byte() {
                        prop_assert_eq!(byte, file[usize::try_from(at).expect("small")]);
                        at += 1;
                    } else {
                        prop_assert!(left == 0);
                        // What is read past the end leaves it anywhere.
                        at = source.position().expect("memory");
                    }
                }
            }
            prop_assert_eq!(source.position().expect("memory"), at);
        }
    }
}
