//! What a page needs to show a picture: what it was made from and into, where a browser gets it, and the element `<picture>` of it.
//! It is answered to whoever asks, and stored beside the pictures of a job that wants it.

mod html;
mod picture;

use serde::Serialize;
use utoipa::ToSchema;

pub use html::{Attributes, html};
pub use picture::{Img, PictureElement, Source};

use crate::job::{ContentHash, FileKind, HashKey, JobId, JobRecord, Placeholder, ShownFile, State};

/// Everything that a page needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Manifest {
    hash: HashKey,
    job_id: JobId,
    state: State,
    source: SourcePicture,
    /// What a page shows in its place; there once the job has completed, unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    placeholder: Option<Placeholder>,
    /// The pictures that are stored, so far; never the manifest that is stored beside them.
    files: Vec<ShownFile>,
    /// What shows it on a page; none until the job has ended, and where no browser gets a file of it.
    #[schema(required)]
    picture: Option<PictureElement>,
}

/// What was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct SourcePicture {
    /// `jpeg`, `png`, `webp`, ...
    format: String,
    /// As it is shown: upright.
    width: u32,
    /// As it is shown: upright.
    height: u32,
    bytes: u64,
    sha256: ContentHash,
    /// Whether it moves; not there where that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    animated: Option<bool>,
    /// Whether something may show through it; not there where that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alpha: Option<bool>,
}

impl Manifest {
    /// Of the job that is in `state` and has these files.
    #[must_use]
    pub fn of(record: &JobRecord, state: State, placeholder: Option<Placeholder>, mut files: Vec<ShownFile>) -> Self {
        // It can't tell its own bytes.
        files.retain(|shown| shown.kind != FileKind::Manifest);
        let original = &record.original;
        let inspected = record.inspection.map(|inspection| inspection.source);
        let own = (original.width, original.height);
        let variants: Vec<_> = files.iter().filter(|shown| shown.kind == FileKind::Variant).map(|s| &s.file).collect();
        let picture = if state.is_terminal() { PictureElement::of(&variants, own) } else { None };
        Self {
            hash: record.hash.clone(),
            job_id: record.id,
            state,
            source: SourcePicture {
                format: original.format.info().name.to_ascii_lowercase(),
                width: original.width,
                height: original.height,
                bytes: original.bytes,
                sha256: original.sha256,
                animated: inspected.map(|source| source.frames > 1),
                alpha: inspected.and_then(|source| source.alpha),
            },
            placeholder,
            files,
            picture,
        }
    }

    /// As it is answered and stored, byte by byte.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("INVARIANT: it is strings, numbers and lists of them")
    }

    /// What shows it on a page.
    #[must_use]
    pub fn picture(&self) -> Option<&PictureElement> {
        self.picture.as_ref()
    }
}
