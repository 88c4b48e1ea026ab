//! Media types, by extension. Extensions are ours: the writer gives them by the format in the bytes.

use crate::job::{FileType, Format, MANIFEST, SourceFormat};

/// What a browser is told a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) content_type: &'static str,
    /// Shown in place; else it is offered for saving.
    pub(super) inline: bool,
}

impl Media {
    /// By the extension behind the last dot. Only what every browser draws as a picture is shown in place, and JSON, which is text in
    /// it; what a browser would hand to whatever claims it is not.
    pub(super) fn of(name: &str) -> Self {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let originals = SourceFormat::ALL.into_iter().map(|format| format.info().file);
        let variants = Format::ALL.into_iter().map(|format| format.info().file);
        match originals.chain(variants).chain([MANIFEST]).find(|file| file.extension == extension) {
            Some(FileType { media_type, inline, .. }) => Self { content_type: media_type, inline },
            None => Self { content_type: "application/octet-stream", inline: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_that_is_stored_has_its_type() {
        for format in SourceFormat::ALL {
            assert_eq!(Media::of(&format!("x.{}", format.extension())).content_type, format.media_type());
        }
        for format in Format::ALL {
            let media = Media::of(&format!("x.{}", format.extension()));
            assert_eq!((media.content_type, media.inline), (format.media_type(), true), "{format:?}");
        }
    }

    #[test]
    fn nothing_else_is_a_picture() {
        let json = Media::of("x.json");
        assert_eq!((json.content_type, json.inline), ("application/json", true));
        for name in ["x.json5", "x.html", "x.svg", "x.JPG", "x.jpg.html", "x.", "x", "jpg", "x.png~"] {
            let media = Media::of(name);
            assert_eq!((media.content_type, media.inline), ("application/octet-stream", false), "{name}");
        }
    }
}
