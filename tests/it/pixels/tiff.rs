//! The many kinds of TIFF, written here byte by byte, so that what is read is held against what was meant.

use image::{Rgba, RgbaImage};
use mozjpeg::{ColorSpace, Compress};
use pixerve::job::Format;
use pixerve::pipeline::{InspectError, PixelLimits, inspect};
use tiff::encoder::compression::DeflateLevel;
use tiff::encoder::{Compression, Predictor, TiffEncoder, colortype};

use super::picture::{assert_like, photo, render, show, variant};

/// Tags by number, with their values; all are SHORT but those that hold offsets and sizes.
#[derive(Clone)]
pub(crate) struct Tiff {
    pub(crate) tags: Vec<(u16, Vec<u32>)>,
    /// Strips, or tiles if there is a tag for their width.
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) big_endian: bool,
}

impl Tiff {
    /// One uncompressed strip.
    pub(crate) fn new(size: (u32, u32), photometric: u32, bits: u32, samples: u32, data: Vec<u8>) -> Self {
        let tags = vec![
            (256, vec![size.0]),
            (257, vec![size.1]),
            (258, vec![bits; samples as usize]),
            (259, vec![1]),
            (262, vec![photometric]),
            (277, vec![samples]),
        ];
        Self { tags, chunks: vec![data], big_endian: false }
    }

    pub(crate) fn with(mut self, tag: u16, values: &[u32]) -> Self {
        self.tags.retain(|(there, _)| *there != tag);
        self.tags.push((tag, values.to_vec()));
        self
    }

    pub(crate) fn in_chunks(self, chunks: Vec<Vec<u8>>) -> Self {
        Self { chunks, ..self }
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let tiled = self.tags.iter().any(|(tag, _)| *tag == 322);
        if tiled { self.file_under(324, Some(325)) } else { self.file_under(273, Some(279)) }
    }

    /// With the places of its strips or tiles under the tag `offsets`, and their sizes under `counts`, if anywhere.
    pub(super) fn file_under(&self, offsets: u16, counts: Option<u16>) -> Vec<u8> {
        let mut data = Vec::new();
        let mut tags = self.tags.clone();
        let at: Vec<u32> = self
            .chunks
            .iter()
            .map(|chunk| {
                let at = 8 + data.len() as u32;
                data.extend(chunk);
                data.extend(vec![0; chunk.len() % 2]);
                at
            })
            .collect();
        tags.push((offsets, at));
        tags.extend(counts.map(|counts| (counts, self.chunks.iter().map(|chunk| chunk.len() as u32).collect())));
        tags.sort();
        let short = |v: u32| if self.big_endian { (v as u16).to_be_bytes() } else { (v as u16).to_le_bytes() };
        let long = |v: u32| if self.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        let start = 8 + data.len() as u32;
        let mut file = if self.big_endian { b"MM\0\x2A".to_vec() } else { b"II\x2A\0".to_vec() };
        file.extend(long(start));
        file.extend(data);
        file.extend(short(tags.len() as u32));
        let mut beside = Vec::new();
        for (tag, values) in &tags {
            let is_long = matches!(tag, 256 | 257 | 273 | 278 | 279 | 322..=325);
            let bytes: Vec<u8> =
                values.iter().flat_map(|v| if is_long { long(*v).to_vec() } else { short(*v).to_vec() }).collect();
            file.extend(short(u32::from(*tag)));
            file.extend(short(if is_long { 4 } else { 3 }));
            file.extend(long(values.len() as u32));
            if bytes.len() <= 4 {
                file.extend(&bytes);
                file.extend(vec![0; 4 - bytes.len()]);
            } else {
                file.extend(long(start + 2 + tags.len() as u32 * 12 + 4 + beside.len() as u32));
                beside.extend(bytes);
            }
        }
        file.extend([0; 4]);
        file.extend(beside);
        file
    }
}

pub(super) fn shown(file: &Tiff) -> RgbaImage {
    show(&file.file(), &variant(Format::Png, 0, 0))
}

pub(super) fn grey(width: u32, height: u32, f: impl Fn(u32, u32) -> u8) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let v = f(x, y);
        Rgba([v, v, v, 255])
    })
}

