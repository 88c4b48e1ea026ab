//! AVIF as original.

use std::io::Cursor;

use image::imageops::{crop_imm, flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
use image::{DynamicImage, Rgba, RgbaImage};
use pixerve::job::{Format, SourceFormat, VariantSpec};
use pixerve::pipeline::{InspectError, PipelineError, PixelLimits, SourceInfo, inspect};
use ravif::{BitDepth, ColorModel, Encoder, Img};
use rgb::FromSlice;

use super::heif_file::{File, Item, av1, grid, ispe, nclx};
use super::picture::{assert_like, photo, render, show, variant};

fn encoder() -> Encoder<'static> {
    Encoder::new().with_quality(92.0).with_alpha_quality(95.0).with_speed(10).with_bit_depth(BitDepth::Eight)
}

fn opaque(picture: &RgbaImage, encoder: &Encoder) -> Vec<u8> {
    let rgb = DynamicImage::from(picture.clone()).into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    encoder.encode_rgb(Img::new(rgb.as_raw().as_rgb(), width, height)).expect("encodes").avif_file
}

fn inspected(source: &[u8]) -> Result<SourceInfo, InspectError> {
    inspect(Cursor::new(source), &PixelLimits::default())
}

fn png() -> VariantSpec {
    variant(Format::Png, 0, 0)
}

#[test]
fn eight_and_ten_bits_keep_their_picture() {
    let picture = photo(97, 63);
    for (depth, bits) in [(BitDepth::Eight, 8), (BitDepth::Ten, 16)] {
        let source = opaque(&picture, &encoder().with_bit_depth(depth));
        let info = inspected(&source).expect("an AVIF");
        let expected = (SourceFormat::Avif, 97, 63, 3, bits, 1);
        assert_eq!((info.format, info.width, info.height, info.channels, info.bits, info.frames), expected);
        assert_like(&format!("{bits} bits"), &show(&source, &png()), &picture, 36.0);
    }
}

#[test]
fn red_green_and_blue_may_be_stored_as_such() {
    let picture = photo(64, 48);
    let source = opaque(&picture, &encoder().with_internal_color_model(ColorModel::RGB));
    assert_like("the identity matrix", &show(&source, &png()), &picture, 36.0);
}

#[test]
fn alpha_comes_with_its_picture() {
    let picture = RgbaImage::from_fn(64, 48, |x, y| {
        let [r, g, b, _] = photo(64, 48).get_pixel(x, y).0;
        Rgba([r, g, b, (x * 4) as u8])
    });
    let source = encoder().encode_rgba(Img::new(picture.as_raw().as_rgba(), 64, 48)).expect("encodes").avif_file;
    assert_eq!(inspected(&source).expect("an AVIF").channels, 4);
    let shown = show(&source, &png());
    for (ours, theirs) in shown.pixels().zip(picture.pixels()) {
        assert!(ours[3].abs_diff(theirs[3]) <= 4, "{ours:?} for {theirs:?}");
    }
    let white = |picture: &RgbaImage| {
        RgbaImage::from_fn(64, 48, |x, y| {
            let [r, g, b, a] = picture.get_pixel(x, y).0.map(f64::from);
            Rgba([r, g, b, 255.0].map(|c| (c * a / 255.0 + 255.0 - a).clamp(0.0, 255.0) as u8))
        })
    };
    assert_like("on white", &white(&shown), &white(&picture), 36.0);
}

#[test]
fn colours_multiplied_by_alpha_are_divided_again() {
    let half = opaque(&RgbaImage::from_pixel(64, 48, Rgba([128, 128, 128, 255])), &encoder());
    let dark = opaque(&RgbaImage::from_pixel(64, 48, Rgba([100, 50, 20, 255])), &encoder());
    let alpha = av1(&half).with(b"auxC", b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0");
    let file = File::of(vec![av1(&dark), alpha]).refers(b"auxl", 2, &[1]);
    let straight = show(&file.bytes(), &png()).get_pixel(30, 20).0;
    let divided = show(&file.clone().refers(b"prem", 1, &[2]).bytes(), &png()).get_pixel(30, 20).0;
    for (ours, expected) in [(straight, [100, 50, 20, 128]), (divided, [199, 100, 40, 128])] {
        assert!(ours.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 4), "{ours:?}, not {expected:?}");
    }
}

