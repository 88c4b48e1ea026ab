//! Media types, by extension. Extensions are ours: the writer gives them by the format in the bytes.

/// What a browser is told a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) content_type: &'static str,
    /// Shown in place; else it is offered for saving.
    pub(super) inline: bool,
}

impl Media {
    /// By the extension behind the last dot. Only what every browser draws as a picture is shown in place; what a
    /// browser would hand to whatever claims it is not.
    pub(super) fn of(name: &str) -> Self {
        let (content_type, inline) = match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "jpg" => ("image/jpeg", true),
            "png" => ("image/png", true),
            "webp" => ("image/webp", true),
            "avif" => ("image/avif", true),
            "gif" => ("image/gif", true),
            "tiff" => ("image/tiff", false),
            "bmp" => ("image/bmp", false),
            "heic" => ("image/heic", false),
            _ => ("application/octet-stream", false),
        };
        Self { content_type, inline }
    }
}

#[cfg(test)]
mod tests {
    use super::Media;
    use crate::job::{Format, SourceFormat};

    #[test]
    fn every_format_that_is_stored_has_its_type() {
        use SourceFormat::{Avif, Bmp, Gif, Heic, Jpeg, Png, Tiff, Webp};
        for format in [Jpeg, Png, Webp, Gif, Tiff, Bmp, Avif, Heic] {
            assert_eq!(Media::of(&format!("x.{}", format.extension())).content_type, format.media_type());
        }
        for format in [Format::Jpeg, Format::Png, Format::Webp, Format::Avif] {
            assert!(Media::of(&format!("x.{}", format.extension())).inline, "{format:?}");
        }
    }

    #[test]
    fn nothing_else_is_a_picture() {
        for name in ["x.html", "x.svg", "x.JPG", "x.jpg.html", "x.", "x", "jpg", "x.png~"] {
            let media = Media::of(name);
            assert_eq!((media.content_type, media.inline), ("application/octet-stream", false), "{name}");
        }
    }
}
