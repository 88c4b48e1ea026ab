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
mod colour;
mod formats;
mod geometry;
mod jobs;
mod large;
mod memory;
mod metadata;
mod orientation;
mod picture;
mod refusal;