#[test]
fn properties_turn_mirror_and_crop_and_exif_does_not() {
    let picture = photo(96, 64);
    let coded = opaque(&picture, &encoder());
    let item = av1(&coded);
    let clap: Vec<u8> = [48_u32, 1, 32, 1, 8, 1, 4, 1].iter().flat_map(|field| field.to_be_bytes()).collect();
    let cropped = crop_imm(&picture, 32, 20, 48, 32).to_image();
    let cases: [(&str, Item, RgbaImage); 7] = [
        ("a quarter turn", item.clone().with(b"irot", &[1]), rotate270(&picture)),
        ("half a turn", item.clone().with(b"irot", &[2]), rotate180(&picture)),
        ("three quarters", item.clone().with(b"irot", &[3]), rotate90(&picture)),
        ("upside down", item.clone().with(b"imir", &[0]), flip_vertical(&picture)),
        ("mirrored", item.clone().with(b"imir", &[1]), flip_horizontal(&picture)),
        (
            "turned and mirrored",
            item.clone().with(b"irot", &[1]).with(b"imir", &[1]),
            flip_horizontal(&rotate270(&picture)),
        ),
        ("cropped, then turned", item.clone().with(b"clap", &clap).with(b"irot", &[3]), rotate90(&cropped)),
    ];
    for (what, item, expected) in cases {
        let exif = [&[0; 4][..], &super::orientation::exif(6)].concat();
        let exif = Item { kind: *b"Exif", data: exif, properties: Vec::new() };
        let source = File::of(vec![item, exif]).refers(b"cdsc", 2, &[1]).bytes();
        let info = inspected(&source).expect("an AVIF");
        assert_eq!((info.width, info.height), expected.dimensions(), "{what}");
        assert_like(what, &show(&source, &png()), &expected, 36.0);
    }
}

/// 3 x 2 tiles of 64 pixels that make up 150 x 100.
fn tiled(picture: &RgbaImage) -> File {
    let mut items = vec![grid(3, 2, 150, 100).with(b"colr", &nclx(1, 13, 6, true))];
    for (row, column) in (0..2).flat_map(|row| (0..3).map(move |column| (row, column))) {
        items.push(av1(&opaque(&crop_imm(picture, column * 64, row * 64, 64, 64).to_image(), &encoder())));
    }
    File::of(items).refers(b"dimg", 1, &[2, 3, 4, 5, 6, 7])
}

#[test]
fn a_grid_is_put_together_and_its_overhang_cut_off() {
    let picture = photo(192, 128);
    let whole = tiled(&picture);
    let expected = crop_imm(&picture, 0, 0, 150, 100).to_image();
    assert_like("a grid", &show(&whole.bytes(), &png()), &expected, 36.0);
    let mut turned = whole;
    turned.items[0] = turned.items[0].clone().with(b"irot", &[3]);
    assert_like("a turned grid", &show(&turned.bytes(), &png()), &rotate90(&expected), 36.0);
}

#[test]
fn the_primary_item_is_shown_whatever_its_place() {
    let coded = opaque(&photo(64, 48), &encoder());
    let other = av1(&opaque(&photo(32, 32), &encoder()));
    let mut file = File::of(vec![other, av1(&coded)]);
    file.primary = 2;
    assert_like("the second", &show(&file.bytes(), &png()), &photo(64, 48), 36.0);
}