/// Samples below a byte, rows from whole bytes.
pub(super) fn packed(width: u32, height: u32, bits: u32, f: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        let mut row = vec![0; (width * bits).div_ceil(8) as usize];
        for x in 0..width {
            let bit = x * bits;
            row[bit as usize / 8] |= f(x, y) << (8 - bits - bit % 8);
        }
        data.extend(row);
    }
    data
}

pub(super) fn rgb(picture: &RgbaImage) -> Vec<u8> {
    picture.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect()
}

#[test]
fn grey_of_few_bits_shows_black_and_white_either_way() {
    for bits in [1, 2, 4] {
        let full = (1_u32 << bits) - 1;
        let level = |x: u32, y: u32| ((x * 3 + y) % (full + 1)) as u8;
        let data = packed(11, 5, bits, level);
        let scale = (255 / full) as u8;
        assert_eq!(shown(&Tiff::new((11, 5), 1, bits, 1, data.clone())), grey(11, 5, |x, y| level(x, y) * scale));
        let inverted = grey(11, 5, |x, y| 255 - level(x, y) * scale);
        assert_eq!(shown(&Tiff::new((11, 5), 0, bits, 1, data)), inverted, "{bits} bits, white is zero");
    }
    let data: Vec<u8> = (0..=255).collect();
    assert_eq!(shown(&Tiff::new((16, 16), 0, 8, 1, data)), grey(16, 16, |x, y| 255 - (y * 16 + x) as u8));
}

#[test]
fn palettes_of_every_depth_show_their_colours() {
    for bits in [1, 2, 4, 8_u32] {
        let entries = 1_u32 << bits;
        let colour = |i: u32| [(i * 7 % 256) as u8, (255 - i) as u8, (i * 91 % 256) as u8];
        let index = |x: u32, y: u32| ((x * 5 + y * 3) % entries) as u8;
        let expected = RgbaImage::from_fn(13, 9, |x, y| {
            let [r, g, b] = colour(u32::from(index(x, y)));
            Rgba([r, g, b, 255])
        });
        let data = packed(13, 9, bits, index);
        for scale in [257, 1] {
            let map: Vec<u32> =
                (0..3).flat_map(|c| (0..entries).map(move |i| u32::from(colour(i)[c]) * scale)).collect();
            let file = Tiff::new((13, 9), 3, bits, 1, data.clone()).with(320, &map);
            assert_eq!(shown(&file), expected, "{bits} bits, steps of {scale}");
        }
    }
}

#[test]
fn deep_samples_are_rounded_once() {
    let level = |i: u32| f64::from(i) / 255.0 * 0.998 + 0.001;
    let expected = grey(16, 16, |x, y| (level(y * 16 + x) * 255.0).round() as u8);
    let all = || (0..256).map(level);
    let half = |v: f64| {
        let exponent = v.log2().floor();
        let fraction = (v / exponent.exp2() - 1.0) * 1024.0;
        (((exponent + 15.0) as u16) << 10) + fraction.round() as u16
    };
    // Floating point is linear light.
    let light = || all().map(|v| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) });
    let files: [(u32, u32, Vec<u8>); 6] = [
        (16, 1, all().flat_map(|v| ((v * 65_535.0).round() as u16).to_le_bytes()).collect()),
        (32, 1, all().flat_map(|v| ((v * f64::from(u32::MAX)).round() as u32).to_le_bytes()).collect()),
        (64, 1, all().flat_map(|v| ((v * u64::MAX as f64) as u64).to_le_bytes()).collect()),
        (16, 3, light().flat_map(|v| half(v).to_le_bytes()).collect()),
        (32, 3, light().flat_map(|v| (v as f32).to_le_bytes()).collect()),
        (64, 3, light().flat_map(f64::to_le_bytes).collect()),
    ];
    for (bits, format, data) in files {
        let shown = shown(&Tiff::new((16, 16), 1, bits, 1, data).with(339, &[format]));
        let off = shown.pixels().zip(expected.pixels()).map(|(a, b)| a[0].abs_diff(b[0])).max();
        // Half precision itself is that coarse.
        assert!(off <= Some(u8::from(bits == 16 && format == 3)), "{bits} bits, format {format}: off by {off:?}");
    }
    let mut big = Tiff::new((2, 1), 1, 16, 1, vec![0x12, 0x34, 0xFF, 0xFF]);
    big.big_endian = true;
    assert_eq!(shown(&big), grey(2, 1, |x, _| if x == 0 { 0x12 } else { 0xFF }));
}

