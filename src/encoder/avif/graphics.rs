//! Whether a picture is drawn and not photographed: a logo, a chart, a screenshot, pixel art, a scan of text.
//!
//! Beside an edge that is drawn lies one colour, exactly, pixel after pixel. A camera seldom sees one twice: only where it is
//! blown out, or black, or smoothed. Then few edges are steep where they leave that colour.
//!
//! Of 285 photos (CLIC 2025's, and CID22's at 512 and 256 pixels) two pass for drawings: a glass cut out on white, and
//! stripes of a smooth dark grey. Scans of grey paper are photos.

use super::super::{Picture, Pixels};
use super::knobs::Content;

/// Pixels a side of the squares that are looked at.
const SIDE: usize = 8;

/// How many squares are looked at, at most, from all over the picture: a tenth of a millisecond.
const SQUARES_MAX: usize = 1024;

/// How much the samples of a channel must differ within a square for it to hold an edge.
const EDGE: u8 = 48;

/// How many of a square's 64 pixels must be of one colour.
const OF_ONE_COLOUR: usize = 16;

/// How much a pixel beside that colour must differ from it for the edge to be steep.
const STEEP: u8 = 32;

/// Of the squares with an edge, so many have one colour in what is drawn, in percent: most graphics that are scaled down
/// have 47 to 76, photos up to 43 but for those two.
const DRAWN_PERCENT: usize = 45;

/// Or so many have one colour, and so many a steep edge beside it: charts and screenshots with photos in them have 31 and
/// more, photos up to 23.
const DRAWN_IN_PART_PERCENT: usize = 20;
const STEEP_PERCENT: usize = 25;

/// One in how many of all squares has an edge and more than two colours, at least, where something is all over. That is what
/// takes time: by the slower search such graphics took 5 to 15 times as long as a photo of their size, others 2 to 8 times,
/// printed pages and line drawings 2 to 4 times.
const DENSE_ONE_IN: usize = 5;

/// What `picture` shows.
pub(super) fn content(picture: &Picture) -> Content {
    let Counted { squares, edges, drawn, steep, mixed } = count(picture);
    let are = |squares: usize, percent: usize| squares * 100 >= edges * percent;
    let is_drawn = are(drawn, DRAWN_PERCENT) || are(drawn, DRAWN_IN_PART_PERCENT) && are(steep, STEEP_PERCENT);
    if edges == 0 || !is_drawn {
        Content::Photo
    } else if mixed * DENSE_ONE_IN < squares {
        Content::Graphic
    } else {
        Content::DenseGraphic
    }
}

/// What was found in the squares that were looked at.
#[derive(Default)]
struct Counted {
    squares: usize,
    /// Those with an edge.
    edges: usize,
    /// Those of them with one colour beside it.
    drawn: usize,
    /// Those of these where the edge is steep.
    steep: usize,
    /// Those with an edge that have more than two colours.
    mixed: usize,
}

fn count(picture: &Picture) -> Counted {
    match &picture.pixels {
        Pixels::Rgb(samples) => count_in::<3>(samples, picture),
        Pixels::Rgba(samples) => count_in::<4>(samples, picture),
    }
}

fn count_in<const N: usize>(samples: &[u8], picture: &Picture) -> Counted {
    let (across, down) = (picture.width as usize / SIDE, picture.height as usize / SIDE);
    let stride = picture.width as usize * N;
    let every = (across * down).div_ceil(SQUARES_MAX).max(1);
    let mut counted = Counted::default();
    for row in 0..down {
        // Each row begins one further to the right, so that no column is always left out.
        for column in (row % every..across).step_by(every) {
            let from = row * SIDE * stride + column * SIDE * N;
            let square = Square::of::<N>(&samples[from..], stride);
            counted.squares += 1;
            if square.has_edge() {
                counted.edges += 1;
                let colour = square.one_colour();
                counted.drawn += usize::from(colour.is_some());
                counted.steep += usize::from(colour.is_some_and(|colour| square.is_steep_beside(colour)));
                counted.mixed += usize::from(square.has_third_colour());
            }
        }
    }
    counted
}

/// Eight by eight pixels as they look on white: R, G, B, and a zero.
struct Square([[u8; 4]; SIDE * SIDE]);

impl Square {
    /// The one at the start of `samples`, rows of `stride` bytes.
    fn of<const N: usize>(samples: &[u8], stride: usize) -> Self {
        let mut pixels = [[0; 4]; SIDE * SIDE];
        for (row, samples) in pixels.chunks_exact_mut(SIDE).zip(samples.chunks(stride)) {
            for (pixel, sample) in row.iter_mut().zip(samples.chunks_exact(N)) {
                pixel[..3].copy_from_slice(&sample[..3]);
                if N == 4 {
                    *pixel = over_white(*pixel, sample[3]);
                }
            }
        }
        Self(pixels)
    }

    fn has_edge(&self) -> bool {
        let (mut low, mut high) = ([u8::MAX; 4], [0; 4]);
        for pixel in &self.0 {
            for c in 0..4 {
                low[c] = low[c].min(pixel[c]);
                high[c] = high[c].max(pixel[c]);
            }
        }
        (0..4).any(|c| high[c] - low[c] >= EDGE)
    }

    fn has_third_colour(&self) -> bool {
        let first = self.0[0];
        let second = self.0.iter().find(|pixel| **pixel != first);
        second.is_some_and(|second| self.0.iter().any(|pixel| *pixel != first && pixel != second))
    }

