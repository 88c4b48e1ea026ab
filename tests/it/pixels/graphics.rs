//! Graphics of several kinds: what is drawn stays sharp, and costs little.

use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use pixerve::encoder::{Avif, AvifEngine, EncodeSettings, Encoder, Picture, Pixels, Png, Webp};
use pixerve::job::{Format, VariantSpec};

use super::avif::decode;
use super::picture::{file, render, variant};

/// How alike two pictures look: 100 is the same, 90 can't be told from it side by side.
pub(super) fn ssimulacra2(ours: &RgbImage, original: &RgbImage) -> f64 {
    Ssimulacra2Reference::new(&slice(original)).expect("large enough").compare(&slice(ours)).expect("the same size")
}

fn slice(image: &RgbImage) -> PixelSlice<'_> {
    let (width, height) = image.dimensions();
    PixelSlice::new(image.as_raw(), width, height, width as usize * 3, PixelDescriptor::RGB8_SRGB).expect("whole rows")
}

fn picture(image: &RgbImage) -> Picture {
    let (width, height) = image.dimensions();
    Picture { width, height, pixels: Pixels::Rgb(image.as_raw().clone()) }
}

/// Paper that shapes are drawn on, four by four samples a pixel, so that their edges are as soft as a browser draws them.
struct Drawing {
    samples: RgbImage,
}

impl Drawing {
    fn new(width: u32, height: u32, paper: [u8; 3]) -> Self {
        Self { samples: RgbImage::from_pixel(width * 4, height * 4, Rgb(paper)) }
    }

    /// Where `inside`, in pixels, is true.
    fn fill(&mut self, colour: [u8; 3], inside: impl Fn(f64, f64) -> bool) {
        for (x, y, sample) in self.samples.enumerate_pixels_mut() {
            if inside(f64::from(x) / 4.0, f64::from(y) / 4.0) {
                *sample = Rgb(colour);
            }
        }
    }

    fn rectangle(&mut self, colour: [u8; 3], (left, top): (f64, f64), (width, height): (f64, f64)) {
        self.fill(colour, |x, y| (left..left + width).contains(&x) && (top..top + height).contains(&y));
    }

    /// Rows of strokes like those of letters, `size` pixels high.
    fn text(&mut self, colour: [u8; 3], (left, top): (f64, f64), (letters, lines): (u32, u32), size: f64) {
        self.fill(colour, |x, y| {
            let (column, line) = ((x - left) / (size * 0.6), (y - top) / (size * 1.5));
            if !(0.0..f64::from(letters)).contains(&column) || !(0.0..f64::from(lines)).contains(&line) {
                return false;
            }
            let letter = (column as u32 * 7919 + line as u32 * 104_729) % 31;
            let (u, v) = (column.fract(), line.fract() * 1.5);
            let bar = |at: f64, position: f64| (at - position).abs() < 0.09;
            // Which strokes a letter has: two uprights, three level ones, a slanted one; some are spaces.
            letter > 2
                && v < 1.0
                && u < 0.8
                && ((letter & 1 != 0 && bar(u, 0.1))
                    || (letter & 2 != 0 && bar(u, 0.7))
                    || (letter & 4 != 0 && bar(v, 0.1))
                    || (letter & 8 != 0 && bar(v, 0.5))
                    || (letter & 16 != 0 && bar(v, 0.9))
                    || (letter.is_multiple_of(5) && bar(u, 0.8 * v)))
        });
    }

    fn finish(&self) -> RgbImage {
        image::imageops::resize(
            &self.samples,
            self.samples.width() / 4,
            self.samples.height() / 4,
            image::imageops::FilterType::Triangle,
        )
    }

    /// Without soft edges.
    fn finish_hard(&self) -> RgbImage {
        RgbImage::from_fn(self.samples.width() / 4, self.samples.height() / 4, |x, y| {
            *self.samples.get_pixel(x * 4 + 1, y * 4 + 1)
        })
    }
}

fn line_drawing() -> RgbImage {
    let mut drawing = Drawing::new(480, 360, [255; 3]);
    for i in 1..9 {
        let (cx, cy) = (55.0 * f64::from(i), 180.0 + 60.0 * f64::from(i % 3));
        drawing.fill([0; 3], |x, y| ((x - cx).hypot(y - cy) % 17.0) < 1.2 && (x - cx).hypot(y - cy) < 70.0);
    }
    drawing.fill([0; 3], |x, y| y < 110.0 && (x + 2.0 * y) % 11.0 < 1.3);
    drawing.finish_hard()
}

