//! Files without their end: truncated is what lacks pixels.

use std::io::Write;

use image::{ImageFormat, Rgba, RgbaImage};
use pixerve::job::{Format, VariantSpec};
use pixerve::pipeline::PipelineError;

use super::animation::frames;
use super::picture::{file, photo, png, render, show, variant};

fn strict(source: &[u8]) -> Result<(), PipelineError> {
    render(source, &[variant(Format::Png, 0, 0)]).map(|_| ())
}

/// A chunk of a PNG.
fn chunk(id: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&id[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// A PNG of RGB in seven passes.
fn interlaced(picture: &RgbaImage) -> Vec<u8> {
    let passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
    let mut rows = Vec::new();
    for (left, top, across, down) in passes {
        for y in (top..picture.height()).step_by(down) {
            let pixels = (left..picture.width()).step_by(across).flat_map(|x| picture.get_pixel(x, y).0[..3].to_vec());
            let row: Vec<u8> = pixels.collect();
            if !row.is_empty() {
                rows.push(0);
                rows.extend(row);
            }
        }
    }
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&rows).expect("memory");
    let header = [&picture.width().to_be_bytes()[..], &picture.height().to_be_bytes(), &[8, 2, 0, 0, 1]].concat();
    let data = encoder.finish().expect("memory");
    [&b"\x89PNG\r\n\x1A\n"[..], &chunk(*b"IHDR", &header), &chunk(*b"IDAT", &data), &chunk(*b"IEND", &[])].concat()
}

#[test]
fn a_png_that_lacks_what_comes_behind_its_pixels_is_whole() {
    let picture = photo(61, 47);
    for (what, source) in
        [("rows", png(&picture)), ("passes", interlaced(&picture)), ("one pixel", interlaced(&photo(1, 1)))]
    {
        let expected = show(&source, &variant(Format::Png, 0, 0));
        // IEND, its data's checksum, the checksum of what was compressed.
        for cut in [1, 12, 14, 16, 20] {
            let shown = show(&source[..source.len() - cut], &variant(Format::Png, 0, 0));
            assert!(shown == expected, "{what}, {cut} bytes less");
        }
        if source.len() > 200 {
            assert!(matches!(strict(&source[..source.len() - 60]), Err(PipelineError::Truncated)), "{what}");
        }
    }
}

#[test]
fn a_png_whose_pixels_fail_their_checksum_is_damaged() {
    for mut source in [png(&photo(61, 47)), interlaced(&photo(61, 47))] {
        // The last byte before the twelve of IEND.
        let at = source.len() - 13;
        source[at] ^= 1;
        assert!(strict(&source).is_err_and(|error| !matches!(error, PipelineError::Truncated)));
    }
}

#[test]
fn a_gif_that_lacks_what_comes_behind_its_pixels_is_whole() {
    let picture = photo(40, 30);
    let source = file(picture, ImageFormat::Gif);
    let expected = show(&source, &variant(Format::Png, 0, 0));
    for cut in [1, 2] {
        assert!(show(&source[..source.len() - cut], &variant(Format::Png, 0, 0)) == expected, "{cut} bytes less");
    }
    assert!(matches!(strict(&source[..source.len() - 40]), Err(PipelineError::Truncated)));
    let trailing = [&source[..source.len() - 1], b"and more"].concat();
    assert!(show(&trailing, &variant(Format::Png, 0, 0)) == expected, "what comes instead of the trailer is no block");
}

#[test]
fn an_animation_without_its_end_has_all_its_frames() {
    let pictures =
        [[200, 0, 0], [0, 200, 0], [0, 0, 200]].map(|[r, g, b]| RgbaImage::from_pixel(12, 8, Rgba([r, g, b, 255])));
    let mut gif = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
    encoder.encode_frames(pictures.iter().cloned().map(image::Frame::new)).expect("frames");
    drop(encoder);
    let mut apng = Vec::new();
    let mut encoder = png::Encoder::new(&mut apng, 12, 8);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(3, 0).expect("animated");
    let mut writer = encoder.write_header().expect("a header");
    for picture in &pictures {
        writer.write_image_data(picture).expect("a frame");
    }
    writer.finish().expect("an end");
    let moving = VariantSpec { animated: true, quality: Some(100), ..variant(Format::Webp, 0, 0) };
    for (what, source, end) in [("GIF", gif, 1), ("APNG", apng, 12)] {
        let rendered =
            render(&source[..source.len() - end], std::slice::from_ref(&moving)).expect("all is there").remove(0);
        let found: Vec<_> = frames(&rendered.bytes).1.into_iter().map(|(frame, _)| *frame.get_pixel(5, 5)).collect();
        assert_eq!(found, pictures.iter().map(|picture| *picture.get_pixel(5, 5)).collect::<Vec<_>>(), "{what}");
        let cut = &source[..source.len() - end - 24];
        assert!(matches!(render(cut, std::slice::from_ref(&moving)), Err(PipelineError::Truncated)), "{what} cut");
    }
}