#[test]
fn alpha_is_what_its_tag_says() {
    let straight = RgbaImage::from_fn(20, 20, |x, y| Rgba([200, (x * 12) as u8, (y * 12) as u8, (80 + x * 8) as u8]));
    let file = |data: Vec<u8>, bits| Tiff::new((20, 20), 2, bits, 4, data);
    let plain = straight.as_raw().clone();
    assert_eq!(shown(&file(plain.clone(), 8).with(338, &[2])), straight);
    assert_eq!(shown(&file(plain.clone(), 8)), straight, "a fourth sample that is not described is alpha");
    let opaque = RgbaImage::from_fn(20, 20, |x, y| {
        let Rgba([r, g, b, _]) = *straight.get_pixel(x, y);
        Rgba([r, g, b, 255])
    });
    assert_eq!(shown(&file(plain, 8).with(338, &[0])), opaque, "a mask is no alpha");

    let times = |p: &Rgba<u8>, c: usize| f64::from(p[c]) * f64::from(p[3]) / 255.0;
    let eight = straight.pixels().flat_map(|p| [times(p, 0), times(p, 1), times(p, 2), f64::from(p[3])]);
    let close = |shown: RgbaImage, off: u8| {
        assert!(shown.as_raw().iter().zip(straight.as_raw()).all(|(a, b)| a.abs_diff(*b) <= off));
    };
    close(shown(&file(eight.clone().map(|v| v.round() as u8).collect(), 8).with(338, &[1])), 2);
    let sixteen = eight.flat_map(|v| ((v * 257.0).round() as u16).to_le_bytes()).collect();
    close(shown(&file(sixteen, 16).with(338, &[1])), 0);

    let data = (0..200).flat_map(|i| [i as u8, 255 - i as u8]).collect();
    let shown = shown(&Tiff::new((20, 10), 0, 8, 2, data).with(338, &[2]));
    assert_eq!(shown.get_pixel(3, 2).0, [212, 212, 212, 212], "white is zero, alpha is not inverted");
}

#[test]
fn planes_strips_and_tiles_are_put_together() {
    let picture = photo(50, 37);
    let data = rgb(&picture);
    let plane = |c: usize| data.iter().skip(c).step_by(3).copied().collect::<Vec<u8>>();
    let base = Tiff::new((50, 37), 2, 8, 3, data.clone());
    let planes = vec![plane(0), plane(1), plane(2)];
    assert_eq!(shown(&base.clone().with(284, &[2]).in_chunks(planes)), picture, "planes");

    let strips = data.chunks(50 * 3 * 10).map(<[u8]>::to_vec).collect();
    assert_eq!(shown(&base.clone().with(278, &[10]).in_chunks(strips)), picture, "strips");

    let tile = |left: u32, top: u32| {
        let at = |x: u32, y: u32| picture.get_pixel_checked(left + x, top + y).map_or([9; 3], |p| [p[0], p[1], p[2]]);
        (0..16).flat_map(|y| (0..32).flat_map(move |x| at(x, y))).collect::<Vec<u8>>()
    };
    let tiles = (0..3).flat_map(|y| (0..2).map(move |x| (x * 32, y * 16))).map(|(x, y)| tile(x, y)).collect();
    let in_tiles = base.with(322, &[32]).with(323, &[16]).in_chunks(tiles);
    assert_eq!(shown(&in_tiles), picture, "tiles");

    let deep = data.iter().flat_map(|v| (u16::from(*v) * 257).to_le_bytes()).collect::<Vec<_>>();
    let plane = |c: usize| deep.chunks(2).skip(c).step_by(3).flatten().copied().collect::<Vec<u8>>();
    let file = Tiff::new((50, 37), 2, 16, 3, Vec::new()).with(284, &[2]);
    assert_eq!(shown(&file.in_chunks(vec![plane(0), plane(1), plane(2)])), picture, "16-bit planes");
}