#[test]
fn the_numbers_of_the_container_explain_the_colours() {
    let p3 = opaque(&RgbaImage::from_pixel(64, 64, Rgba([200, 100, 50, 255])), &encoder());
    let shows = |colours: &[u8]| {
        let source = File::of(vec![av1(&p3).with(b"colr", colours)]).bytes();
        show(&source, &png()).get_pixel(32, 32).0
    };
    let close = |a: [u8; 4], b: [u8; 4]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 3);
    let (srgb, wide) = (shows(&nclx(1, 13, 6, true)), shows(&nclx(12, 13, 6, true)));
    assert!(close(srgb, [200, 100, 50, 255]), "{srgb:?}");
    // Computed from the primaries: the same light in sRGB.
    assert!(close(wide, [215, 93, 31, 255]), "{wide:?}");
    let profile = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
    let source =
        File::of(vec![av1(&p3).with(b"colr", &nclx(1, 13, 6, true)).with(b"colr", &[b"prof", &profile[..]].concat())]);
    let tagged = show(&source.bytes(), &png()).get_pixel(32, 32).0;
    assert!(close(tagged, wide), "a profile says {tagged:?}, numbers {wide:?}");
    // The same samples, taken as ranging from 16 to 235 and about their middle over 224.
    let limited = shows(&nclx(1, 13, 6, false));
    assert!(close(limited, [212, 98, 42, 255]), "{limited:?}");
}

#[test]
fn pq_becomes_a_picture_for_a_screen() {
    let level = |signal: u8| {
        let coded = opaque(&RgbaImage::from_pixel(64, 64, Rgba([signal, signal, signal, 255])), &encoder());
        let source = File::of(vec![av1(&coded).with(b"colr", &nclx(9, 16, 6, true))]).bytes();
        show(&source, &png()).get_pixel(32, 32).0[1]
    };
    // Paper white is a PQ signal of 58 %, the peak of most displays 75 %.
    let (black, paper, peak) = (level(0), level(148), level(192));
    assert!(black <= 2 && (215..250).contains(&paper) && peak >= 252, "{black}, {paper}, {peak}");
}

#[test]
fn artist_and_copyright_are_found() {
    let coded = opaque(&photo(64, 48), &encoder());
    let mut block = b"II\x2A\0\x08\0\0\0\x01\0\x3B\x01\x02\0\x04\0\0\0Ada\0".to_vec();
    block.extend([0; 4]);
    let exif = Item { kind: *b"Exif", data: [&[0, 0, 0, 0], &block[..]].concat(), properties: Vec::new() };
    let file = File::of(vec![av1(&coded), exif]).refers(b"cdsc", 2, &[1]);
    let rendered = render(&file.bytes(), &[variant(Format::Jpeg, 0, 0)]).expect("a good source").remove(0);
    assert!(rendered.bytes.windows(4).any(|window| window == b"Ada\0"), "no artist in the JPEG");
}

#[test]
fn every_cut_of_an_avif_is_noticed() {
    let picture = photo(192, 128);
    for source in [opaque(&picture, &encoder()), tiled(&picture).bytes()] {
        for cut in (0..60).map(|part| source.len() * part / 60).chain([source.len() - 1]) {
            let error = render(&source[..cut], &[variant(Format::Png, 8, 8)]).err();
            let error = error.unwrap_or_else(|| panic!("cut to {cut} of {} bytes passed", source.len()));
            assert!(!error.can_pass_on_retry(), "cut to {cut}: {error}");
        }
    }
}

#[test]
fn a_tolerant_job_gets_the_tiles_that_are_there() {
    let picture = photo(192, 128);
    let source = tiled(&picture).bytes();
    let cut = &source[..source.len() - 40];
    assert!(matches!(render(cut, &[png()]), Err(PipelineError::Truncated)));
    let shown = show(cut, &VariantSpec { tolerant: true, ..png() });
    let top = |shown: &RgbaImage| crop_imm(shown, 0, 0, 150, 64).to_image();
    assert_like("the upper row", &top(&shown), &top(&picture), 36.0);
}

