//! What the tests share: servers that they start themselves.

pub(crate) mod stores;