#[test]
fn every_lossless_compression_gives_the_same_picture() {
    let picture = photo(60, 41);
    let data = rgb(&picture);
    let deep: Vec<u16> = data.iter().map(|v| u16::from(*v) * 257).collect();
    for (what, compression) in [
        ("LZW", Compression::Lzw),
        ("deflate", Compression::Deflate(DeflateLevel::default())),
        ("PackBits", Compression::Packbits),
    ] {
        for predictor in [Predictor::None, Predictor::Horizontal] {
            // The one there is goes with the others alone; this one's tag says nothing.
            if what == "PackBits" && predictor != Predictor::None {
                continue;
            }
            let write = |big: bool, sixteen: bool| {
                let mut bytes = std::io::Cursor::new(Vec::new());
                if big {
                    let encoder = TiffEncoder::new_big(&mut bytes).expect("a header");
                    let mut encoder = encoder.with_compression(compression).with_predictor(predictor);
                    encoder.write_image::<colortype::RGB8>(60, 41, &data).expect("pixels");
                } else {
                    let encoder = TiffEncoder::new(&mut bytes).expect("a header");
                    let mut encoder = encoder.with_compression(compression).with_predictor(predictor);
                    if sixteen {
                        encoder.write_image::<colortype::RGB16>(60, 41, &deep).expect("pixels");
                    } else {
                        encoder.write_image::<colortype::RGB8>(60, 41, &data).expect("pixels");
                    }
                }
                bytes.into_inner()
            };
            for (big, sixteen) in [(false, false), (true, false), (false, true)] {
                let shown = show(&write(big, sixteen), &variant(Format::Png, 0, 0));
                assert_eq!(shown, picture, "{what}, {predictor:?}, BigTIFF {big}, 16 bits {sixteen}");
            }
        }
    }
}

/// A JPEG by libjpeg, its samples as they are given.
fn jpeg(space: ColorSpace, width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(if space == ColorSpace::JCS_GRAYSCALE { space } else { ColorSpace::JCS_RGB });
    compress.set_fastest_defaults();
    compress.set_size(width as usize, height as usize);
    compress.set_color_space(space);
    compress.set_quality(95.0);
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(samples).expect("writes");
    started.finish().expect("finishes")
}

