//! The presets of files: whether a server could start with them.

use std::path::Path;

use super::Check;
use super::check::counted;
use crate::job::{CallbackAddresses, SpecLimits};
use crate::register::PresetFiles;

const NAME: &str = "presets";

/// What reading them comes to: one line if all is well, else one for each error. Blocks.
pub(super) fn presets(directory: &Path, limits: SpecLimits, addresses: &dyn CallbackAddresses) -> Vec<Check> {
    match PresetFiles::read(directory, limits, addresses) {
        Ok(files) => {
            let found = format!("{} in {} can be read", counted(files.len(), "preset"), directory.display());
            vec![Check::ok(NAME, found)]
        }
        Err(errors) => {
            let remedy = "mend it, or set PIXERVE_PRESETS_DIR otherwise: the server refuses to start";
            errors.iter().map(|error| Check::failed(NAME, error.to_string(), remedy)).collect()
        }
    }
}
