//! The names of stored files, formed and read again. They are ours: nothing in them can climb out of a directory or start a
//! second one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FileType, Format, HashKey, JobId, SourceFormat};

/// Bytes of a stem at most.
const STEM_BYTES_MAX: usize = 80;

/// Bytes of a file name that every usual file system takes.
const NAME_BYTES_MAX: usize = 255;

/// The largest number that a box has for a side.
const SIDE_MAX: u32 = super::BOX_SIDE_MAX;

/// Whether a file of this name may be stored and served: `[A-Za-z0-9._-]{1,255}`, not starting with a dot. Every name of ours is
/// one; not every one is a name of ours, which [`FileName::parse`] tells.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

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

/// What the names of a job's files begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameHead {
    /// Its hash: later jobs on the same bytes, of the same owner, write the same names.
    Hash(HashKey),
    /// Its id, if it is `unique`: no other job ever writes these names. Without a `_`, and so never a hash, whatever the stem is.
    Job(JobId),
}

impl NameHead {
    /// Reads what [`Display`](fmt::Display) wrote; none if no job's names begin so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(id) = text.parse::<JobId>() {
            // Ids are written in one way.
            return (id.is_time_ordered() && id.to_string() == text).then_some(Self::Job(id));
        }
        HashKey::parse(text).filter(|_| is_plain_name(text)).map(Self::Hash)
    }
}

impl fmt::Display for NameHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Job(id) => id.fmt(f),
        }
    }
}

/// What a file is, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFile {
    /// A variant: the box that it was to fit into, 0 for a side that is free.
    Variant {
        /// Height of the box.
        height: u32,
        /// Width of the box.
        width: u32,
        /// What it is encoded as.
        format: Format,
    },
    /// The original, whose format was found in its bytes.
    Original(SourceFormat),
    /// What a page needs to show the picture.
    Manifest,
}

/// What a manifest is as a file. No picture has its extension.
pub const MANIFEST: FileType = FileType { extension: "json", media_type: "application/json", inline: true };

/// The name of a file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Whose.
    pub head: NameHead,
    /// The harmless part of the uploaded file's name.
    pub stem: Stem,
    /// Which of that job's files.
    pub file: NamedFile,
}

impl FileName {
    /// Reads a name from its end, where it can be read in one way only; none if it is none of ours. A stem of 0.2.0 and before that
    /// holds a `_` is not told from what stands before it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if !is_plain_name(name) {
            return None;
        }
        let (rest, last) = name.rsplit_once('_')?;
        // An original's stem may begin with a dot, and is never nothing.
        let variant = |extension| Format::ALL.into_iter().find(|format| format.extension() == extension);
        let (head, stem, file) = if let Some(format) = last.strip_prefix('.').and_then(variant) {
            let mut parts = rest.rsplitn(4, '_');
            let (width, height) = (parts.next().and_then(side)?, parts.next().and_then(side)?);
            let (stem, head) = (parts.next()?, parts.next()?);
            (head, stem, NamedFile::Variant { height, width, format })
        } else {
            let (stem, extension) = last.rsplit_once('.')?;
            let original = || SourceFormat::ALL.into_iter().find(|format| format.extension() == extension);
            let file =
                if extension == MANIFEST.extension { NamedFile::Manifest } else { NamedFile::Original(original()?) };
            (rest, stem, file)
        };
        let is_stem = (1..=STEM_BYTES_MAX).contains(&stem.len());
        is_stem.then_some(Self { head: NameHead::parse(head)?, stem: Stem(stem.to_owned()), file })
    }

    /// Whether `name` is one that only a `unique` job has: what is stored under it never changes.
    #[must_use]
    pub fn is_unique(name: &str) -> bool {
        matches!(Self::parse(name), Some(Self { head: NameHead::Job(_), .. }))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, stem, file } = self;
        match *file {
            NamedFile::Variant { height, width, format } => {
                f.write_str(&variant_name(head, stem, height, width, format))
            }
            NamedFile::Original(format) => f.write_str(&original_name(head, stem, format)),
            NamedFile::Manifest => f.write_str(&manifest_name(head, stem)),
        }
    }
}

/// A side of a box as it is written, without zeros before it.
fn side(text: &str) -> Option<u32> {
    let side: u32 = text.parse().ok().filter(|side| *side <= SIDE_MAX)?;
    (side.to_string() == text).then_some(side)
}

/// `<head>_<stem>_<height>_<width>_.<ext>`, the head being a hash or the id of a `unique` job: height first, both as requested. No
/// original's name ends like this.
#[must_use]
pub fn variant_name(head: impl fmt::Display, stem: &Stem, height: u32, width: u32, format: Format) -> String {
    format!("{head}_{stem}_{height}_{width}_.{}", format.extension())
}

/// `<head>_<stem>.<ext>`, with the extension of the format found in the bytes.
#[must_use]
pub fn original_name(head: impl fmt::Display, stem: &Stem, format: SourceFormat) -> String {
    format!("{head}_{stem}.{}", format.extension())
}

/// `<head>_<stem>.json`.
#[must_use]
pub fn manifest_name(head: impl fmt::Display, stem: &Stem) -> String {
    format!("{head}_{stem}.{}", MANIFEST.extension)
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

    #[test]
    fn a_name_of_a_unique_job_is_told_from_every_classic_one_whatever_its_stem_is() {
        let id = JobId::new(crate::clock::Timestamp::from_millis(1_750_000_000_000));
        let owner = Owner { user: None, access_key: None, sub: id.to_string() };
        let hash = HashKey::new(&ContentHash::of(b""), &owner);
        for stem in ["photo", "a.b", &id.to_string()] {
            let stem = Stem::of(&format!("{stem}.jpg"));
            let unique = [
                variant_name(id, &stem, 6, 8, Format::Jpeg),
                original_name(id, &stem, SourceFormat::Tiff),
                manifest_name(id, &stem),
            ];
            assert!(unique.iter().all(|name| FileName::is_unique(name)), "{unique:?}");
            let classic = [
                variant_name(&hash, &stem, 6, 8, Format::Jpeg),
                original_name(&hash, &stem, SourceFormat::Png),
                manifest_name(&hash, &stem),
            ];
            assert!(!classic.iter().any(|name| FileName::is_unique(name)), "{classic:?}");
            for name in unique.iter().chain(&classic) {
                assert_eq!(FileName::parse(name).expect(name).to_string(), *name);
            }
        }
        let v4 = "3b241101-e2bb-4255-8caf-4136c566a962";
        for name in [
            format!("{v4}_photo_6_8_.jpg"),
            format!("{}_photo_6_8_.jpg", id.to_string().to_uppercase()),
            format!("{}_photo_6_8_.jpg", id.to_string().replace('-', "")),
            format!("{id}_photo_06_8_.jpg"),
            format!("{id}_photo_6_65536_.jpg"),
            format!("{id}_photo_6_8_.gif"),
            format!("{id}_photo.txt"),
            format!("{id}_photo_6_8_.json"),
            format!("{id}_.json"),
            format!("{id}_.jpg"),
            format!("{id}_a_b.jpg"),
            format!("{id}.jpg"),
            format!("x{id}_photo.jpg"),
            String::new(),
        ] {
            assert!(!FileName::is_unique(&name), "{name}");
        }
    }
}