#[test]
fn jpeg_inside_tiff_is_read_and_may_not_lie() {
    let picture = photo(64, 48);
    let data = rgb(&picture);
    let strip = |rows: &[u8]| jpeg(ColorSpace::JCS_YCbCr, 64, 16, rows);
    let strips: Vec<_> = data.chunks(64 * 3 * 16).map(strip).collect();
    let file = Tiff::new((64, 48), 6, 8, 3, Vec::new()).with(259, &[7]).with(278, &[16]).in_chunks(strips.clone());
    assert_like("YCbCr", &shown(&file), &picture, 32.0);

    let level = |x: u32, y: u32| (x * 3 + y) as u8;
    let samples: Vec<u8> = (0..48).flat_map(|y| (0..64).map(move |x| level(x, y))).collect();
    let one = jpeg(ColorSpace::JCS_GRAYSCALE, 64, 48, &samples);
    let file = Tiff::new((64, 48), 1, 8, 1, one).with(259, &[7]);
    assert_like("grey", &shown(&file), &grey(64, 48, level), 38.0);

    let mut lying = strips;
    let frame = lying[1].windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
    lying[1][frame + 5..frame + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
    let file = Tiff::new((64, 48), 6, 8, 3, Vec::new()).with(259, &[7]).with(278, &[16]).in_chunks(lying);
    assert!(render(&file.file(), &[variant(Format::Png, 0, 0)]).is_err());
}

#[test]
fn cmyk_in_a_tiff_looks_like_cmyk_in_a_jpeg() {
    let inks: [([u8; 4], [u8; 3]); 3] =
        [([0; 4], [255; 3]), ([255, 0, 0, 0], [0, 158, 224]), ([0, 0, 0, 255], [29, 29, 27])];
    for (ink, colour) in inks {
        let expected = RgbaImage::from_pixel(4, 4, Rgba([colour[0], colour[1], colour[2], 255]));
        assert_eq!(shown(&Tiff::new((4, 4), 5, 8, 4, ink.repeat(16))), expected);
        let deep = ink.iter().flat_map(|v| [*v, *v]).collect::<Vec<_>>().repeat(16);
        assert_eq!(shown(&Tiff::new((4, 4), 5, 16, 4, deep)), expected, "16 bits");
        let spot = [&ink[..], &[77]].concat().repeat(16);
        let file = Tiff::new((4, 4), 5, 8, 5, spot);
        assert_eq!(shown(&file.clone().with(338, &[0])), expected, "with a spot colour");
        let seen = shown(&file.with(338, &[2]));
        let [r, g, b] = colour;
        assert_eq!(seen, RgbaImage::from_pixel(4, 4, Rgba([r, g, b, 77])), "with alpha");
    }
}

#[test]
fn lab_becomes_srgb() {
    // sRGB's red, green and blue in CIELAB under D50.
    let cases =
        [([54.29, 80.81, 69.89], [255, 0, 0]), ([87.82, -79.29, 80.99], [0, 255, 0]), ([50.0, 0.0, 0.0], [119; 3])];
    for ([l, a, b], colour) in cases {
        let near = |found: &RgbaImage| {
            let Rgba([r, g, b, _]) = *found.get_pixel(0, 0);
            let off = super::ciede::between([r, g, b], colour);
            assert!(off < 1.5, "{:?} instead of {colour:?}: {off:.2}", [r, g, b]);
        };
        let signed = |v: f64| (v.round() as i32).rem_euclid(256) as u8;
        let data = [(l * 2.55_f64).round() as u8, signed(a), signed(b)];
        near(&shown(&Tiff::new((2, 2), 8, 8, 3, data.repeat(4))));
        near(&shown(&Tiff::new(
            (2, 2),
            9,
            8,
            3,
            data.map(|v| v)
                .iter()
                .enumerate()
                .map(|(i, v)| if i == 0 { *v } else { v.wrapping_add(128) })
                .collect::<Vec<_>>()
                .repeat(4),
        )));
        let deep = [
            (l * 655.35_f64).round() as u16,
            ((a * 256.0).round() as i32).rem_euclid(65_536) as u16,
            ((b * 256.0).round() as i32).rem_euclid(65_536) as u16,
        ];
        let deep: Vec<u8> = deep.iter().flat_map(|v| v.to_le_bytes()).collect();
        near(&shown(&Tiff::new((2, 2), 8, 16, 3, deep.repeat(4))));
    }
}

#[test]
fn the_first_page_shows() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).expect("a header");
    encoder.write_image::<colortype::Gray8>(3, 2, &[10; 6]).expect("pixels");
    encoder.write_image::<colortype::RGB8>(30, 20, &[200; 1800]).expect("pixels");
    assert_eq!(show(&bytes.into_inner(), &variant(Format::Png, 0, 0)), grey(3, 2, |_, _| 10));
}

#[test]
fn what_can_not_be_read_is_named_at_upload() {
    let base = || Tiff::new((4, 4), 2, 8, 3, vec![0; 48]);
    for (file, named) in [
        (base().with(259, &[34_925]), "34925"),
        (base().with(262, &[32_803]), "32803"),
        (base().with(258, &[17, 17, 17]), "17 bits"),
        (base().with(258, &[5, 6, 5]), "different numbers of bits"),
        (base().with(339, &[2, 2, 2]), "format 2"),
        (base().with(50_706, &[1]), "raw"),
        (base().with(262, &[6]), "subsampled"),
    ] {
        let error = inspect(std::io::Cursor::new(file.file()), &PixelLimits::default()).expect_err("can't be read");
        assert!(matches!(error, InspectError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error} names {named}");
    }
}
