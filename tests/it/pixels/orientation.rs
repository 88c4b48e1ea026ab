//! All eight ways to hold a camera.

use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgba, RgbaImage};
use pixerve::job::{Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{PixelLimits, inspect};
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

use super::picture::{assert_like, file, jpeg, photo, show, variant};

/// An EXIF block that holds nothing but the orientation.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.push(orientation);
    block.extend([0; 6]);
    block
}

/// `jpeg` with `exif` as its first segment.
pub(super) fn with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let mut file = jpeg[..2].to_vec();
    file.extend([0xFF, 0xE1]);
    file.extend(u16::try_from(exif.len() + 8).expect("short").to_be_bytes());
    file.extend(b"Exif\0\0");
    file.extend(exif);
    file.extend(&jpeg[2..]);
    file
}

/// `upright` as a camera held that way stores it.
fn stored(upright: &RgbaImage, orientation: u8) -> RgbaImage {
    let inverse = match orientation {
        6 => 8,
        8 => 6,
        same => same,
    };
    let mut picture = DynamicImage::from(upright.clone());
    picture.apply_orientation(Orientation::from_exif(inverse).expect("1 to 8"));
    picture.into_rgba8()
}

#[test]
fn every_orientation_of_a_jpeg_comes_out_upright() {
    let upright = photo(96, 64);
    for orientation in 1..=8 {
        let source = with_exif(&jpeg(&stored(&upright, orientation)), &exif(orientation));
        let info = inspect(std::io::Cursor::new(&source), &PixelLimits::default()).expect("a JPEG");
        assert_eq!((info.width, info.height), (96, 64), "orientation {orientation}");

        let whole = show(&source, &variant(Format::Png, 0, 0));
        assert_like(&format!("orientation {orientation}"), &whole, &upright, 36.0);

        let resized = show(&source, &variant(Format::Png, 48, 0));
        let reference = image::imageops::resize(&upright, 48, 32, image::imageops::FilterType::Lanczos3);
        assert_like(&format!("orientation {orientation}, resized"), &resized, &reference, 34.0);

        let position = Position { x: 1, y: -1 };
        let corner = VariantSpec { fit: Fit::Cover, position, ..variant(Format::Png, 32, 64) };
        let reference = image::imageops::crop_imm(&upright, 64, 0, 32, 64).to_image();
        assert_like(&format!("orientation {orientation}, cut"), &show(&source, &corner), &reference, 36.0);
    }
}

#[test]
fn png_webp_and_tiff_are_turned_too() {
    let upright = photo(96, 64);
    for orientation in [2, 5, 6, 7, 8] {
        let stored = stored(&upright, orientation);
        let (width, height) = stored.dimensions();
        let block = exif(orientation);
        let rgb = DynamicImage::from(stored.clone()).into_rgb8();

        let mut png_file = Vec::new();
        let mut encoder = png::Encoder::new(&mut png_file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_chunk(png::chunk::ChunkType(*b"eXIf"), &block).expect("a chunk");
        writer.write_image_data(&rgb).expect("pixels");
        writer.finish().expect("an end");

        let mut webp_file = Vec::new();
        let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp_file);
        encoder.set_exif_metadata(block).expect("WebP holds EXIF");
        encoder.encode(&rgb, width, height, image::ExtendedColorType::Rgb8).expect("pixels");

        let mut tiff_file = std::io::Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut tiff_file).expect("a header");
        let mut page = encoder.new_image::<colortype::RGB8>(width, height).expect("a page");
        page.encoder().write_tag(Tag::Orientation, u16::from(orientation)).expect("a tag");
        page.write_data(&rgb).expect("pixels");

        for (what, source) in [("png", png_file), ("webp", webp_file), ("tiff", tiff_file.into_inner())] {
            let shown = show(&source, &variant(Format::Png, 0, 0));
            assert_eq!(shown, upright, "{what}, orientation {orientation}");
        }
    }
}

#[test]
fn an_orientation_that_does_not_exist_is_ignored() {
    let upright = RgbaImage::from_fn(9, 5, |x, y| Rgba([x as u8 * 20, y as u8 * 40, 0, 255]));
    let source = with_exif(&jpeg(&upright), &exif(9));
    assert_eq!(show(&source, &variant(Format::Png, 0, 0)).dimensions(), (9, 5));
    let plain = file(upright, ImageFormat::Bmp);
    assert_eq!(show(&plain, &variant(Format::Png, 0, 0)).dimensions(), (9, 5));
}
