//! What comes out of the engine, decoded again and held against pictures made another way.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    reason = "samples are computed in floating point, and y, u, v, r, g, b are what they are called"
)]

mod alpha;
mod animation;
mod avif;
mod avif_engines;
#[cfg(feature = "input-avif")]
mod avif_input;
pub(crate) mod bombs;
mod ciede;
mod colour;
mod credits;
mod disposal;
mod ends;
mod formats;
mod geometry;
mod graphics;
#[cfg(feature = "input-heic")]
mod heic_input;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod heif_file;
mod jobs;
mod jpegs;
mod large;
mod loops;
mod memory;
mod metadata;
mod orientation;
pub(crate) mod picture;
mod pngs;
mod profiles;
mod refusal;
pub(crate) mod tiff;
mod tiff_layouts;
