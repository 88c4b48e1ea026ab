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
