//! Every format in, every format out, and the odd but legal.

use image::{DynamicImage, ImageFormat, RgbaImage};
use pixerve::encoder::{EncodeSettings, Encoder, Picture, Pixels, Png};
use pixerve::job::{Format, SourceFormat, VariantSpec};
use pixerve::pipeline::{PixelLimits, inspect};
use png::{BitDepth, ColorType};

use super::picture::{assert_like, decode, file, jpeg, photo, png, psnr_min, render, show, variant};

#[test]
fn every_format_that_can_be_read_is_recognised_by_its_bytes() {
    let picture = photo(30, 20);
    let rgb = || DynamicImage::from(picture.clone()).into_rgb8();
    let sources = [
        (SourceFormat::Jpeg, jpeg(&picture), 30.0),
        (SourceFormat::Png, png(&picture), f64::INFINITY),
        (SourceFormat::Webp, file(picture.clone(), ImageFormat::WebP), f64::INFINITY),
        (SourceFormat::Gif, file(picture.clone(), ImageFormat::Gif), 25.0),
        (SourceFormat::Tiff, file(rgb(), ImageFormat::Tiff), f64::INFINITY),
        (SourceFormat::Bmp, file(rgb(), ImageFormat::Bmp), f64::INFINITY),
    ];
    for (format, source, psnr_min) in sources {
        let info = inspect(std::io::Cursor::new(&source), &PixelLimits::default()).expect("an image");
        assert_eq!((info.format, info.width, info.height, info.frames), (format, 30, 20, 1));
        assert_like(&format!("{format:?}"), &show(&source, &variant(Format::Png, 0, 0)), &picture, psnr_min);
    }
}

#[test]
fn the_smallest_and_the_thinnest_pictures_work_in_every_format() {
    for (width, height) in [(1, 1), (1, 10_000), (10_000, 1), (3, 7)] {
        let source = png(&photo(width, height));
        for format in Format::ALL {
            assert_eq!(show(&source, &variant(format, 0, 0)).dimensions(), (width, height), "{format}");
            let small = show(&source, &variant(format, 8, 8));
            assert!(small.width() <= 8 && small.height() <= 8, "{format}");
        }
    }
}

#[test]
fn every_quality_and_speed_gives_a_good_file() {
    let source = photo(48, 36);
    let file = png(&source);
    for format in Format::ALL {
        for speed in 1..=10 {
            let spec = VariantSpec { speed: Some(speed), ..variant(format, 0, 0) };
            assert_like(&format!("{format}, speed {speed}"), &show(&file, &spec), &source, psnr_min(format));
        }
        let mut last = 0.0;
        for quality in [1, 30, 60, 90, 100] {
            let spec = VariantSpec { quality: Some(quality), ..variant(format, 0, 0) };
            let psnr = super::picture::psnr(&show(&file, &spec), &source);
            assert!(psnr >= last - 0.5, "{format}, quality {quality}: {psnr:.1} dB after {last:.1}");
            last = psnr;
        }
        let default = VariantSpec { quality: None, speed: None, ..variant(format, 0, 0) };
        assert_like(&format!("{format}, defaults"), &show(&file, &default), &source, 26.0);
    }
}

#[test]
fn png_and_webp_at_100_lose_nothing() {
    let source = photo(72, 56);
    for format in [Format::Png, Format::Webp] {
        let spec = VariantSpec { quality: Some(100), ..variant(format, 0, 0) };
        assert_eq!(show(&png(&source), &spec), source, "{format}");
    }
}

#[test]
fn png_takes_the_smallest_pixel_format_that_fits() {
    let kind = |picture: &RgbaImage| {
        let rendered = render(&png(picture), &[variant(Format::Png, 0, 0)]).expect("a good source").remove(0);
        assert_eq!(&decode(Format::Png, &rendered.bytes), picture);
        let reader = png::Decoder::new(std::io::Cursor::new(rendered.bytes)).read_info().expect("a PNG");
        let info = reader.info();
        (info.color_type, info.bit_depth)
    };
    let each = |f: fn(u32, u32) -> [u8; 4]| RgbaImage::from_fn(50, 37, |x, y| image::Rgba(f(x, y)));
    assert_eq!(
        kind(&each(|x, _| if x < 9 { [0, 0, 0, 255] } else { [9, 200, 3, 255] })),
        (ColorType::Indexed, BitDepth::One)
    );
    assert_eq!(kind(&each(|x, _| [x as u8 % 11, 1, 2, 255 - (x as u8 % 2)])), (ColorType::Indexed, BitDepth::Eight));
    assert_eq!(kind(&each(|x, y| [(x % 3) as u8, (y % 2) as u8, 0, 255])), (ColorType::Indexed, BitDepth::Four));
    assert_eq!(kind(&each(|x, y| [((x * 37 + y) % 256) as u8; 4])).1, BitDepth::Eight);
    assert_eq!(kind(&each(|x, y| [x as u8, y as u8, (x * y) as u8, 255])), (ColorType::Rgb, BitDepth::Eight));
    assert_eq!(kind(&each(|x, y| [x as u8, y as u8, 0, (x + y) as u8])), (ColorType::Rgba, BitDepth::Eight));
    let deep_grey = each(|x, y| {
        let v = (x * 5) as u8;
        [v, v, v, (y * 6 + 1) as u8]
    });
    assert_eq!(kind(&deep_grey), (ColorType::GrayscaleAlpha, BitDepth::Eight));
}

#[test]
fn an_encoder_can_be_called_by_itself() {
    let picture = Picture { width: 2, height: 1, pixels: Pixels::Rgb(vec![1, 2, 3, 4, 5, 6]) };
    let bytes = Png.encode(&picture, &EncodeSettings::default()).expect("encodes");
    assert_eq!(decode(Format::Png, &bytes).get_pixel(1, 0).0, [4, 5, 6, 255]);
}
