//! The names of stored files. They are ours: nothing in them can climb out of a directory or start a second one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Format, HashKey, SourceFormat};

/// Bytes of a stem at most.
const STEM_BYTES_MAX: usize = 80;

/// An uploaded file's name without directories and extension, made harmless: `[A-Za-z0-9.-]{1,80}`.
///
/// What comes out of a record is taken as it is: those of 0.2.0 and before may hold `_`, and their jobs end under the names
/// that they were promised.
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
        let mut clean: String = stem.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
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

/// A `_` isn't: in names it separates, so that each can be read in one way only, and no two of different owners, bytes,
/// sizes or kinds are the same.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
}

/// `<hash>_<stem>_<height>_<width>_.<ext>`: height first, both as requested. No original's name ends like this.
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
    use super::*;
    use crate::job::{ContentHash, Owner};

    #[test]
    fn stems_lose_directories_extension_and_everything_odd() {
        for (name, stem) in [
            ("photo.jpg", "photo"),
            ("my photo (1).final.jpeg", "my-photo--1-.final"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\cat.png", "cat"),
            ("grüße.webp", "gr--e"),
            (".hidden", "image"),
            ("", "image"),
            ("a/", "image"),
            ("snake_case_1.jpg", "snake-case-1"),
            ("nul\0byte.png", "nul-byte"),
        ] {
            assert_eq!(Stem::of(name).to_string(), stem, "{name:?}");
        }
        assert_eq!(Stem::of(&"x".repeat(500)).to_string().len(), 80);
    }

    #[test]
    fn a_job_of_an_older_record_keeps_the_names_that_it_was_promised() {
        let stem: Stem = serde_json::from_str(r#""my_photo__1_""#).expect("a stem of 0.2.0");
        assert_eq!(serde_json::to_string(&stem).expect("JSON"), r#""my_photo__1_""#);
        let hash = HashKey::new(&ContentHash::of(b""), &Owner { user: None, access_key: None, sub: "me".to_owned() });
        let name = variant_name(&hash, &stem, 6, 8, Format::Jpeg);
        assert_eq!(name, format!("{hash}_my_photo__1__6_8_.jpg"));
    }
}
