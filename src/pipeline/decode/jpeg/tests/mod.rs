//! JPEGs of every kind, held against what libjpeg-turbo shows of them.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small numbers are packed into bits, and samples computed in floating point"
)]

mod cut;
mod matrix;
mod reference;
mod tools;
mod writer;
