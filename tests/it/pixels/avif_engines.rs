//! AVIF by each of its engines: both are held to the same.

use image::{Rgba, RgbaImage};
use pixerve::encoder::{Avif, AvifContents, AvifEngine, Credits, EncodeSettings, Encoder, Picture, Pixels};
use re_rav1d::PixelLayout;

use super::avif::{decode, layout};
use super::picture::{assert_like, photo, psnr};

/// The engines that this program has; `Auto` is one of them.
fn engines() -> impl Iterator<Item = AvifEngine> {
    [AvifEngine::Ravif, AvifEngine::Aom].into_iter().filter(|engine| engine.is_built_in())
}

fn picture(image: &RgbaImage) -> Picture {
    let (width, height) = image.dimensions();
    let opaque = image.pixels().all(|pixel| pixel[3] == 255);
    let pixels = if opaque {
        Pixels::Rgb(image.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
    } else {
        Pixels::Rgba(image.as_raw().clone())
    };
    Picture { width, height, pixels }
}

fn encode(engine: AvifEngine, image: &RgbaImage, quality: u8, speed: u8) -> Vec<u8> {
    let settings = EncodeSettings { quality: Some(quality), speed: Some(speed), ..EncodeSettings::default() };
    Avif::new(engine).encode(&picture(image), &settings).expect("encodes")
}

/// What it takes to tell a picture from a wrong one: 98 loses next to nothing.
fn show(engine: AvifEngine, image: &RgbaImage) -> RgbaImage {
    decode(&encode(engine, image, 98, 9))
}

/// Soft: halved colour takes nothing from it.
fn soft(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        Rgba([40.0 + 200.0 * u, 230.0 - 180.0 * v, 60.0 + 150.0 * u * v, 255.0].map(|c| c as u8))
    })
}

#[test]
fn every_speed_keeps_the_picture() {
    let image = soft(70, 50);
    for engine in engines() {
        for speed in 1..=10 {
            let what = format!("{engine:?}, speed {speed}");
            assert_like(&what, &decode(&encode(engine, &image, 95, speed)), &image, 38.0);
        }
    }
}

#[test]
fn any_size_works_down_to_one_pixel() {
    for engine in engines() {
        for (width, height) in [(1, 1), (1, 2), (2, 1), (3, 3), (7, 9), (8, 8), (17, 64), (65, 33), (1, 300), (300, 1)]
        {
            let image = soft(width, height);
            let what = format!("{engine:?}, {width} x {height}");
            let shown = show(engine, &image);
            assert_eq!(shown.dimensions(), (width, height), "{what}");
            assert_like(&what, &shown, &image, 34.0);
        }
    }
}

#[test]
fn the_longest_sides_work() {
    for engine in engines() {
        // ravif takes a minute for each of the longest in a build without optimisation.
        let long = if engine == AvifEngine::Ravif { 5_000 } else { 65_535 };
        for (width, height) in [(long, 2), (2, long)] {
            let image = RgbaImage::from_fn(width, height, |x, y| Rgba([((x + y) / 300) as u8, 90, 160, 255]));
            // Not decoded: in a build without optimisation the decoder takes minutes for so many blocks.
            let file = encode(engine, &image, 80, 10);
            let contents = AvifContents::of(&file).expect("a whole file");
            assert_eq!((contents.width, contents.height), (width, height), "{engine:?}");
        }
    }
}

#[test]
fn pure_colours_stay_what_they_are() {
    let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 255, 255], [0, 0, 0], [128, 128, 128]];
    for engine in engines() {
        for [r, g, b] in colours {
            let shown = show(engine, &RgbaImage::from_pixel(40, 40, Rgba([r, g, b, 255])));
            for pixel in shown.pixels() {
                let off = pixel.0.iter().zip([r, g, b, 255]).map(|(a, b)| a.abs_diff(b)).max();
                assert!(off <= Some(3), "{engine:?}: {pixel:?} for {r} {g} {b}");
            }
        }
    }
}

#[test]
fn colour_sits_where_it_was() {
    // Two fields that differ in colour and hardly in brightness: a shift of halved colour would show at the edge.
    let image = RgbaImage::from_fn(64, 64, |x, _| Rgba(if x < 32 { [200, 90, 90, 255] } else { [60, 140, 140, 255] }));
    for engine in engines() {
        let shown = decode(&encode(engine, &image, 80, 5));
        let mean = |x: u32| (8..56).map(|y| f64::from(shown.get_pixel(x, y)[0])).sum::<f64>() / 48.0;
        let (left, right) = ((200.0 - mean(31)).abs(), (mean(32) - 60.0).abs());
        assert!((left - right).abs() < 14.0, "{engine:?}: {left:.1} left of the edge, {right:.1} right of it");
    }
}

#[test]
fn alpha_stays_and_its_edge_has_no_dark_rim() {
    // Black under the transparent part, as a resized picture has it.
    let image = RgbaImage::from_fn(96, 64, |x, y| {
        let a = (255.0 - (f64::from(x) - 48.0).hypot(f64::from(y) - 32.0) * 12.0 + 120.0).clamp(0.0, 255.0) as u8;
        if a == 0 { Rgba([0; 4]) } else { Rgba([240, 200, 60, a]) }
    });
    for engine in engines() {
        let shown = decode(&encode(engine, &image, 85, 9));
        for (ours, theirs) in shown.pixels().zip(image.pixels()) {
            assert!(ours[3].abs_diff(theirs[3]) <= 8, "{engine:?}: alpha {} for {}", ours[3], theirs[3]);
            let off = (0..3).map(|c| ours[c].abs_diff(theirs[c])).max().unwrap_or(0);
            assert!(theirs[3] < 40 || off <= 24, "{engine:?}: {ours:?} for {theirs:?}");
        }
    }
}

