//! The many kinds of JPEG, made by libjpeg and then bent.

use image::RgbaImage;
use mozjpeg::{ColorSpace, Compress};
use pixerve::job::{Format, VariantSpec};
use pixerve::pipeline::{InspectError, PipelineError, PixelLimits, inspect};

use super::picture::{assert_like, photo, render, show, variant};

fn rgb(picture: &RgbaImage) -> Vec<u8> {
    picture.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect()
}

fn compressed(picture: &RgbaImage, set: impl Fn(&mut Compress)) -> Vec<u8> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_fastest_defaults();
    compress.set_size(picture.width() as usize, picture.height() as usize);
    compress.set_quality(97.0);
    set(&mut compress);
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(&rgb(picture)).expect("writes");
    started.finish().expect("finishes")
}

/// A picture without fine colour, so that no way of sampling it loses much.
fn smooth(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let texture = 12.0 * (f64::from(x) * 0.8).sin() * (f64::from(y) * 0.6).cos();
        let [r, g, b] = [60.0 + 120.0 * u + texture, 150.0 - 70.0 * v + texture, 100.0 + 60.0 * u * v + texture];
        image::Rgba([r as u8, g as u8, b as u8, 255])
    })
}

/// What is set before compressing.
type Setting = fn(&mut Compress);

fn whole() -> VariantSpec {
    variant(Format::Png, 0, 0)
}

#[test]
fn every_chroma_subsampling_is_upsampled_in_place() {
    for (width, height) in [(67, 45), (64, 48), (17, 9), (1, 1)] {
        let picture = smooth(width, height);
        for sampling in [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4), (4, 2), (2, 4)] {
            for progressive in [false, true] {
                let source = compressed(&picture, |c| {
                    c.set_chroma_sampling_pixel_sizes(sampling, sampling);
                    if progressive {
                        c.set_progressive_mode();
                    }
                });
                let what = format!("{sampling:?}, {width} x {height}, progressive {progressive}");
                match render(&source, &[whole()]) {
                    Ok(_) => assert_like(&what, &show(&source, &whole()), &picture, 31.0),
                    Err(e) => panic!("{what}: {e}"),
                }
            }
        }
    }
}

#[test]
fn components_called_r_g_and_b_are_no_ycbcr() {
    let picture = photo(48, 32);
    let source = compressed(&picture, |c| c.set_color_space(ColorSpace::JCS_RGB));
    assert_like("Adobe says RGB", &show(&source, &whole()), &picture, 36.0);
    let marker = source.windows(2).position(|w| w == [0xFF, 0xEE]).expect("libjpeg signs RGB for Adobe");
    let length = 2 + usize::from(u16::from_be_bytes([source[marker + 2], source[marker + 3]]));
    let unsigned = [&source[..marker], &source[marker + length..]].concat();
    assert_like("only their names say RGB", &show(&unsigned, &whole()), &picture, 36.0);
}

/// Bytes `from` of a file up to where its entropy-coded data begins.
fn data_begins(source: &[u8]) -> usize {
    let at = source.windows(2).position(|w| w == [0xFF, 0xDA]).expect("a scan");
    at + 2 + usize::from(u16::from_be_bytes([source[at + 2], source[at + 3]]))
}

#[test]
fn an_end_in_the_middle_is_not_the_end() {
    let picture = photo(160, 120);
    let kinds: [(&str, Setting); 4] = [
        ("baseline", |_| ()),
        ("4:4:4", |c| c.set_chroma_sampling_pixel_sizes((1, 1), (1, 1))),
        ("progressive", Compress::set_progressive_mode),
        ("optimised", |c| c.set_optimize_coding(true)),
    ];
    for (kind, set) in kinds {
        let source = compressed(&picture, set);
        assert_like(kind, &show(&source, &whole()), &picture, 30.0);
        let begin = data_begins(&source);
        for tenths in 1..10 {
            let mut cut = source[..begin + (source.len() - begin) * tenths / 10].to_vec();
            while cut.last() == Some(&0xFF) {
                cut.pop();
            }
            cut.extend([0xFF, 0xD9]);
            let error = render(&cut, &[whole()]).err().unwrap_or_else(|| panic!("{kind}, {tenths} tenths, passed"));
            assert!(matches!(error, PipelineError::Truncated | PipelineError::BadImage { .. }), "{error}");
            let tolerant = VariantSpec { tolerant: true, ..whole() };
            assert_eq!(show(&cut, &tolerant).dimensions(), (160, 120), "{kind}");
        }
    }
}

#[test]
fn a_lost_restart_interval_is_noticed() {
    let picture = photo(160, 120);
    let source = with_restarts(&picture);
    assert_like("all intervals", &show(&source, &whole()), &picture, 30.0);
    let last = source.windows(2).rposition(|w| w[0] == 0xFF && (0xD0..=0xD7).contains(&w[1])).expect("a restart");
    let cut = [&source[..last], &[0xFF, 0xD9]].concat();
    assert!(matches!(render(&cut, &[whole()]), Err(PipelineError::Truncated)));
}

