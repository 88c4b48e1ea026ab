//! Presets of files: one a file, named by the file, read once at the start.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Register;
use super::presets::OF_USER;
use crate::job::{CallbackAddresses, Preset, PresetName, SpecLimits, StorageKey};

const EXTENSION: &str = "json";

/// The presets of a directory.
#[derive(Debug, Default)]
pub struct PresetFiles {
    presets: BTreeMap<PresetName, Arc<Preset>>,
    /// The stores that they name, each with the file.
    stores: Vec<(PathBuf, StorageKey)>,
}

/// One thing that is wrong with a file, or with the directory itself.
#[derive(Debug)]
pub struct PresetFileError {
    path: PathBuf,
    /// Where in the file, as a JSON Pointer (RFC 6901).
    pointer: Option<String>,
    detail: String,
}

/// Everything that is wrong with the files; never empty.
#[derive(Debug)]
pub struct PresetFilesError(Vec<PresetFileError>);

impl PresetFiles {
    /// Reads every `*.json` in `directory`, but for hidden files. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, at once: what can't be read, is called as no preset is, or is no preset.
    pub fn read(
        directory: &Path,
        limits: SpecLimits,
        addresses: &dyn CallbackAddresses,
    ) -> Result<Self, PresetFilesError> {
        let mut errors = Vec::new();
        let paths = paths(directory).map_err(|error| {
            let detail = format!("the directory of presets can't be read: {error}");
            PresetFilesError(vec![PresetFileError::whole(directory, detail)])
        })?;
        if paths.len() > Preset::COUNT_MAX {
            let detail = format!("there are {} presets, and at most {} may be", paths.len(), Preset::COUNT_MAX);
            errors.push(PresetFileError::whole(directory, detail));
        }
        let mut files = Self::default();
        for path in paths.into_iter().take(Preset::COUNT_MAX) {
            match read_file(&path) {
                Ok((name, preset)) => {
                    match preset.check(limits, addresses) {
                        Ok(stores) => files.stores.extend(stores.into_iter().map(|store| (path.clone(), store))),
                        Err(bad) => errors.extend(bad.fields().iter().map(|field| PresetFileError {
                            path: path.clone(),
                            pointer: Some(field.pointer.clone()),
                            detail: field.detail.clone(),
                        })),
                    }
                    files.presets.insert(name, Arc::new(preset));
                }
                Err(detail) => errors.push(PresetFileError::whole(&path, detail)),
            }
        }
        if errors.is_empty() { Ok(files) } else { Err(PresetFilesError(errors)) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.presets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.presets.is_empty()
    }

    /// Refuses stores that users have for themselves, and tells of those that nobody has registered: they may be later, and jobs are refused
    /// until then.
    ///
    /// # Errors
    /// Every such store.
    pub fn check_stores(&self, register: &Register) -> Result<(), PresetFilesError> {
        let mut errors = Vec::new();
        for (path, StorageKey { backend, access_key }) in &self.stores {
            let pointer = format!("/storageKeys/{}", backend.as_str());
            match register.store(access_key).filter(|store| store.kind == *backend) {
                Some(store) if store.user.is_some() => {
                    errors.push(PresetFileError {
                        path: path.clone(),
                        pointer: Some(pointer),
                        detail: OF_USER.to_owned(),
                    });
                }
                Some(_) => {}
                None => tracing::warn!(
                    file = %path.display(), pointer, access_key,
                    "no store of this kind is registered under the access key that a preset names; jobs that name it are refused"
                ),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(PresetFilesError(errors)) }
    }

    pub(super) fn find(&self, name: &PresetName) -> Option<Arc<Preset>> {
        self.presets.get(name).cloned()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&PresetName, &Arc<Preset>)> {
        self.presets.iter()
    }
}

/// The files of presets in a directory, in order. Links are followed when they are read: Kubernetes mounts files as such.
fn paths(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<(PresetName, Preset), String> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(PresetName::parse);
    let name = name.ok_or_else(|| format!("what stands before .{EXTENSION} must be {}", PresetName::RULE))?;
    let mut bytes = Vec::new();
    let limit = Preset::BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() > Preset::BYTES_MAX {
        return Err(format!("it has more than the {} bytes that a preset may have", Preset::BYTES_MAX));
    }
    let preset = Preset::parse(&bytes).map_err(|error| format!("it is not usable JSON: {error}"))?;
    Ok((name, preset))
}

impl PresetFileError {
    fn whole(path: &Path, detail: String) -> Self {
        Self { path: path.to_owned(), pointer: None, detail }
    }
}

impl fmt::Display for PresetFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, pointer, detail } = self;
        match pointer {
            Some(pointer) => write!(f, "{}: {pointer}: {detail}", path.display()),
            None => write!(f, "{}: {detail}", path.display()),
        }
    }
}

impl PresetFilesError {
    /// One by one, by the names of the files.
    pub fn iter(&self) -> impl Iterator<Item = &PresetFileError> {
        self.0.iter()
    }
}

impl fmt::Display for PresetFilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("there is an error in the presets of PIXERVE_PRESETS_DIR:")?,
            n => write!(f, "there are {n} errors in the presets of PIXERVE_PRESETS_DIR:")?,
        }
        self.0.iter().try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

impl std::error::Error for PresetFilesError {}