#[test]
fn grey_stays_grey_with_alpha_too() {
    let grey = RgbaImage::from_fn(50, 41, |x, y| {
        let v = (x * 3 + y * 2) as u8;
        Rgba([v, v, v, 255])
    });
    let mut sheer = grey.clone();
    sheer.enumerate_pixels_mut().for_each(|(x, _, pixel)| pixel[3] = 255 - x as u8);
    for engine in engines() {
        for image in [&grey, &sheer] {
            let shown = show(engine, image);
            assert_like(&format!("{engine:?}"), &shown, image, 36.0);
            let tint = |pixel: &Rgba<u8>| pixel[0].abs_diff(pixel[1]).max(pixel[2].abs_diff(pixel[1]));
            assert!(shown.pixels().all(|pixel| tint(pixel) <= 2), "{engine:?}");
        }
    }
}

#[test]
fn a_better_quality_is_better_and_larger() {
    let image = photo(160, 120);
    for engine in engines() {
        let (mut bytes, mut likeness) = (0, 0.0);
        for quality in [1, 20, 40, 60, 75, 85, 95, 100] {
            let file = encode(engine, &image, quality, 8);
            let now = psnr(&decode(&file), &image);
            assert!(now > likeness - 0.3, "{engine:?}, quality {quality}: {now:.1} dB after {likeness:.1}");
            assert!(file.len() > bytes, "{engine:?}, quality {quality}: {} bytes after {bytes}", file.len());
            (bytes, likeness) = (file.len(), now);
        }
        assert!(likeness > 36.0, "{engine:?}: {likeness:.1} dB at 100");
    }
}

#[test]
fn the_same_picture_gives_the_same_file() {
    let image = photo(130, 70);
    for engine in engines() {
        for speed in [6, 9] {
            let files: Vec<_> = (0..3).map(|_| encode(engine, &image, 70, speed)).collect();
            assert!(files.windows(2).all(|pair| pair[0] == pair[1]), "{engine:?}, speed {speed}");
        }
    }
}

#[test]
fn credits_are_an_item_that_harms_no_other() {
    let credits = Credits { artist: Some("Ada Lovelace".to_owned()), copyright: Some("(c) 1843".to_owned()) };
    let opaque = photo(40, 31);
    let mut sheer = opaque.clone();
    sheer.enumerate_pixels_mut().for_each(|(x, _, pixel)| pixel[3] = 255 - x as u8);
    let grey = RgbaImage::from_fn(21, 20, |x, _| Rgba([x as u8, x as u8, x as u8, 255]));
    for engine in engines() {
        for (image, speed) in [(&opaque, 9), (&sheer, 9), (&grey, 9), (&opaque, 4)] {
            let plain = encode(engine, image, 80, speed);
            let (width, height) = image.dimensions();
            let exif = credits.exif().expect("both are known");
            let signed = Avif::new(engine).with_exif(plain.clone(), &exif, (width, height));
            assert_eq!(decode(&signed), decode(&plain), "{engine:?}");
            let contents = AvifContents::of(&signed).expect("a whole file");
            assert_eq!((contents.width, contents.height), (width, height));
            let reader = exif::Reader::new();
            let exif = reader.read_from_container(&mut std::io::Cursor::new(&signed)).expect("EXIF");
            let text = |tag| exif.get_field(tag, exif::In::PRIMARY).map(|field| field.display_value().to_string());
            assert_eq!(text(exif::Tag::Artist).as_deref(), Some("\"Ada Lovelace\""), "{engine:?}");
            assert_eq!(text(exif::Tag::Copyright).as_deref(), Some("\"(c) 1843\""), "{engine:?}");
        }
    }
}

#[test]
fn a_file_that_lacks_anything_is_not_whole() {
    let image = photo(33, 20);
    for engine in engines() {
        let file = encode(engine, &image, 50, 9);
        assert!(AvifContents::of(&file).is_some());
        for length in 0..file.len() {
            assert_eq!(AvifContents::of(&file[..length]), None, "{engine:?}: {length} of {} bytes", file.len());
        }
    }
}

#[test]
fn libaom_halves_colour_only_where_that_does_not_show() {
    if !AvifEngine::Aom.is_built_in() {
        return;
    }
    let grey =
        RgbaImage::from_fn(30, 30, |x, y| Rgba([(x * y % 256) as u8, (x * y % 256) as u8, (x * y % 256) as u8, 255]));
    let kept = |image: &RgbaImage, quality| layout(&encode(AvifEngine::Aom, image, quality, 9));
    assert_eq!(kept(&soft(120, 90), 60), PixelLayout::I420);
    assert_eq!(kept(&soft(120, 90), 100), PixelLayout::I444);
    assert_eq!(kept(&lettering(), 60), PixelLayout::I444);
    assert_eq!(kept(&grey, 60), PixelLayout::I400);
}

/// Thin red strokes on blue.
fn lettering() -> RgbaImage {
    RgbaImage::from_fn(120, 90, |x, y| {
        let stroke = x % 9 == 2 || (y % 14 < 2 && x % 9 < 6);
        Rgba(if stroke { [230, 20, 20, 255] } else { [20, 40, 200, 255] })
    })
}

#[test]
fn coloured_lettering_keeps_its_colour() {
    let image = lettering();
    for engine in engines() {
        let shown = decode(&encode(engine, &image, 85, 9));
        for (ours, theirs) in shown.pixels().zip(image.pixels()) {
            let off = (0..3).map(|c| ours[c].abs_diff(theirs[c])).max().unwrap_or(0);
            assert!(off <= 70, "{engine:?}: {ours:?} for {theirs:?}");
        }
    }
}
