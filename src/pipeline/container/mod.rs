//! What a file is made of, by its container: one bounded walker a format, which inspecting, decoding, completeness,
//! credits and muxing share. Nothing is decoded here.
//!
//! No walker takes memory that a file merely asks for, follows a loop, or panics.

mod bounded_reader;
pub(super) mod gif;
pub(super) mod isobmff;
pub(super) mod jpeg;
pub(super) mod png;
pub(super) mod riff;
pub(super) mod tiff;

pub(super) use bounded_reader::BoundedReader;

#[cfg(test)]
mod tests;
