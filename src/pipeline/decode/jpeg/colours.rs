//! What a frame's components mean.

use crate::pipeline::container::jpeg::Jpeg;
use crate::pipeline::raster::Model;

/// Which colours the components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    /// Ink as Adobe's programs store it, inverted: 255 for none.
    Cmyk,
    /// The same, its first three components as YCbCr.
    Ycck,
}

impl Colours {
    /// By libjpeg's rules, which all browsers share: what JFIF says beats what Adobe's marker says, and that beats the
    /// components' names. Without Adobe's marker ink is inverted all the same, as nobody writes it otherwise.
    pub(super) fn of(jpeg: &Jpeg) -> Option<Self> {
        let components = &jpeg.frame.as_ref()?.components;
        match (components.len(), jpeg.adobe) {
            (1, _) => Some(Self::Grey),
            (3, _) if jpeg.jfif => Some(Self::YCbCr),
            (3, Some(0)) => Some(Self::Rgb),
            (3, None) if components.iter().map(|component| component.id).eq(*b"RGB") => Some(Self::Rgb),
            (3, _) => Some(Self::YCbCr),
            (4, None | Some(0)) => Some(Self::Cmyk),
            (4, Some(_)) => Some(Self::Ycck),
            _ => None,
        }
    }

    pub(super) fn model(self) -> Model {
        match self {
            Self::Grey => Model::Grey,
            Self::YCbCr | Self::Rgb => Model::Rgb,
            Self::Cmyk | Self::Ycck => Model::Cmyk,
        }
    }

    /// Puts the components of one row together, in the pixels of [`Self::model`].
    pub(super) fn interleave(self, components: &[&[u8]], into: &mut [u8]) {
        match (self, components) {
            (Self::Grey, [grey]) => into.copy_from_slice(&grey[..into.len()]),
            (Self::YCbCr, [y, cb, cr]) => {
                for (((to, y), cb), cr) in into.as_chunks_mut::<3>().0.iter_mut().zip(*y).zip(*cb).zip(*cr) {
                    *to = rgb_of_ycbcr(*y, *cb, *cr);
                }
            }
            (Self::Rgb, [r, g, b]) => {
                for (((to, r), g), b) in into.as_chunks_mut::<3>().0.iter_mut().zip(*r).zip(*g).zip(*b) {
                    *to = [*r, *g, *b];
                }
            }
            (_, [c, m, y, k]) => {
                for ((((to, c), m), y), k) in into.as_chunks_mut::<4>().0.iter_mut().zip(*c).zip(*m).zip(*y).zip(*k) {
                    *to = [*c, *m, *y, *k];
                }
                self.convert_ink(into);
            }
            _ => {}
        }
    }

    /// Makes ink as it is stored into ink as it is printed: 255 for all.
    pub(super) fn convert_ink(self, pixels: &mut [u8]) {
        match self {
            Self::Cmyk => pixels.iter_mut().for_each(|ink| *ink = 255 - *ink),
            Self::Ycck => {
                for pixel in pixels.as_chunks_mut::<4>().0 {
                    // YCbCr stands for RGB, and R = 255 - C is what is stored inverted once more: it is C.
                    let [c, m, y] = rgb_of_ycbcr(pixel[0], pixel[1], pixel[2]);
                    *pixel = [c, m, y, 255 - pixel[3]];
                }
            }
            _ => {}
        }
    }
}

/// Full-range YCbCr of BT.601, in 16-bit fixed point.
#[inline]
pub(in crate::pipeline::decode) fn rgb_of_ycbcr(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let r = y + ((91_881 * cr + half) >> 16);
    let g = y + ((half - 22_554 * cb - 46_802 * cr) >> 16);
    let b = y + ((116_130 * cb + half) >> 16);
    [r, g, b].map(|value| u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX))
}