fn logo() -> RgbImage {
    let mut drawing = Drawing::new(256, 256, [255; 3]);
    drawing.fill([14, 82, 160], |x, y| (x - 128.0).hypot(y - 100.0) < 80.0);
    drawing.fill([250, 190, 20], |x, y| (x - 128.0).hypot(y - 100.0) < 52.0);
    drawing.fill([14, 82, 160], |x, y| (x - 128.0).abs() + (y - 100.0).abs() < 34.0);
    drawing.text([40, 40, 46], (26.0, 204.0), (10, 1), 32.0);
    drawing.finish()
}

fn chart() -> RgbImage {
    let mut drawing = Drawing::new(520, 340, [255; 3]);
    for i in 0..8 {
        drawing.rectangle([222; 3], (40.0, 20.0 + 40.0 * f64::from(i)), (460.0, 1.0));
        drawing.text([90; 3], (6.0, 16.0 + 40.0 * f64::from(i)), (4, 1), 9.0);
    }
    for (i, colour) in [[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40]].into_iter().enumerate() {
        let phase = i as f64;
        drawing.fill(colour, |x, y| {
            let level = |x: f64| 160.0 + 70.0 * (x / 60.0 + phase).sin() + 25.0 * (x / (11.0 + phase)).sin();
            let slope = level(x + 0.5) - level(x - 0.5);
            x > 40.0 && x < 500.0 && (y - level(x)).abs() < 0.9 * (1.0 + slope * slope).sqrt()
        });
        drawing.rectangle(colour, (60.0 + 110.0 * phase, 310.0 - 18.0 * phase), (50.0, 18.0 * phase + 6.0));
    }
    drawing.text([20; 3], (190.0, 4.0), (24, 1), 11.0);
    drawing.finish()
}

fn screenshot() -> RgbImage {
    let mut drawing = Drawing::new(560, 400, [250, 250, 252]);
    drawing.rectangle([36, 41, 47], (0.0, 0.0), (560.0, 28.0));
    drawing.rectangle([240, 242, 245], (0.0, 28.0), (130.0, 372.0));
    drawing.text([230; 3], (12.0, 9.0), (30, 1), 10.0);
    drawing.text([60, 66, 74], (12.0, 44.0), (16, 20), 10.0);
    drawing.text([30; 3], (146.0, 44.0), (62, 18), 10.0);
    drawing.text([3, 102, 214], (146.0, 340.0), (30, 1), 12.0);
    for (i, colour) in [[46, 164, 79], [215, 58, 73], [3, 102, 214]].into_iter().enumerate() {
        let left = 146.0 + 100.0 * i as f64;
        drawing.rectangle(colour, (left, 366.0), (84.0, 24.0));
        drawing.text([255; 3], (left + 12.0, 372.0), (9, 1), 10.0);
    }
    drawing.finish()
}

fn pixel_art() -> RgbImage {
    const COLOURS: [[u8; 3]; 8] = [
        [34, 32, 52],
        [69, 40, 60],
        [102, 57, 49],
        [143, 86, 59],
        [223, 113, 38],
        [106, 190, 48],
        [91, 110, 225],
        [203, 219, 252],
    ];
    RgbImage::from_fn(320, 240, |x, y| {
        // Symmetric figures of two or three colours on grass, each another one.
        let (tile, u, v) = (x / 16 + 20 * (y / 16), x % 16, y % 16);
        let half = if u < 8 { u } else { 15 - u };
        let n = hash(half + 8 * v + 131 * tile);
        let body = (f64::from(half) - 7.5).hypot(f64::from(v) - 7.5) < 4.0 + f64::from(tile % 4);
        let colour = match (body, n >> 29) {
            (false, 0) => 5,
            (false, _) => 6,
            (true, 0 | 1) => 7,
            (true, _) => tile * 7 % 5,
        };
        Rgb(COLOURS[colour as usize])
    })
}

/// A number in no order.
fn hash(n: u32) -> u32 {
    let n = n.wrapping_mul(2_654_435_761);
    let n = (n ^ n >> 15).wrapping_mul(2_246_822_519);
    n ^ n >> 13
}

