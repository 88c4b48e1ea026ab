//! Decoded pixels, in the source's own colours and depth.

/// What the samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Lightness.
    Grey,
    /// R, G, B.
    Rgb,
    /// C, M, Y, K; all bits set is full ink.
    Cmyk,
}

impl Model {
    /// Samples a pixel, without alpha.
    pub(super) fn colours(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The samples, interleaved, rows top down without padding.
#[derive(Clone, Debug)]
pub(super) enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
}

/// A decoded picture.
#[derive(Clone, Debug)]
pub(super) struct Raster {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) model: Model,
    /// Whether straight alpha follows the colour samples.
    pub(super) alpha: bool,
    pub(super) samples: Samples,
}

impl Raster {
    /// Samples a pixel.
    pub(super) fn channels(&self) -> usize {
        self.model.colours() + usize::from(self.alpha)
    }

    /// The same without its alpha channel, if all of it is opaque.
    pub(super) fn without_opaque_alpha(mut self) -> Self {
        if !self.alpha {
            return self;
        }
        let channels = self.channels();
        let dropped = match &mut self.samples {
            Samples::U8(samples) => drop_last(samples, channels, u8::MAX),
            Samples::U16(samples) => drop_last(samples, channels, u16::MAX),
        };
        self.alpha = !dropped;
        self
    }
}

/// Takes the last of each `channels` out, in place, if all of those are `full`.
fn drop_last<T: Copy + PartialEq>(samples: &mut Vec<T>, channels: usize, full: T) -> bool {
    if samples.iter().skip(channels - 1).step_by(channels).any(|alpha| *alpha != full) {
        return false;
    }
    let (pixels, kept) = (samples.len() / channels, channels - 1);
    for pixel in 1..pixels {
        samples.copy_within(pixel * channels..pixel * channels + kept, pixel * kept);
    }
    samples.truncate(pixels * kept);
    samples.shrink_to_fit();
    true
}

/// `samples` without the last of each `channels`, if all of those are `full`.
pub(super) fn without_last<T: Copy + PartialEq>(samples: &[T], channels: usize, full: T) -> Option<Vec<T>> {
    let opaque = samples.iter().skip(channels - 1).step_by(channels).all(|alpha| *alpha == full);
    opaque.then(|| samples.chunks_exact(channels).flat_map(|pixel| &pixel[..channels - 1]).copied().collect())
}
