//! What a file is made of, by its container: one bounded walker a format, which inspecting, decoding, completeness,
//! credits and muxing share. Nothing is decoded here.

mod bounded_reader;

pub(super) use bounded_reader::BoundedReader;
