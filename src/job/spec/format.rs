//! Formats and the options that shape a variant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::table::{enumerate, table};
use crate::job::{FileType, SourceFormat};

/// The side that a format may have whose own rules allow more.
const SIDE_MAX: u32 = 65_535;

/// A row of [`Format`].
#[derive(Clone, Copy, Debug)]
pub struct FormatInfo {
    /// How its files are named and served. The extension is also its name in a job's claim.
    pub file: FileType,
    /// Its other names in a claim.
    pub aliases: &'static [&'static str],
    /// Whether pixels may be transparent. A picture for a format without is flattened onto the variant's background.
    pub alpha: bool,
    /// Whether it can be animated.
    pub animation: bool,
    /// Pixels a side may have at most.
    pub side_max: u32,
    /// The quality of a variant that names none, 1-100; none for a format that loses nothing.
    pub quality_default: Option<u8>,
    /// The speed of a variant that names none, 1 (slowest) to 10.
    pub speed_default: u8,
    /// Its place among the formats by how long their encoders take for a picture. The slowest is started first, so that
    /// it doesn't run alone at the end.
    pub slowness: u8,
}

table! {
    /// A format that variants are made in.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[expect(missing_docs, reason = "the names are the formats'")]
    pub enum Format of FormatInfo {
        Jpeg {
            file: SourceFormat::Jpeg.info().file,
            aliases: &["jpeg"],
            alpha: false,
            animation: false,
            side_max: SIDE_MAX,
            quality_default: Some(78),
            speed_default: 7,
            slowness: 0,
        }
        Png {
            file: SourceFormat::Png.info().file,
            aliases: &[],
            alpha: true,
            animation: false,
            side_max: SIDE_MAX,
            quality_default: None,
            speed_default: 6,
            slowness: 2,
        }
        Webp {
            file: SourceFormat::Webp.info().file,
            aliases: &[],
            alpha: true,
            animation: true,
            side_max: 16_383,
            quality_default: Some(84),
            speed_default: 6,
            slowness: 1,
        }
        Avif {
            file: SourceFormat::Avif.info().file,
            aliases: &[],
            alpha: true,
            animation: false,
            side_max: SIDE_MAX,
            quality_default: Some(83),
            speed_default: 9,
            slowness: 3,
        }
    }
}

impl Format {
    /// The format that a claim's key names.
    #[must_use]
    pub fn from_claim(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| {
            let FormatInfo { file, aliases, .. } = format.info();
            file.extension == key || aliases.contains(&key)
        })
    }

    /// Those of which `is` holds, for people: `jpg, png and webp`.
    pub(super) fn names(is: impl Fn(&FormatInfo) -> bool) -> String {
        enumerate(Self::ALL.map(Self::info).into_iter().filter(|info| is(info)).map(|info| info.file.extension), "and")
    }

    /// The extension of its files, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.info().file.extension
    }

    /// The media type its files are served with.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.info().file.media_type
    }
}

/// How a picture meets its box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// As large as fits inside the box.
    #[default]
    Inside,
    /// As small as covers the box, nothing cut off.
    Outside,
    /// Covers the box; what hangs over is cut off.
    Cover,
    /// Fits inside the box; the rest of the box is background.
    Contain,
    /// Exactly the box, aspect ratio given up.
    Fill,
}

impl Fit {
    pub(super) const ALL: [Self; 5] = [Self::Inside, Self::Outside, Self::Cover, Self::Contain, Self::Fill];

    pub(super) const WORDS: &'static str = "inside, outside, cover, contain or fill";

    pub(super) fn from_claim(word: &str) -> Option<Self> {
        match word {
            "inside" => Some(Self::Inside),
            "outside" => Some(Self::Outside),
            "cover" => Some(Self::Cover),
            "contain" => Some(Self::Contain),
            "fill" => Some(Self::Fill),
            _ => None,
        }
    }
}

/// Where a picture sits that is larger or smaller than its box. Each axis is -1 (left, top), 0 (centre) or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// -1 left, 0 centre, 1 right.
    pub x: i8,
    /// -1 top, 0 centre, 1 bottom.
    pub y: i8,
}

impl Position {
    pub(super) const WORDS: &'static str = "center, top, bottom, left, right, or two of them as in `right top`";

    /// The same as a regular expression.
    pub(super) const PATTERN: &'static str = concat!(
        r"^\s*(?:(?:left|right)(?:\s+(?:top|bottom|center|centre))?",
        r"|(?:top|bottom)(?:\s+(?:left|right|center|centre))?",
        r"|(?:center|centre)(?:\s+(?:left|right|top|bottom|center|centre))?)\s*$"
    );

    /// One or two words in any order, `center` and `centre` alike.
    pub(super) fn from_claim(words: &str) -> Option<Self> {
        let mut position = Self::default();
        let mut seen = (false, false);
        for word in words.split_whitespace() {
            match word {
                "left" | "right" if !seen.0 => (position.x, seen.0) = (if word == "left" { -1 } else { 1 }, true),
                "top" | "bottom" if !seen.1 => (position.y, seen.1) = (if word == "top" { -1 } else { 1 }, true),
                "center" | "centre" => {}
                _ => return None,
            }
        }
        (1..=2).contains(&words.split_whitespace().count()).then_some(position)
    }
}

/// A colour with alpha, sRGB, 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Background(pub [u8; 4]);

impl Background {
    /// What shows where a job doesn't say.
    pub const WHITE: Self = Self([255; 4]);

    pub(super) const WORDS: &'static str = "white, black, transparent, #rgb, #rgba, #rrggbb or #rrggbbaa";

    /// The same as a regular expression.
    pub(super) const PATTERN: &'static str =
        "^(?:white|black|transparent|#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}))$";

    pub(super) fn from_claim(text: &str) -> Option<Self> {
        match text {
            "white" => return Some(Self::WHITE),
            "black" => return Some(Self([0, 0, 0, 255])),
            "transparent" => return Some(Self([0; 4])),
            _ => {}
        }
        let digits = text.strip_prefix('#')?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let long: String = match digits.len() {
            3 | 4 => digits.chars().flat_map(|c| [c, c]).collect(),
            6 | 8 => digits.to_owned(),
            _ => return None,
        };
        let mut channels = [0, 0, 0, 255];
        hex::decode_to_slice(&long, &mut channels[..long.len() / 2]).ok()?;
        Some(Self(channels))
    }
}

impl Default for Background {
    fn default() -> Self {
        Self::WHITE
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_in_every_notation() {
        assert_eq!(Background::from_claim("#f80"), Some(Background([255, 136, 0, 255])));
        assert_eq!(Background::from_claim("#f808"), Some(Background([255, 136, 0, 136])));
        assert_eq!(Background::from_claim("#Ff8800"), Some(Background([255, 136, 0, 255])));
        assert_eq!(Background::from_claim("#ff880040"), Some(Background([255, 136, 0, 64])));
        for bad in ["", "#", "#ff", "ff8800", "#gg8800", "red;", "#ff88001"] {
            assert_eq!(Background::from_claim(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn positions_in_any_order() {
        assert_eq!(Position::from_claim("right top"), Some(Position { x: 1, y: -1 }));
        assert_eq!(Position::from_claim("top right"), Some(Position { x: 1, y: -1 }));
        assert_eq!(Position::from_claim("centre"), Some(Position::default()));
        for bad in ["", "left right", "top top", "middle", "left top center"] {
            assert_eq!(Position::from_claim(bad), None, "{bad:?}");
        }
    }
}
