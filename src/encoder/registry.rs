//! Which encoder makes which format.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Avif, Encoder, Jpeg, Png, Webp};
use crate::job::Format;

/// One encoder a format. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    encoders: BTreeMap<Format, Arc<dyn Encoder>>,
}

impl Registry {
    /// The encoders that are built in: all of [`Format::ALL`], AVIF by [`AvifEngine::Auto`](super::AvifEngine::Auto).
    #[must_use]
    pub fn built_in() -> Self {
        let encoders: [Arc<dyn Encoder>; 4] =
            [Arc::new(Jpeg), Arc::new(Png), Arc::new(Webp), Arc::new(Avif::default())];
        encoders.into_iter().fold(Self { encoders: BTreeMap::new() }, Self::with)
    }

    /// The same with `encoder` in the place of whichever made its format.
    #[must_use]
    pub fn with(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.encoders.insert(encoder.format(), encoder);
        self
    }

    /// The encoder of `format`.
    #[must_use]
    pub fn encoder(&self, format: Format) -> Option<&Arc<dyn Encoder>> {
        self.encoders.get(&format)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::built_in()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.encoders.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_an_encoder_that_says_so() {
        let registry = Registry::built_in();
        for format in Format::ALL {
            assert_eq!(registry.encoder(format).map(|e| e.format()), Some(format));
        }
    }
}
