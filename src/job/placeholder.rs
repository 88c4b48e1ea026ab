//! What a page shows in a picture's place until that is there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes of a `ThumbHash`: of a picture that shows through, and of the most detailed.
const HASH_BYTES: std::ops::RangeInclusive<usize> = 5..=25;

/// What stands in a picture's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placeholder {
    /// A `ThumbHash` of the upright picture, as base64: a blurred picture of about 32 x 32 pixels.
    thumbhash: String,
    /// The mean of its colours, `#rrggbb`, as sRGB.
    #[schema(pattern = "^#[0-9a-f]{6}$")]
    color: String,
}

impl Placeholder {
    /// Of these bytes of a `ThumbHash` and this mean of red, green and blue.
    #[must_use]
    pub fn new(thumbhash: &[u8], [r, g, b]: [u8; 3]) -> Self {
        Self { thumbhash: BASE64_STANDARD.encode(thumbhash), color: format!("#{r:02x}{g:02x}{b:02x}") }
    }

    /// Whether it can be one: it may come from a process that a stranger's picture has taken over.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_color =
            self.color.strip_prefix('#').is_some_and(|digits| digits.len() == 6 && digits.bytes().all(is_digit));
        is_color && BASE64_STANDARD.decode(&self.thumbhash).is_ok_and(|hash| HASH_BYTES.contains(&hash.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_have_been_made_is_well_formed() {
        let good = Placeholder::new(&[7; 21], [0, 171, 255]);
        assert_eq!(good.color, "#00abff");
        assert!(good.is_well_formed());
        for (thumbhash, color) in [
            ("BwcHBwc=", "#00ABFF"),
            ("BwcHBwc=", "00abff"),
            ("BwcHBwc=", "#00abff "),
            ("BwcHBw==", "#00abff"),
            ("<script>", "#00abff"),
            ("", "#00abff"),
        ] {
            let odd = Placeholder { thumbhash: thumbhash.to_owned(), color: color.to_owned() };
            assert!(!odd.is_well_formed(), "{odd:?}");
        }
        assert!(!Placeholder::new(&[7; 26], [0; 3]).is_well_formed());
    }
}
