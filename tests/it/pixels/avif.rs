//! AVIF to pixels, by a decoder that has nothing to do with the encoder.

use image::{Rgba, RgbaImage};
use re_rav1d::{Decoder, Picture, PixelLayout, PlanarImageComponent};

/// Decodes a still AVIF of 4:4:4, 4:2:0 or 4:0:0, full range, BT.601 matrix. Halved colour is interpolated, as
/// browsers do it.
pub(crate) fn decode(bytes: &[u8]) -> RgbaImage {
    let parsed = avif_parse::read_avif(&mut &*bytes).expect("an AVIF");
    let colour = av1(parsed.primary_item.to_vec());
    let alpha = parsed.alpha_item.map(|item| av1(item.to_vec()));
    let y = Samples::of(&colour, PlanarImageComponent::Y);
    let chroma = (colour.pixel_layout() != PixelLayout::I400)
        .then(|| [PlanarImageComponent::U, PlanarImageComponent::V].map(|c| Samples::of(&colour, c)));
    let (width, height) = (colour.width(), colour.height());
    let halved = colour.pixel_layout() == PixelLayout::I420;
    let a = alpha.as_ref().map(|alpha| Samples::of(alpha, PlanarImageComponent::Y));
    RgbaImage::from_fn(width, height, |px, py| {
        let [cb, cr] = chroma.as_ref().map_or([0.0; 2], |planes| {
            planes.each_ref().map(|plane| {
                let sample = if halved { plane.between(px, py, width, height) } else { plane.at(px, py) };
                sample - plane.half()
            })
        });
        let y = y.at(px, py);
        let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
        let [r, g, b] = rgb.map(|c| c.round().clamp(0.0, 255.0) as u8);
        Rgba([r, g, b, a.as_ref().map_or(255, |a| a.at(px, py).round() as u8)])
    })
}

/// The layout of a file's colour planes.
pub(crate) fn layout(bytes: &[u8]) -> PixelLayout {
    let parsed = avif_parse::read_avif(&mut &*bytes).expect("an AVIF");
    av1(parsed.primary_item.to_vec()).pixel_layout()
}

fn av1(data: Vec<u8>) -> Picture {
    let mut decoder = Decoder::new().expect("a decoder");
    decoder.send_data(data, None, None, None).expect("AV1 data");
    loop {
        match decoder.get_picture() {
            Ok(picture) => return picture,
            Err(e) if e.is_again() => decoder.send_pending_data().expect("AV1 data"),
            Err(e) => panic!("AV1 doesn't decode: {e}"),
        }
    }
}

struct Samples {
    plane: Vec<u8>,
    stride: u32,
    bits: usize,
}

impl Samples {
    fn of(picture: &Picture, component: PlanarImageComponent) -> Self {
        let stride = picture.stride(component);
        Self { plane: picture.plane(component).to_vec(), stride, bits: picture.bit_depth() }
    }

    /// No colour, on the scale of 8 bits.
    fn half(&self) -> f64 {
        f64::from(1 << (self.bits - 1)) * 255.0 / f64::from((1 << self.bits) - 1)
    }

    /// Of a plane with half the samples, for the pixel at `x`, `y` of a picture of `width` x `height`.
    fn between(&self, x: u32, y: u32, width: u32, height: u32) -> f64 {
        let beside = |at: u32, size: u32| {
            let (near, last) = (at / 2, size.div_ceil(2) - 1);
            (near, if at.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) })
        };
        let ((nx, fx), (ny, fy)) = (beside(x, width), beside(y, height));
        (9.0 * self.at(nx, ny) + 3.0 * self.at(fx, ny) + 3.0 * self.at(nx, fy) + self.at(fx, fy)) / 16.0
    }

    /// On the scale of 8 bits.
    fn at(&self, x: u32, y: u32) -> f64 {
        if self.bits == 8 {
            return f64::from(self.plane[(y * self.stride + x) as usize]);
        }
        let at = (y * self.stride + x * 2) as usize;
        f64::from(u16::from_le_bytes([self.plane[at], self.plane[at + 1]])) * 255.0 / f64::from((1 << self.bits) - 1)
    }
}