fn scan() -> RgbImage {
    let mut drawing = Drawing::new(500, 380, [255; 3]);
    drawing.text([0; 3], (30.0, 24.0), (58, 16), 13.0);
    let printed = drawing.finish_hard();
    // Ragged edges, as a scanner's threshold makes them.
    RgbImage::from_fn(printed.width(), printed.height(), |x, y| {
        let n = hash(x * 7919 + y) >> 24;
        let from = if n < 60 && x > 0 { x - 1 } else { x };
        *printed.get_pixel(from, y)
    })
}

/// Each with how much of WebP's size it may take.
fn graphics() -> [(&'static str, RgbImage, f64); 6] {
    [
        ("a line drawing", line_drawing(), 2.0),
        ("a logo", logo(), 2.0),
        ("a chart", chart(), 2.0),
        ("a screenshot", screenshot(), 2.0),
        // WebP keeps it without loss, as runs of few colours; AV1 has no like of that, whoever encodes it.
        ("pixel art", pixel_art(), 3.0),
        ("a scan of text", scan(), 2.0),
    ]
}

#[test]
fn graphics_are_sharp_and_not_much_larger_than_as_webp() {
    if !AvifEngine::Aom.is_built_in() {
        return;
    }
    for (what, image, most) in graphics() {
        let picture = picture(&image);
        let webp = Webp.encode(&picture, &EncodeSettings::default()).expect("encodes").len();
        for speed in [6, 9, 10] {
            let settings = EncodeSettings { quality: None, speed: Some(speed), ..EncodeSettings::default() };
            let file = Avif::default().encode(&picture, &settings).expect("encodes");
            let score = ssimulacra2(&DynamicImage::from(decode(&file)).into_rgb8(), &image);
            let what = format!("{what}, speed {speed}: {} bytes, {webp} as WebP, score {score:.1}", file.len());
            println!("{what}");
            assert!((file.len() as f64) < most * webp as f64 && score > 84.0, "{what}");
        }
    }
}

/// Shapes of these colours.
fn poster(inks: &[[u8; 3]]) -> Drawing {
    let mut drawing = Drawing::new(640, 480, [255; 3]);
    for (i, ink) in inks.iter().enumerate() {
        let (cx, cy) = (140.0 + 150.0 * i as f64, 150.0 + 60.0 * (i % 3) as f64);
        drawing.fill(*ink, |x, y| ((x - cx).hypot(y - cy) % 30.0) < 9.0 && (x - cx).hypot(y - cy) < 130.0);
        drawing.text(*ink, (30.0, 330.0 + 45.0 * i as f64), (40, 1), 26.0);
    }
    drawing
}

#[test]
fn a_png_of_an_original_with_a_palette_is_small_and_looks_the_same() {
    let png = |image| Png.encode(&picture(image), &EncodeSettings::default()).expect("encodes");
    let mut coloured = poster(&[[14, 82, 160], [214, 39, 40], [250, 190, 20]]).finish();
    // As who makes palettes does it: 216 colours at most.
    coloured.iter_mut().for_each(|sample| *sample = sample.saturating_add(25) / 51 * 51);
    let black = poster(&[[0; 3]]).finish_hard();
    // Each with how much of it a scaled one may have: soft edges take more than one bit.
    let sources = [
        ("a palette PNG", png(&coloured), &coloured, 1.0),
        ("a GIF", file(coloured.clone(), ImageFormat::Gif), &coloured, 1.0),
        ("a PNG of one bit", png(&black), &black, 3.0),
    ];
    for (what, source, image, most) in sources {
        let deep = file(image.clone(), ImageFormat::Bmp);
        for width in [320, 160] {
            let variant = VariantSpec { speed: None, ..variant(Format::Png, width, 0) };
            let encoded =
                |source: &[u8]| render(source, std::slice::from_ref(&variant)).expect("renders").remove(0).bytes;
            let (made, exact) = (encoded(&source), encoded(&deep));
            let show = |file: &[u8]| image::load_from_memory(file).expect("a PNG").into_rgb8();
            let score = ssimulacra2(&show(&made), &show(&exact));
            let bytes = (source.len(), made.len(), exact.len());
            println!("{what} at {width}: {bytes:?} bytes, {score:.1}");
            assert!(made.len() as f64 <= most * source.len() as f64 && score >= 90.0, "{what} at {width}: {bytes:?}");
            assert!(made.len() < exact.len(), "{what} at {width}: {bytes:?}");
        }
    }
}

#[test]
fn a_palette_that_is_not_scaled_keeps_every_colour() {
    let source = poster(&[[14, 82, 160], [214, 39, 40]]).finish();
    // 200 greys and blues beside it: a palette, and far more colours than look different.
    let source = RgbImage::from_fn(source.width(), source.height(), |x, y| match source.get_pixel(x, y) {
        Rgb([255, 255, 255]) => Rgb([55 + (x * 7 + y * 3) as u8 % 200, 200, 220]),
        Rgb([red, ..]) => Rgb([red / 64 * 64, 0, 0]),
    });
    let png = Png.encode(&picture(&source), &EncodeSettings::default()).expect("encodes");
    assert_eq!(png[25], 3, "it has a palette");
    for (width, height) in [(0, 0), (640, 480), (2000, 2000)] {
        let variant = VariantSpec { speed: None, ..variant(Format::Png, width, height) };
        let made = render(&png, std::slice::from_ref(&variant)).expect("renders").remove(0).bytes;
        assert!(image::load_from_memory(&made).expect("a PNG").into_rgb8() == source, "{width} x {height}");
    }
}

/// Like a photo to an encoder: soft light, texture of all sizes, some edges, a camera's grain; never two alike.
fn landscape(seed: u32) -> RgbImage {
    let noise = |x: f64, y: f64, seed: u32| {
        let at = |x: f64, y: f64| f64::from(hash((x as u32 * 7919) ^ hash(y as u32 ^ seed)) >> 16) / 32_768.0 - 1.0;
        let ease = |t: f64| t * t * (3.0 - 2.0 * t);
        let (left, top, right, down) = (x.floor(), y.floor(), ease(x.fract()), ease(y.fract()));
        let upper = at(left, top) * (1.0 - right) + at(left + 1.0, top) * right;
        let lower = at(left, top + 1.0) * (1.0 - right) + at(left + 1.0, top + 1.0) * right;
        upper * (1.0 - down) + lower * down
    };
    RgbImage::from_fn(384, 288, |px, py| {
        let (x, y) = (f64::from(px), f64::from(py));
        let hill = y > 150.0 + 60.0 * noise(x / 90.0, 0.0, seed);
        let texture: f64 = (1..7).map(|i| f64::from(1 << i)).map(|s| noise(x / s, y / s, seed + 1) * s.sqrt()).sum();
        let tint = 18.0 * noise(x / 40.0, y / 40.0, seed + 2);
        let grain = f64::from(hash(px * 104_729 + py) % 5) - 2.0;
        let [r, g, b] = if hill { [92.0, 108.0, 66.0] } else { [128.0 - y / 4.0, 168.0 - y / 5.0, 222.0 - y / 9.0] };
        let texture = texture * if hill { 9.0 } else { 2.0 } + grain;
        Rgb([r + tint, g, b - tint].map(|c| (c + texture).clamp(0.0, 255.0) as u8))
    })
}

/// The mean score of `speed` at `quality` over some landscapes, and the mean size.
fn look(landscapes: &[RgbImage], quality: u8, speed: u8) -> (f64, f64) {
    let settings = EncodeSettings { quality: Some(quality), speed: Some(speed), ..EncodeSettings::default() };
    let (mut score, mut bytes) = (0.0, 0.0);
    for image in landscapes {
        let file = Avif::default().encode(&picture(image), &settings).expect("encodes");
        score += ssimulacra2(&DynamicImage::from(decode(&file)).into_rgb8(), image) / landscapes.len() as f64;
        bytes += file.len() as f64 / landscapes.len() as f64;
    }
    (score, bytes)
}

#[test]
fn one_quality_is_one_look_at_every_speed() {
    if !AvifEngine::Aom.is_built_in() {
        return;
    }
    let landscapes: Vec<_> = (1..5).map(|i| landscape(i * 977)).collect();
    for quality in [60, 72, 83, 92] {
        // Slower ones take minutes in a build without optimisation.
        let looks: Vec<_> = [4, 6, 7, 8, 9, 10].map(|speed| look(&landscapes, quality, speed)).into();
        println!("{quality}: {looks:.1?}");
        let scores = || looks.iter().map(|(score, _)| *score);
        let spread = scores().fold(f64::MIN, f64::max) - scores().fold(f64::MAX, f64::min);
        // Photos differ by less, which `make bench-avif` shows; what is made here leaves a slow search less to find.
        assert!(spread < 4.5, "quality {quality}: {looks:.1?}");
        for pair in looks.windows(2) {
            assert!(pair[0].1 < pair[1].1 * 1.03, "quality {quality}: {looks:.1?}");
        }
    }
}