/// One restart marker a row of blocks, put between scans of one row each, which is what a restart amounts to.
fn with_restarts(picture: &RgbaImage) -> Vec<u8> {
    let mut file = Vec::new();
    let (width, height) = picture.dimensions();
    let bands = height.div_ceil(8);
    for band in 0..bands {
        let rows = image::imageops::crop_imm(picture, 0, band * 8, width, 8).to_image();
        let source = compressed(&rows, |c| {
            c.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
            c.set_optimize_coding(false);
        });
        let begin = data_begins(&source);
        if band == 0 {
            let mut header = source[..begin].to_vec();
            let frame = header.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
            header[frame + 5..frame + 7].copy_from_slice(&(height as u16).to_be_bytes());
            let scan = header.windows(2).position(|w| w == [0xFF, 0xDA]).expect("a scan");
            let interval = (width.div_ceil(8) as u16).to_be_bytes();
            header.splice(scan..scan, [0xFF, 0xDD, 0, 4, interval[0], interval[1]]);
            file = header;
        }
        file.extend(&source[begin..source.len() - 2]);
        file.extend([0xFF, if band + 1 == bands { 0xD9 } else { 0xD0 + (band % 8) as u8 }]);
    }
    file
}

#[test]
fn bytes_between_segments_are_harmless_and_hide_no_damage() {
    let picture = photo(96, 64);
    let mut source = compressed(&picture, |_| ());
    let table = source.windows(2).position(|w| w == [0xFF, 0xDB]).expect("a quantisation table");
    source.splice(table..table, [0, 0, 7, 0]);
    assert_like("extra bytes", &show(&source, &whole()), &picture, 30.0);
    let mut cut = source[..source.len() * 2 / 3].to_vec();
    cut.extend([0xFF, 0xD9]);
    assert!(render(&cut, &[whole()]).is_err(), "cut behind extra bytes");
}

#[test]
fn a_picture_without_its_end_marker_is_whole() {
    let picture = photo(160, 120);
    for set in [(|_| ()) as Setting, Compress::set_progressive_mode] {
        let source = compressed(&picture, set);
        let endless = source.strip_suffix(b"\xFF\xD9").expect("an end");
        assert_like("without its end", &show(endless, &whole()), &picture, 30.0);
        let error = render(&endless[..endless.len() - 3], &[whole()]).expect_err("three bytes are missing");
        assert!(matches!(error, PipelineError::Truncated), "{error}");
    }
}

#[test]
fn what_is_there_of_a_truncated_picture_is_right_at_every_size() {
    let picture = photo(320, 240);
    let whole_png = show(&compressed(&picture, |_| ()), &whole());
    let source = compressed(&picture, |_| ());
    let cut = &source[..data_begins(&source) + (source.len() - data_begins(&source)) / 2];
    let tolerant = VariantSpec { tolerant: true, ..whole() };
    let (shown, rows) = (show(cut, &tolerant), 80);
    let top = |picture: &RgbaImage| image::imageops::crop_imm(picture, 0, 0, 320, rows).to_image();
    assert_like("the upper third", &top(&shown), &top(&whole_png), 45.0);
    let [r, g, b, _] = shown.get_pixel(160, 239).0;
    assert!([r, g, b].iter().all(|level| level.abs_diff(128) <= 2), "{r} {g} {b}");
}

#[test]
fn no_pixel_of_components_apart_is_whole_before_the_last() {
    let kind =
        |source: &[u8]| inspect(std::io::Cursor::new(source), &PixelLimits::default()).expect("a JPEG").progressive;
    let together = compressed(&photo(48, 32), |_| ());
    let scan = together.windows(2).position(|w| w == [0xFF, 0xDA]).expect("a scan");
    let mut apart = together[..scan].to_vec();
    apart.extend(b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0");
    assert_eq!((kind(&together), kind(&apart)), (false, true));
    // That the first scan is missing is not for the header to tell.
    assert!(!kind(&together[..scan]));
}

#[test]
fn what_can_not_be_read_is_named_at_upload() {
    let source = compressed(&photo(16, 16), |_| ());
    let frame = source.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
    for (offset, value, named) in [
        (1, 0xC9, "arithmetic"),
        (1, 0xC3, "lossless"),
        (1, 0xC5, "hierarchical"),
        (4, 12, "12 bits"),
        (9, 2, "2 components"),
        (14, 0x31, "fractional sampling"),
    ] {
        let mut bent = source.clone();
        bent[frame + offset] = value;
        let error = inspect(std::io::Cursor::new(&bent), &PixelLimits::default()).expect_err("can't be read");
        assert!(matches!(error, InspectError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error} names {named}");
    }
}
