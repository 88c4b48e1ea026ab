//! What the tests stand on.

pub(crate) mod app;
pub(crate) mod picture;
pub(crate) mod receiver;
pub(crate) mod token;
