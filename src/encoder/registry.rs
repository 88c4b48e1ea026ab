//! Which encoder makes which format.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Avif, AvifEngine, Encoder, Jpeg, Png, Webp};
use crate::job::Format;

/// The encoder of `format` that is built in; AVIF's by [`AvifEngine::Auto`].
#[must_use]
pub fn built_in(format: Format) -> &'static dyn Encoder {
    match format {
        Format::Jpeg => &Jpeg,
        Format::Png => &Png,
        Format::Webp => &Webp,
        Format::Avif => const { &Avif::new(AvifEngine::Auto) },
    }
}

/// One encoder a format: those built in, or others in their places. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    replaced: BTreeMap<Format, Arc<dyn Encoder>>,
}

impl Registry {
    /// The encoders that are built in, as [`built_in`] gives them.
    #[must_use]
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The same with `encoder` in the place of whichever made its format.
    #[must_use]
    pub fn with(mut self, encoder: Arc<dyn Encoder>) -> Self {
        self.replaced.insert(encoder.format(), encoder);
        self
    }

    /// The encoder of `format`.
    #[must_use]
    pub fn encoder(&self, format: Format) -> &dyn Encoder {
        self.replaced.get(&format).map_or_else(|| built_in(format), |encoder| &**encoder)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("replaced", &self.replaced.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_an_encoder_that_says_so() {
        for format in Format::ALL {
            assert_eq!(built_in(format).format(), format);
        }
    }
}
