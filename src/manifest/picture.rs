//! Which files stand in a `<picture>`, and in which order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::job::{Format, StoredFile, has_shape_of};

/// The element `<picture>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PictureElement {
    /// The best first: a browser takes the first whose type it knows.
    pub sources: Vec<Source>,
    /// What every browser shows.
    pub img: Img,
}

/// A format's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Source {
    /// Its media type.
    #[serde(rename = "type")]
    pub media_type: &'static str,
    /// Their addresses, each with its width, the widest first: an address, a space and `800w`, then a comma and the next.
    pub srcset: String,
}

/// The element `<img>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Img {
    /// The widest file's address.
    pub src: String,
    /// As in a source, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub srcset: Option<String>,
    /// The widest file's, in pixels.
    pub width: u32,
    /// The widest file's, in pixels.
    pub height: u32,
}

/// The formats of sources, the best first, and those of `<img>`.
const SOURCES: [Format; 2] = [Format::Avif, Format::Webp];
const IMGS: [Format; 2] = [Format::Jpeg, Format::Png];

/// A file that a browser gets.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    url: &'a str,
    width: u32,
    height: u32,
    bytes: u64,
}

impl PictureElement {
    /// Of those of these variants that show all of a picture of `own` pixels and that a browser gets; none if there are none.
    #[must_use]
    pub fn of(variants: &[&StoredFile], own: (u32, u32)) -> Option<Self> {
        let of_format = |format: Format| widths(variants, format, own);
        let sources: Vec<_> = SOURCES
            .map(|format| (format, of_format(format)))
            .into_iter()
            .filter(|(_, files)| !files.is_empty())
            .collect();
        let own_img = IMGS.map(of_format).into_iter().find(|files| !files.is_empty());
        let shown = own_img.as_ref().or_else(|| sources.last().map(|(_, files)| files))?;
        let widest = shown.first()?;
        let srcset = own_img.as_ref().filter(|files| files.len() > 1).map(|files| srcset_of(files));
        let img = Img { src: widest.url.to_owned(), srcset, width: widest.width, height: widest.height };
        let sources = sources
            .iter()
            .map(|(format, files)| Source { media_type: format.media_type(), srcset: srcset_of(files) })
            .collect();
        Some(Self { sources, img })
    }
}

/// The files of one format, the widest first; of two of one width the one with fewer bytes.
fn widths<'a>(variants: &[&'a StoredFile], format: Format, own: (u32, u32)) -> Vec<Candidate<'a>> {
    let mut by_width: BTreeMap<Reverse<u32>, Candidate<'_>> = BTreeMap::new();
    for file in variants {
        let is_wanted = file.format == format.extension() && has_shape_of((file.width, file.height), own);
        let url = file.stored.iter().find_map(|stored| stored.url.as_deref());
        let Some(url) = url.filter(|_| is_wanted) else { continue };
        let candidate = Candidate { url, width: file.width, height: file.height, bytes: file.bytes };
        let kept = by_width.entry(Reverse(file.width)).or_insert(candidate);
        if candidate.bytes < kept.bytes {
            *kept = candidate;
        }
    }
    by_width.into_values().collect()
}

fn srcset_of(files: &[Candidate<'_>]) -> String {
    files.iter().map(|file| format!("{} {}w", file.url, file.width)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PictureElement;
    use crate::job::{ContentHash, StoredFile};

    const OWN: (u32, u32) = (400, 300);

    /// A file of this format and width, in the picture's own shape, at these addresses.
    fn file(format: &str, width: u32, bytes: u64, urls: &[Option<&str>]) -> StoredFile {
        let stored: Vec<_> =
            urls.iter().map(|url| json!({ "backend": "s3", "location": "s3://a/b", "url": url })).collect();
        let file = json!({
            "name": "a", "format": format, "width": width, "height": width * 3 / 4, "bytes": bytes,
            "sha256": ContentHash::of(b""), "stored": stored
        });
        serde_json::from_value(file).expect("a file")
    }

    #[test]
    fn of_two_files_of_one_width_the_one_with_fewer_bytes_stands_in_it() {
        let url = |name: &'static str| [Some(name)];
        let files = [
            file("webp", 40, 9, &url("large")),
            file("webp", 40, 7, &url("small")),
            file("webp", 40, 8, &url("between")),
            file("webp", 80, 9, &url("wide")),
            file("jpg", 80, 5, &url("first")),
            file("jpg", 80, 5, &url("second")),
        ];
        let element = PictureElement::of(&files.each_ref(), OWN).expect("a picture");
        assert_eq!(element.sources.len(), 1, "{element:?}");
        assert_eq!(element.sources[0].srcset, "wide 80w, small 40w");
        assert_eq!((element.img.src.as_str(), element.img.srcset), ("first", None));
    }

    #[test]
    fn of_several_addresses_the_one_in_the_first_store_that_has_one_stands_in_it() {
        let files = [
            file("webp", 40, 1, &[None, Some("second"), Some("third")]),
            file("jpg", 40, 1, &[Some("first"), Some("second")]),
            file("png", 40, 1, &[None, None]),
        ];
        let element = PictureElement::of(&files.each_ref(), OWN).expect("a picture");
        assert_eq!((element.sources[0].srcset.as_str(), element.img.src.as_str()), ("second 40w", "first"));
        assert_eq!(PictureElement::of(&[&files[2]], OWN), None, "which no browser gets");
    }
}
