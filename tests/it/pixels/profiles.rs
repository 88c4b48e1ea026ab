//! Colour spaces: patches against values computed here from the primaries and curves that define each.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use moxcms::ColorProfile;
use mozjpeg::{ColorSpace, Compress};
use pixerve::job::Format;

use super::ciede::between;
use super::picture::{show, variant};

type Matrix = [[f64; 3]; 3];

/// A colour space as its standard defines it: chromaticities of red, green, blue and white, and the curve to linear.
struct Space {
    name: &'static str,
    primaries: [[f64; 2]; 3],
    white: [f64; 2],
    linear: fn(f64) -> f64,
    /// The same curve as ICC writes it: its kind, and g, a, b, c, d.
    curve: (u16, &'static [f64]),
}

const D65: [f64; 2] = [0.3127, 0.3290];
const D50: [f64; 2] = [0.3457, 0.3585];
const SRGB: [[f64; 2]; 3] = [[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]];

fn srgb_curve(v: f64) -> f64 {
    if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

const SRGB_CURVE: (u16, &[f64]) = (3, &[2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.040_45]);

impl Space {
    /// An ICC profile of version 4, written here.
    fn icc(&self) -> Vec<u8> {
        let fixed = |v: f64| ((v * 65_536.0).round() as i32).to_be_bytes();
        let xyz_tag = |v: [f64; 3]| [&b"XYZ \0\0\0\0"[..], &v.map(fixed).concat()].concat();
        let columns = product(adapted(self.white, D50), to_xyz(self.primaries, self.white));
        let column = |c: usize| xyz_tag([columns[0][c], columns[1][c], columns[2][c]]);
        let mut curve = b"para\0\0\0\0".to_vec();
        curve.extend(self.curve.0.to_be_bytes());
        curve.extend([0, 0]);
        curve.extend(self.curve.1.iter().flat_map(|v| fixed(*v)));
        let tags = [
            (b"wtpt", xyz_tag(xyz(D50))),
            (b"rXYZ", column(0)),
            (b"gXYZ", column(1)),
            (b"bXYZ", column(2)),
            (b"rTRC", curve.clone()),
            (b"gTRC", curve.clone()),
            (b"bTRC", curve),
        ];
        let mut file = vec![0; 128];
        file[8] = 4;
        file[12..24].copy_from_slice(b"mntrRGB XYZ ");
        file[36..40].copy_from_slice(b"acsp");
        file[68..80].copy_from_slice(&[0, 0, 0xF6, 0xD6, 0, 1, 0, 0, 0, 0, 0xD3, 0x2D]);
        file.extend((tags.len() as u32).to_be_bytes());
        let mut at = 128 + 4 + 12 * tags.len();
        for (id, data) in &tags {
            file.extend(*id);
            file.extend((at as u32).to_be_bytes());
            file.extend((data.len() as u32).to_be_bytes());
            at += data.len();
        }
        file.extend(tags.iter().flat_map(|(_, data)| data));
        let length = (file.len() as u32).to_be_bytes();
        file[..4].copy_from_slice(&length);
        file
    }
}

const SPACES: [Space; 4] = [
    Space {
        name: "Display P3",
        primaries: [[0.680, 0.320], [0.265, 0.690], [0.150, 0.060]],
        white: D65,
        linear: srgb_curve,
        curve: SRGB_CURVE,
    },
    Space {
        name: "Adobe RGB",
        primaries: [[0.64, 0.33], [0.21, 0.71], [0.15, 0.06]],
        white: D65,
        linear: |v| v.powf(2.199_218_75),
        curve: (0, &[2.199_218_75]),
    },
    Space {
        name: "ProPhoto",
        primaries: [[0.734_699, 0.265_301], [0.159_597, 0.840_403], [0.036_598, 0.000_105]],
        white: D50,
        linear: |v| if v < 16.0 / 512.0 { v / 16.0 } else { v.powf(1.8) },
        curve: (3, &[1.8, 1.0, 0.0, 1.0 / 16.0, 16.0 / 512.0]),
    },
    Space { name: "sRGB", primaries: SRGB, white: D65, linear: srgb_curve, curve: SRGB_CURVE },
];

fn times(matrix: Matrix, vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    let column = |c: usize| times(a, [b[0][c], b[1][c], b[2][c]]);
    let columns = [column(0), column(1), column(2)];
    [0, 1, 2].map(|row| [columns[0][row], columns[1][row], columns[2][row]])
}

fn inverse(m: Matrix) -> Matrix {
    let minor = |r: usize, c: usize| {
        let at = |i: usize, j: usize| m[(r + i) % 3][(c + j) % 3];
        at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    [0, 1, 2].map(|r| [0, 1, 2].map(|c| minor(c, r) / determinant))
}

fn xyz([x, y]: [f64; 2]) -> [f64; 3] {
    [x / y, 1.0, (1.0 - x - y) / y]
}

/// Linear RGB to XYZ under the space's own white.
fn to_xyz(primaries: [[f64; 2]; 3], white: [f64; 2]) -> Matrix {
    let columns = primaries.map(xyz);
    let matrix = [0, 1, 2].map(|row| [columns[0][row], columns[1][row], columns[2][row]]);
    let scale = times(inverse(matrix), xyz(white));
    matrix.map(|row| [row[0] * scale[0], row[1] * scale[1], row[2] * scale[2]])
}

/// Bradford's adaptation from one white to another.
fn adapted(from: [f64; 2], to: [f64; 2]) -> Matrix {
    const CONES: Matrix = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    let (from, to) = (times(CONES, xyz(from)), times(CONES, xyz(to)));
    let scaled = [0, 1, 2].map(|i| CONES[i].map(|v| v * to[i] / from[i]));
    product(inverse(CONES), scaled)
}

/// sRGB of 8 bits for encoded `rgb` of a space.
fn srgb_of(primaries: [[f64; 2]; 3], white: [f64; 2], linear: [f64; 3]) -> [u8; 3] {
    let to_linear_srgb = product(inverse(to_xyz(SRGB, D65)), product(adapted(white, D65), to_xyz(primaries, white)));
    times(to_linear_srgb, linear).map(|v| {
        let v = v.clamp(0.0, 1.0);
        let v = if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (v * 255.0).round() as u8
    })
}

/// Colours that are inside sRGB in each of the spaces, dark and light, dull and bright.
const PATCHES: [[f64; 3]; 9] = [
    [0.5, 0.5, 0.5],
    [0.08, 0.09, 0.1],
    [0.95, 0.94, 0.9],
    [0.6, 0.45, 0.4],
    [0.4, 0.5, 0.42],
    [0.35, 0.36, 0.55],
    [0.7, 0.65, 0.5],
    [0.2, 0.15, 0.16],
    [0.55, 0.5, 0.6],
];

/// A PNG of one colour, of 8 or 16 bits, with a profile.
fn patch(colour: [f64; 3], bits: u32, alpha: bool, icc: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(icc).expect("PNG holds profiles");
    let full = f64::from((1_u32 << bits) - 1);
    let mut pixel: Vec<f64> = colour.map(|v| (v * full).round()).to_vec();
    if alpha {
        pixel.push((full / 2.0).round());
    }
    let samples: Vec<u8> = match bits {
        8 => pixel.iter().map(|v| *v as u8).collect(),
        _ => pixel.iter().flat_map(|v| (*v as u16).to_ne_bytes()).collect(),
    };
    let kind = match (bits, alpha) {
        (8, false) => ExtendedColorType::Rgb8,
        (8, true) => ExtendedColorType::Rgba8,
        (_, false) => ExtendedColorType::Rgb16,
        (_, true) => ExtendedColorType::Rgba16,
    };
    encoder.write_image(&samples.repeat(144), 12, 12, kind).expect("pixels");
    bytes
}

fn centre(source: &[u8]) -> [u8; 3] {
    at_size(source, 6)
}

/// The colour in the middle of `source` once it is `side` pixels wide, 0 for as it is.
fn at_size(source: &[u8], side: u32) -> [u8; 3] {
    let shown = show(source, &variant(Format::Png, side, side));
    let [r, g, b, _] = shown.get_pixel(3, 3).0;
    [r, g, b]
}

#[test]
fn every_common_space_lands_on_its_srgb_in_8_and_16_bits() {
    for space in SPACES {
        let icc = space.icc();
        for colour in PATCHES {
            for (bits, alpha) in [(8, false), (16, false), (8, true), (16, true)] {
                let full = f64::from((1_u32 << bits) - 1);
                let stored = colour.map(|v| (v * full).round() / full);
                let expected = srgb_of(space.primaries, space.white, stored.map(space.linear));
                // Resized, half-transparent colours of 8 bits keep 7 of them: they are premultiplied on the way.
                let found = at_size(&patch(colour, bits, alpha, icc.clone()), if alpha { 0 } else { 6 });
                let off = between(found, expected);
                assert!(off < 1.5, "{}, {bits} bits, {colour:?}: {found:?}, not {expected:?}: {off:.2}", space.name);
            }
        }
    }
}

#[test]
fn a_profile_of_another_model_is_passed_over() {
    let grey = ColorProfile::new_gray_with_gamma(2.2).encode().expect("a profile");
    let found = centre(&patch([0.8, 0.4, 0.2], 8, false, grey));
    assert_eq!(found, [204, 102, 51]);
}

/// What `gamma` makes of a level: light, or, by way of lightness, light again.
fn light(level: f64, gamma: f32, is_lightness: bool) -> f64 {
    let value = level.powf(f64::from(gamma));
    let y = (value * 100.0 + 16.0) / 116.0;
    match (is_lightness, y > 6.0 / 29.0) {
        (false, _) => value,
        (true, true) => y.powi(3),
        (true, false) => 3.0 * (6.0_f64 / 29.0).powi(2) * (y - 4.0 / 29.0),
    }
}

#[test]
fn grey_with_a_profile_follows_its_curve() {
    for (gamma, is_lightness) in [(1.0_f32, false), (1.8, false), (2.2, false), (1.0, true), (0.8, true), (1.5, true)] {
        let mut icc = ColorProfile::new_gray_with_gamma(gamma).encode().expect("a profile");
        if is_lightness {
            // The space that connects it, by the header.
            icc[20..24].copy_from_slice(b"Lab ");
        }
        for (kind, bits) in [(ExtendedColorType::L8, 8), (ExtendedColorType::L16, 16), (ExtendedColorType::La8, 8)] {
            for level in [0.1, 0.3, 0.5, 0.9_f64] {
                let mut bytes = Vec::new();
                let mut encoder = PngEncoder::new(&mut bytes);
                encoder.set_icc_profile(icc.clone()).expect("PNG holds profiles");
                let samples = match (bits, kind) {
                    (16, _) => ((level * 65_535.0).round() as u16).to_ne_bytes().repeat(64),
                    (_, ExtendedColorType::La8) => [(level * 255.0).round() as u8, 128].repeat(64),
                    _ => vec![(level * 255.0).round() as u8; 64],
                };
                encoder.write_image(&samples, 8, 8, kind).expect("pixels");
                let linear = light(level, gamma, is_lightness);
                let expected = srgb_of(SRGB, D65, [linear; 3]);
                let off = between(centre(&bytes), expected);
                let what = format!("gamma {gamma}, of lightness {is_lightness}, {kind:?}, {level}");
                assert!(off < 1.0, "{what}: {:?}, not {expected:?}", centre(&bytes));
            }
        }
    }
}

/// A PNG of one colour with chunks as given before its data.
fn with_chunks(colour: [u8; 3], chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    for (id, data) in chunks {
        writer.write_chunk(png::chunk::ChunkType(*id), data).expect("a chunk");
    }
    writer.write_image_data(&RgbImage::from_pixel(8, 8, Rgb(colour))).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

fn hundred_thousandths(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| ((v * 100_000.0).round() as u32).to_be_bytes()).collect()
}

/// cHRM of Display P3.
fn p3_chromaticities() -> Vec<u8> {
    hundred_thousandths(&[0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060])
}

#[test]
fn png_colour_chunks_are_followed_in_the_order_of_the_standard() {
    let colour = [150, 110, 100];
    let unit = colour.map(|v| f64::from(v) / 255.0);
    let p3 = srgb_of(SPACES[0].primaries, D65, unit.map(srgb_curve));
    let gamma = |gamma: f64| (*b"gAMA", hundred_thousandths(&[gamma]));
    let chromaticities = || (*b"cHRM", p3_chromaticities());
    let srgb = || (*b"sRGB", vec![0]);
    // cICP: BT.2020 primaries, sRGB's curve; RGB of full range.
    let bt2020 = || (*b"cICP", vec![9, 13, 0, 1]);
    let of_bt2020 = srgb_of([[0.708, 0.292], [0.170, 0.797], [0.131, 0.046]], D65, unit.map(srgb_curve));
    let icc = {
        let file = patch([0.5; 3], 8, false, SPACES[0].icc());
        let at = file.windows(4).position(|w| w == b"iCCP").expect("a profile");
        let length = u32::from_be_bytes([file[at - 4], file[at - 3], file[at - 2], file[at - 1]]) as usize;
        (*b"iCCP", file[at + 4..at + 4 + length].to_vec())
    };
    let linear = |exponent: f64| srgb_of(SRGB, D65, unit.map(|v| v.powf(exponent)));
    let cases = [
        ("nothing", vec![], colour),
        ("gAMA of sRGB", vec![gamma(0.45455)], colour),
        ("gAMA 1.0", vec![gamma(1.0)], linear(1.0)),
        ("gAMA 0.55", vec![gamma(0.55)], linear(1.0 / 0.55)),
        ("gAMA and cHRM", vec![gamma(0.45455), chromaticities()], p3),
        ("cHRM alone", vec![chromaticities()], colour),
        ("sRGB before gAMA and cHRM", vec![gamma(1.0), chromaticities(), srgb()], colour),
        ("iCCP before gAMA", vec![gamma(1.0), icc.clone()], p3),
        ("cICP before iCCP", vec![bt2020(), icc.clone()], of_bt2020),
        ("cICP of HDR leaves it to iCCP", vec![(*b"cICP", vec![9, 16, 0, 1]), icc], p3),
        ("nonsense", vec![gamma(0.0), (*b"cHRM", vec![0; 32]), (*b"cICP", vec![200, 200, 0, 1])], colour),
    ];
    for (what, chunks, expected) in cases {
        let found = centre(&with_chunks(colour, &chunks));
        let off = between(found, expected);
        assert!(off < 1.0, "{what}: {found:?}, not {expected:?}: {off:.2}");
    }
}

/// A CMYK JPEG of one ink, signed by Adobe (and so inverted) with a transform of none or YCCK.
fn ink_jpeg(ink: [u8; 4], ycck: bool) -> Vec<u8> {
    let mut compress = Compress::new(ColorSpace::JCS_CMYK);
    compress.set_fastest_defaults();
    compress.set_size(16, 16);
    if ycck {
        compress.set_color_space(ColorSpace::JCS_YCCK);
    }
    compress.set_quality(99.0);
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(&ink.map(|v| 255 - v).repeat(256)).expect("writes");
    started.finish().expect("finishes")
}

#[test]
fn ycck_gives_the_same_colours_as_cmyk() {
    for ink in [[0; 4], [255, 0, 0, 0], [30, 180, 90, 20], [0, 0, 0, 255], [120, 10, 200, 60]] {
        let (plain, ycck) = (centre(&ink_jpeg(ink, false)), centre(&ink_jpeg(ink, true)));
        assert!(between(plain, ycck) < 1.5, "{ink:?}: {plain:?} and {ycck:?}");
    }
}

/// A printer's profile with a table of our making: paper minus each ink, in CIELAB, so that what it means is known.
fn printer() -> Vec<u8> {
    let lab = |c: f64, m: f64, y: f64, k: f64| {
        let l = (100.0 - 30.0 * c - 40.0 * m - 8.0 * y) * (1.0 - 0.85 * k);
        let shade = 1.0 - 0.9 * k;
        [l, (-30.0 * c + 60.0 * m - 4.0 * y) * shade, (-40.0 * c - 5.0 * m + 80.0 * y) * shade]
    };
    let corner = |i: u32, bit: u32| f64::from(i >> bit & 1);
    let mut table = b"mft2\0\0\0\0\x04\x03\x02\0".to_vec();
    let fixed = |v: f64| ((v * 65_536.0) as i32).to_be_bytes();
    table.extend([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0].into_iter().flat_map(fixed));
    table.extend([0, 2, 0, 2]);
    table.extend([0, 0, 0xFF, 0xFF].repeat(4));
    // The first ink varies slowest. CIELAB of ICC version 2: 0xFF00 is 100, 0x8000 is 0.
    for i in 0..16_u32 {
        let [l, a, b] = lab(corner(i, 3), corner(i, 2), corner(i, 1), corner(i, 0));
        for v in [l / 100.0 * 65_280.0, (a + 128.0) * 256.0, (b + 128.0) * 256.0] {
            table.extend((v.round() as u16).to_be_bytes());
        }
    }
    table.extend([0, 0, 0xFF, 0xFF].repeat(3));
    let mut file = vec![0; 128];
    file[8] = 2;
    file[12..16].copy_from_slice(b"prtr");
    file[16..20].copy_from_slice(b"CMYK");
    file[20..24].copy_from_slice(b"Lab ");
    file[36..40].copy_from_slice(b"acsp");
    file[68..80].copy_from_slice(&[0, 0, 0xF6, 0xD6, 0, 1, 0, 0, 0, 0, 0xD3, 0x2D]);
    file.extend(2_u32.to_be_bytes());
    for (id, at, length) in [(b"A2B0", 128 + 4 + 24, table.len()), (b"A2B1", 128 + 4 + 24, table.len())] {
        file.extend(id);
        file.extend((at as u32).to_be_bytes());
        file.extend((length as u32).to_be_bytes());
    }
    file.extend(table);
    let length = (file.len() as u32).to_be_bytes();
    file[..4].copy_from_slice(&length);
    file
}

#[test]
fn cmyk_with_a_profile_follows_the_profile() {
    let icc = printer();
    // The table's corners as CIELAB under D50, worked out to sRGB here.
    let srgb = |[l, a, b]: [f64; 3]| {
        let y = (l + 16.0) / 116.0;
        let f = |t: f64| if t > 6.0 / 29.0 { t.powi(3) } else { 3.0 * (6.0_f64 / 29.0).powi(2) * (t - 4.0 / 29.0) };
        let [wx, wy, wz] = xyz(D50);
        let at_d50 = [wx * f(y + a / 500.0), wy * f(y), wz * f(y - b / 200.0)];
        let linear = times(product(inverse(to_xyz(SRGB, D65)), adapted(D50, D65)), at_d50);
        srgb_of(SRGB, D65, linear)
    };
    let cases = [
        ([0, 0, 0, 0], [100.0, 0.0, 0.0]),
        ([255, 0, 0, 0], [70.0, -30.0, -40.0]),
        ([0, 0, 255, 0], [92.0, -4.0, 80.0]),
        ([0, 0, 0, 255], [15.0, 0.0, 0.0]),
        ([0, 255, 0, 0], [60.0, 60.0, -5.0]),
    ];
    for (ink, lab) in cases {
        let expected = srgb(lab);
        for ycck in [false, true] {
            let mut file = ink_jpeg(ink, ycck);
            let mut segment = vec![0xFF, 0xE2];
            segment.extend((icc.len() as u16 + 16).to_be_bytes());
            segment.extend(b"ICC_PROFILE\0\x01\x01");
            segment.extend(&icc);
            file.splice(2..2, segment);
            let found = centre(&file);
            let off = between(found, expected);
            assert!(off < 2.0, "{ink:?}, YCCK {ycck}: {found:?}, not {expected:?}: {off:.2}");
        }
    }
}
