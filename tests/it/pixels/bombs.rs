//! Small files that ask for much: refused from the header, or made to stay small.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Frame, ImageFormat, RgbaImage};
use mozjpeg::{ColorSpace, Compress};
use pixerve::job::{Format, VariantSpec};
use pixerve::pipeline::{InspectError, PipelineError, PixelLimits, SourceInfo, inspect};

use super::picture::{assert_like, file, photo, render, show, variant};
use super::tiff::Tiff;

fn inspected(source: &[u8]) -> Result<SourceInfo, InspectError> {
    inspect(Cursor::new(source), &PixelLimits::default())
}

/// A zlib stream of about `megabytes` of zeros: what a PNG of nothing has for data.
pub(crate) fn zeros(megabytes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1024, megabytes * 1024);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![0; megabytes as usize * 1024 * 1024]).expect("pixels");
    writer.finish().expect("an end");
    let mut stream = Vec::new();
    let mut rest = &bytes[8..];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if after.starts_with(b"IDAT") {
            stream.extend(&after[4..4 + length]);
        }
        rest = &after[8 + length..];
    }
    stream
}

#[test]
fn a_profile_or_text_that_unpacks_to_megabytes_is_passed_over() {
    let picture = photo(40, 30);
    let stream = zeros(48);
    assert!(stream.len() < 200_000, "{} bytes", stream.len());
    for (id, head) in [(*b"iCCP", &b"x\0\0"[..]), (*b"zTXt", b"x\0\0"), (*b"iTXt", b"x\0\x01\0\0\0")] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 40, 30);
        encoder.set_color(png::ColorType::Rgba);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_chunk(png::chunk::ChunkType(id), &[head, &stream].concat()).expect("a chunk");
        writer.write_image_data(&picture).expect("pixels");
        writer.finish().expect("an end");
        assert_eq!(show(&bytes, &variant(Format::Png, 0, 0)), picture, "{}", String::from_utf8_lossy(&id));
    }
}

/// A progressive JPEG whose last scan comes `times` times.
pub(crate) fn scans(times: usize) -> (RgbaImage, Vec<u8>) {
    let picture = photo(64, 48);
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(64, 48);
    compress.set_quality(95.0);
    compress.set_progressive_mode();
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    let rgb: Vec<u8> = picture.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
    started.write_scanlines(&rgb).expect("writes");
    let file = started.finish().expect("finishes");
    // A first scan of some coefficients may come again: it says the same.
    let start = file.windows(2).position(|w| w == [0xFF, 0xDA]).expect("a scan");
    let length = file[start + 4..].windows(2).position(|w| w[0] == 0xFF && w[1] != 0).expect("another segment") + 4;
    let scan = &file[start..start + length];
    (picture, [&file[..start], &scan.repeat(times - 1), &file[start..]].concat())
}

#[test]
fn a_thousand_scans_are_refused_and_a_few_dozen_are_not() {
    let (picture, many) = scans(30);
    assert_like("30 more", &show(&many, &variant(Format::Png, 0, 0)), &picture, 30.0);
    for tolerant in [false, true] {
        let spec = VariantSpec { tolerant, ..variant(Format::Png, 0, 0) };
        let error = render(&scans(1000).1, &[spec]).expect_err("a thousand scans");
        assert!(matches!(error, PipelineError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("scans"), "{error}");
    }
}

#[test]
fn screens_canvases_and_frames_that_lie_are_refused_from_the_header() {
    let screen = b"GIF89a\xFF\xFF\xFF\xFF\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    assert!(matches!(inspected(screen), Err(InspectError::TooLarge { .. })));
    let frame = b"GIF89a\x08\0\x08\0\0\0\0,\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\x02D\x01\0;";
    assert!(matches!(inspected(frame), Err(InspectError::Damaged { .. })));

    let mut bmp = file(photo(8, 8), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    assert!(matches!(inspected(&bmp), Err(InspectError::TooLarge { .. })));

    let still = file(photo(40, 30), ImageFormat::WebP);
    let anmf = |x: u8, width: u8, height: u8| {
        let mut frame = vec![x, 0, 0, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0, 100, 0, 0, 0];
        frame.extend(&still[12..]);
        let mut bytes =
            b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\x27\0\0\x1D\0\0ANIM\x06\0\0\0\0\0\0\0\0\0ANMF".to_vec();
        bytes.extend((frame.len() as u32).to_le_bytes());
        bytes.extend(frame);
        let size = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&size);
        bytes
    };
    assert_eq!(inspected(&anmf(0, 40, 30)).expect("a sound animation").frames, 1);
    assert_like("a frame", &show(&anmf(0, 40, 30), &variant(Format::Png, 0, 0)), &photo(40, 30), 45.0);
    for (lie, source) in [("smaller", anmf(0, 8, 8)), ("outside", anmf(1, 40, 30))] {
        let error = inspected(&source).expect_err(lie);
        assert!(matches!(error, InspectError::Damaged { .. }), "{lie}: {error}");
    }
}

#[test]
fn tiff_tiles_strips_and_directories_are_bounded() {
    let base = || Tiff::new((8, 8), 1, 8, 1, vec![0; 64]);
    let tile = base().with(322, &[60_000]).with(323, &[60_000]);
    assert!(matches!(inspected(&tile.file()), Err(InspectError::TooLarge { .. })));
    let strips = Tiff::new((1, 60_000), 1, 8, 1, Vec::new()).with(278, &[1]).in_chunks(vec![vec![0]; 60_000]);
    assert!(inspected(&strips.file()).is_ok(), "a strip a row is odd but honest");
    let spare = base().with(322, &[16]).with(323, &[16]).in_chunks(vec![vec![0; 256]; 300_000]);
    assert!(render(&spare.file(), &[variant(Format::Png, 8, 8)]).is_ok(), "places that nobody needs are not read");
    let tiny = Tiff::new((2_000, 2_000), 1, 8, 1, vec![0; 64]).with(322, &[1]).with(323, &[1]);
    assert!(matches!(inspected(&tiny.file()), Err(InspectError::TooLarge { .. })));
    let huge = Tiff::new((60_000, 60_000), 1, 1, 1, vec![0; 64]);
    assert!(matches!(inspected(&huge.file()), Err(InspectError::TooLarge { .. })));
    let lying = Tiff::new((9_000, 9_000), 1, 8, 1, vec![0; 64]);
    assert!(render(&lying.file(), &[variant(Format::Png, 8, 8)]).is_err(), "81 MP of which 64 bytes are there");
}

#[test]
fn an_animation_of_very_many_frames_is_refused() {
    let mut source = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut source, 30);
    encoder.encode_frames((0..11_000).map(|_| Frame::new(RgbaImage::new(1, 1)))).expect("frames");
    drop(encoder);
    let moving = VariantSpec { animated: true, ..variant(Format::Webp, 0, 0) };
    let error = render(&source, &[moving]).expect_err("too many");
    assert!(matches!(error, PipelineError::TooLarge { .. }), "{error}");
    assert_eq!(show(&source, &variant(Format::Png, 0, 0)).dimensions(), (1, 1));
}
