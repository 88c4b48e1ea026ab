//! A file as clients are told of it.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{JobRecord, PublicUrl, StoredFile};

/// What of a job a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// The uploaded bytes.
    Original,
    /// What was made of them.
    Variant,
    /// What a page needs to show the picture, as JSON.
    Manifest,
}

/// A stored file, with what the job asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShownFile {
    /// What is stored where, as clients reach it.
    #[serde(flatten)]
    pub file: StoredFile,
    /// What it is.
    pub kind: FileKind,
    /// The box that it was to fit into, width first, 0 for a side that is free; of variants alone.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_items = 2, max_items = 2)]
    pub size: Option<[u32; 2]>,
}

/// The files of a job for its clients, who reach this server at `public_url`.
#[must_use]
pub fn shown_files(record: &JobRecord, files: Vec<StoredFile>, public_url: &PublicUrl) -> Vec<ShownFile> {
    let variants = record.spec.variants.iter();
    let boxes: HashMap<_, _> = variants.map(|v| (record.variant_name(v), [v.width, v.height])).collect();
    let manifest = record.spec.manifest.then(|| record.manifest_name());
    let files = public_url.of_files(files).into_iter();
    files
        .map(|file| {
            let size = boxes.get(&file.name).copied();
            let kind = match size {
                Some(_) => FileKind::Variant,
                None if manifest.as_ref() == Some(&file.name) => FileKind::Manifest,
                None => FileKind::Original,
            };
            ShownFile { file, kind, size }
        })
        .collect()
}
