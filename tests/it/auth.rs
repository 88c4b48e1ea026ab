//! Tokens: which are taken, which are refused, and that what is refused is refused for the right reason.

pub(crate) mod forge;
mod keys;
mod refused;
mod signing;
mod taken;
mod vectors;
