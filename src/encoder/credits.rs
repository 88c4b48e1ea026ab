//! Who made a picture and whose it is: the only metadata that goes from an original into its variants.
//!
//! They go into the finished file as an EXIF block that has these two fields and nothing else.

/// The longest credit that is kept, in characters.
const CHARACTERS_MAX: usize = 512;

/// EXIF tags, in the order in which a directory must list them.
const ARTIST: u16 = 0x013B;
const COPYRIGHT: u16 = 0x8298;

/// Artist and copyright, from an original's EXIF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// Who made it.
    pub artist: Option<String>,
    /// Whose it is.
    pub copyright: Option<String>,
}

impl Credits {
    /// `text` as a credit: one line, not too long, no control characters, nothing that could open a tag of HTML or PHP;
    /// none if nothing is left. A stranger wrote it, and it is the one thing of theirs that a variant carries.
    #[must_use]
    pub fn clean(text: &str) -> Option<String> {
        let harmless = |c| match c {
            // Round brackets keep an address readable.
            '<' => '(',
            '>' => ')',
            other => other,
        };
        let line: String = text.chars().filter(|c| !c.is_control()).map(harmless).take(CHARACTERS_MAX).collect();
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// An EXIF block: a TIFF header and one directory; none if neither is known.
    #[must_use]
    pub fn exif(&self) -> Option<Vec<u8>> {
        let fields = [(ARTIST, &self.artist), (COPYRIGHT, &self.copyright)];
        let fields: Vec<(u16, &[u8])> =
            fields.iter().filter_map(|(tag, text)| Some((*tag, text.as_ref()?.as_bytes()))).collect();
        let count = u16::try_from(fields.len()).ok().filter(|count| *count > 0)?;
        let mut block = b"MM\0\x2A\0\0\0\x08".to_vec();
        block.extend(count.to_be_bytes());
        let values_at = 8 + 2 + 12 * fields.len() + 4;
        let mut values = Vec::new();
        for (tag, text) in fields {
            let length = u32::try_from(text.len() + 1).ok()?;
            block.extend(tag.to_be_bytes());
            // ASCII, with the zero that ends it.
            block.extend([0, 2]);
            block.extend(length.to_be_bytes());
            let value = [text, b"\0"].concat();
            if value.len() <= 4 {
                block.extend(&value);
                block.resize(block.len() + 4 - value.len(), 0);
            } else {
                block.extend(u32::try_from(values_at + values.len()).ok()?.to_be_bytes());
                values.extend(value);
                values.resize(values.len().next_multiple_of(2), 0);
            }
        }
        // There is no second directory.
        block.extend([0; 4]);
        block.extend(values);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_one_clean_line() {
        assert_eq!(Credits::clean("  Ada \n\0L\u{7} "), Some("Ada L".to_owned()));
        assert_eq!(Credits::clean(" \0 "), None);
        assert_eq!(Credits::clean("Ada <ada@example.org>"), Some("Ada (ada@example.org)".to_owned()));
        assert_eq!(Credits::clean("<?php f(); ?><script>"), Some("(?php f(); ?)(script)".to_owned()));
        assert_eq!(Credits::clean(&"ä".repeat(600)).map(|s| s.chars().count()), Some(512));
    }
}
