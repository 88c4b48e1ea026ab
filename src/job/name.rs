//! The names of stored files. They are ours: nothing in them can climb out of a directory or start a second one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Format, HashKey, SourceFormat};

/// Bytes of a stem at most.
const STEM_BYTES_MAX: usize = 80;

/// An uploaded file's name without directories and extension, made harmless: `[A-Za-z0-9._-]{1,80}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stem(String);

impl Stem {
    /// The stem of whatever a client called its file. Both kinds of slash separate directories, since a browser on
    /// Windows may send either; what stands behind the last dot is the extension, and is never used.
    #[must_use]
    pub fn of(file_name: &str) -> Self {
        let base = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = match base.rfind('.') {
            Some(dot) => &base[..dot],
            None => base,
        };
        let mut clean: String = stem.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        clean.truncate(STEM_BYTES_MAX);
        if clean.is_empty() {
            clean.push_str("image");
        }
        Self(clean)
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// `<hash>_<stem>_<height>_<width>_.<ext>`: height first, both as requested.
#[must_use]
pub fn variant_name(hash: &HashKey, stem: &Stem, height: u32, width: u32, format: Format) -> String {
    format!("{hash}_{stem}_{height}_{width}_.{}", format.extension())
}

/// `<hash>_<stem>.<ext>`, with the extension of the format found in the bytes.
#[must_use]
pub fn original_name(hash: &HashKey, stem: &Stem, format: SourceFormat) -> String {
    format!("{hash}_{stem}.{}", format.extension())
}

#[cfg(test)]
mod tests {
    use super::Stem;

    #[test]
    fn stems_lose_directories_extension_and_everything_odd() {
        for (name, stem) in [
            ("photo.jpg", "photo"),
            ("my photo (1).final.jpeg", "my_photo__1_.final"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\cat.png", "cat"),
            ("grüße.webp", "gr__e"),
            (".hidden", "image"),
            ("", "image"),
            ("a/", "image"),
            ("nul\0byte.png", "nul_byte"),
        ] {
            assert_eq!(Stem::of(name).to_string(), stem, "{name:?}");
        }
        assert_eq!(Stem::of(&"x".repeat(500)).to_string().len(), 80);
    }
}