    /// The colour that enough of the pixels have: that of one near a corner, for what lies beside an edge reaches one.
    fn one_colour(&self) -> Option<[u8; 4]> {
        let corners = [(1, 1), (1, 6), (6, 1), (6, 6)].map(|(x, y)| self.0[y * SIDE + x]);
        corners.into_iter().find(|colour| self.0.iter().filter(|pixel| *pixel == colour).count() >= OF_ONE_COLOUR)
    }

    /// Whether a pixel of `colour` has a neighbour that is far from it.
    fn is_steep_beside(&self, colour: [u8; 4]) -> bool {
        let is_far = |i: usize| (0..3).any(|c| self.0[i][c].abs_diff(colour[c]) >= STEEP);
        (0..SIDE * SIDE).filter(|i| self.0[*i] == colour).any(|i| {
            let (x, y) = (i % SIDE, i / SIDE);
            (x > 0 && is_far(i - 1))
                || (x + 1 < SIDE && is_far(i + 1))
                || (y > 0 && is_far(i - SIDE))
                || (y + 1 < SIDE && is_far(i + SIDE))
        })
    }
}

/// What shows of a pixel on white.
fn over_white([r, g, b, _]: [u8; 4], alpha: u8) -> [u8; 4] {
    let shown = |c: u8| {
        let sum = u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
        u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
    };
    [shown(r), shown(g), shown(b), 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixel: impl Fn(u32, u32) -> [u8; 4]) -> Picture {
        let (width, height) = (300, 200);
        let pixels = (0..width * height).flat_map(|i| pixel(i % width, i / width)).collect();
        Picture { width, height, pixels: Pixels::Rgba(pixels) }
    }

    fn noise(x: u32, y: u32) -> u8 {
        let n = (x.wrapping_mul(374_761_393) ^ y.wrapping_mul(668_265_263)).wrapping_mul(1_274_126_177);
        (n >> 29).to_le_bytes()[0]
    }

    #[test]
    fn what_is_drawn_is_told_from_what_a_camera_saw() {
        let disc = |x: u32, y: u32| (f64::from(x % 60) - 30.0).hypot(f64::from(y % 60) - 30.0) < 20.0;
        let flat = |x, y| if disc(x, y) { [200, 30, 30, 255] } else { [240, 240, 255, 255] };
        assert_eq!(content(&picture(flat)), Content::Graphic);
        // The same under a camera's noise.
        let noisy = |x, y| {
            let [r, g, b, a] = flat(x, y);
            [r - noise(x, y), g - noise(y, x), b - noise(x + 7, y), a]
        };
        assert_eq!(content(&picture(noisy)), Content::Photo);
    }

    #[test]
    fn an_edge_of_alpha_is_an_edge_and_what_is_transparent_has_no_colour() {
        let shape = |x: u32, y: u32| (x / 30 + y / 30).is_multiple_of(2);
        let cut_out = |x, y| if shape(x, y) { [0, 0, 0, 255] } else { [0, 0, 0, 0] };
        assert_eq!(content(&picture(cut_out)), Content::Graphic);
        let hidden = |x, y| [noise(x, y) * 30, noise(y, x) * 30, 0, 0];
        let over_noise = |x, y| if shape(x, y) { [90, 0, 0, 255] } else { hidden(x, y) };
        assert_eq!(content(&picture(over_noise)), Content::Graphic);
    }

    #[test]
    fn a_photo_that_is_blown_out_in_part_is_a_photo() {
        // White, then a dozen rows to it from something dark that no two pixels have alike.
        let blown_out = |x: u32, y: u32| {
            let rows = u8::try_from(((y + 3) % 80).abs_diff(40).saturating_sub(10).min(13)).unwrap_or(0);
            let shown = |c: u8| c.saturating_add(rows * 16);
            let (red, green, blue) = (noise(x, y), noise(y, x), noise(x + 7, y));
            [shown(60 + red), shown(50 + green), shown(50 + blue), 255]
        };
        let Counted { edges, drawn, steep, .. } = count(&picture(blown_out));
        assert!(drawn * 5 >= edges && steep * 4 < edges, "{drawn} of {edges}, {steep} steep");
        assert_eq!(content(&picture(blown_out)), Content::Photo);
    }

    #[test]
    fn nothing_to_see_is_no_graphic() {
        assert_eq!(content(&picture(|_, _| [9, 9, 9, 255])), Content::Photo);
        let tiny = Picture { width: 3, height: 2, pixels: Pixels::Rgb(vec![0; 18]) };
        assert_eq!(content(&tiny), Content::Photo);
    }

    #[test]
    fn dense_is_what_has_edges_of_several_colours_all_over() {
        let dots = |every: u32, soft: u8| {
            picture(move |x, y| match ((x % every).max(y % every), x % every) {
                (0..4, 3) => [soft, 100, 100, 255],
                (0..4, _) => [200, 0, 0, 255],
                _ => [255; 4],
            })
        };
        assert_eq!(content(&dots(10, 220)), Content::DenseGraphic);
        assert_eq!(content(&dots(60, 220)), Content::Graphic);
        let two_colours = picture(|x, y| if (x / 5 + y / 5) % 2 == 0 { [0, 0, 0, 255] } else { [255; 4] });
        assert_eq!(content(&two_colours), Content::Graphic);
    }
}