#[test]
fn headers_that_lie_are_refused_before_anything_is_decoded() {
    let coded = opaque(&photo(64, 48), &encoder());
    let claims = |width, height| {
        let mut item = av1(&coded);
        item.properties[0].1 = ispe(width, height);
        File::of(vec![item]).bytes()
    };
    for source in [claims(30_000, 30_000), claims(70_000, 1), claims(u32::MAX, u32::MAX)] {
        let error = inspected(&source).expect_err("too large");
        assert!(matches!(error, InspectError::TooLarge { .. }), "{error}");
    }
    let error = inspected(&claims(0, 48)).expect_err("no pixels");
    assert!(matches!(error, InspectError::Damaged { .. }), "{error}");
    for (width, height) in [(63, 48), (65, 48), (640, 480)] {
        let error = render(&claims(width, height), &[png()]).expect_err("another size");
        assert!(matches!(error, PipelineError::BadImage { .. }), "{error}");
    }
    let tile = av1(&coded);
    let of = |grid: Item, tiles: &[u16]| File::of(vec![grid, tile.clone()]).refers(b"dimg", 1, tiles).bytes();
    for source in [of(grid(2, 1, 128, 48), &[2]), of(grid(1, 1, 300, 48), &[2]), of(grid(2, 1, 60, 48), &[2, 2])] {
        let error = inspected(&source).expect_err("a grid that isn't one");
        assert!(matches!(error, InspectError::Damaged { .. }), "{error}");
    }
    let many = of(grid(128, 128, 8192, 6144), &vec![2; 128 * 128]);
    let error = inspected(&many).expect_err("16,384 tiles");
    assert!(matches!(error, InspectError::TooLarge { .. }), "{error}");
    let outside = File::of(vec![tile]).bytes_with(|_, length| (u32::MAX - 8, length));
    assert!(matches!(render(&outside, &[png()]), Err(PipelineError::Truncated)));
}

#[test]
fn items_that_stand_for_each_other_are_refused() {
    let circle = Item { kind: *b"iden", data: Vec::new(), properties: Vec::new() };
    let source = File::of(vec![circle.clone(), circle]).refers(b"dimg", 1, &[2]).refers(b"dimg", 2, &[1]).bytes();
    assert!(matches!(inspected(&source), Err(InspectError::Damaged { .. })));
}

#[test]
fn a_picture_of_a_thousand_frames_is_refused() {
    let mut item = av1(&opaque(&photo(64, 48), &encoder()));
    item.data = item.data.repeat(1000);
    let error = render(&File::of(vec![item]).bytes(), &[png()]).expect_err("too many frames");
    assert!(error.to_string().contains("frames"), "{error}");
}

#[test]
fn what_a_container_holds_besides_pictures_is_named_with_what_can_be_read() {
    let item = Item { kind: *b"j2k1", data: vec![0; 9], properties: Vec::new() };
    let error = inspected(&File::of(vec![item.with(b"ispe", &ispe(8, 8))]).bytes()).expect_err("JPEG 2000");
    let told = error.to_string();
    assert!(told.contains("j2k1") && told.contains("AVIF"), "{told}");
}

#[test]
fn flipped_bytes_of_an_avif_never_panic() {
    let picture = photo(80, 64);
    let mut state = 7_u32;
    for source in [opaque(&picture, &encoder()), tiled(&photo(192, 128)).bytes()] {
        for _ in 0..60 {
            let mut bytes = source.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len();
                bytes[at] = (state >> 8) as u8;
            }
            let tolerant = VariantSpec { tolerant: true, ..variant(Format::Png, 8, 8) };
            if let Err(PipelineError::Panicked { detail, .. }) = render(&bytes, &[tolerant]) {
                panic!("a codec panicked: {detail}");
            }
        }
    }
}
