//! Presets: those that were put, which are kept beside users and stores, and those of files, which stand before them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::within;
use super::record::Record;
use super::{Kept, PresetFiles, Register, RegisterError, RegisterInner, Registration};
use crate::job::{ClaimErrors, Preset, PresetName, StorageKey};

/// What a preset is kept under: this and its name. No access key begins so.
const KEY_PREFIX: &str = "preset-";

/// What the preset of this name is kept under.
fn key_of(name: &PresetName) -> String {
    format!("{KEY_PREFIX}{name}")
}

/// The name of the preset that is kept under this key; none of a user's or a store's.
pub(super) fn name_of(key: &str) -> Option<PresetName> {
    key.strip_prefix(KEY_PREFIX).and_then(PresetName::parse)
}

/// All presets. Reading is from memory and never waits; what is put or deleted is durable once that is answered.
#[derive(Debug)]
pub struct Presets {
    files: PresetFiles,
    register: Arc<Register>,
}

/// Where a preset comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresetSource {
    /// A file, which was read at the start.
    File,
    /// A request.
    Put,
}

/// Whether what is kept under a name may be changed; it is asked when nobody else can change it.
type Condition = Box<dyn FnOnce(Option<&Preset>) -> bool + Send>;

impl Presets {
    /// Those of these files, and those of the register.
    #[must_use]
    pub fn new(files: PresetFiles, register: Arc<Register>) -> Self {
        Self { files, register }
    }

    /// The preset of this name.
    #[must_use]
    pub fn find(&self, name: &PresetName) -> Option<Arc<Preset>> {
        self.files.find(name).or_else(|| self.register.preset(name))
    }

    /// Whether a file defines it.
    #[must_use]
    pub fn is_from_file(&self, name: &PresetName) -> bool {
        self.files.find(name).is_some()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> BTreeMap<PresetName, (PresetSource, Arc<Preset>)> {
        let put = self.register.inner.known().presets.clone().into_iter();
        let put = put.map(|(name, preset)| (name, (PresetSource::Put, preset)));
        let files = self.files.all().map(|(name, preset)| (name.clone(), (PresetSource::File, Arc::clone(preset))));
        put.chain(files).collect()
    }

    /// The names of all of them, in order.
    #[must_use]
    pub fn names(&self) -> BTreeSet<PresetName> {
        let mut names = self.register.preset_names();
        names.extend(self.files.all().map(|(name, _)| name.clone()));
        names
    }

    /// Notes which of the stores that a preset names can't be named by one: whoever may use the preset may use its stores.
    ///
    /// # Errors
    /// It isn't known whether there is one: the register can't be read. That may pass.
    pub async fn check_stores(&self, stores: &[StorageKey], errors: &mut ClaimErrors) -> Result<(), RegisterError> {
        for StorageKey { backend, access_key } in stores {
            let store = match self.register.find(access_key).await? {
                Some(Registration::Store(store)) if store.kind == *backend => Some(store),
                Some(Registration::Unreadable) => {
                    return Err(RegisterError::Unreadable { access_key: access_key.clone() });
                }
                _ => None,
            };
            match store {
                None => errors.push(
                    format!("/storageKeys/{}", backend.as_str()),
                    format!("no {} store is registered under this access_key", backend.as_str()),
                ),
                Some(store) if store.user.is_some() => {
                    errors.push(format!("/storageKeys/{}", backend.as_str()), OF_USER);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Keeps `preset` under `name` if `holds` of what is there, and answers whether nothing was.
    ///
    /// # Errors
    /// [`RegisterError::PresetFromFile`], [`RegisterError::PresetChanged`], [`RegisterError::TooManyPresets`], or the store of records: then
    /// either may be there.
    pub async fn put(
        &self,
        name: PresetName,
        preset: Preset,
        holds: impl FnOnce(Option<&Preset>) -> bool + Send + 'static,
    ) -> Result<bool, RegisterError> {
        self.refuse_file(&name)?;
        let of_files = self.files.all().map(|(name, _)| name.clone()).collect();
        let holds: Condition = Box::new(holds);
        self.register.detached(move |inner| async move { inner.put_preset(name, preset, holds, of_files).await }).await
    }

    /// Removes what is kept under `name` if `holds` of it.
    ///
    /// # Errors
    /// [`RegisterError::PresetFromFile`], [`RegisterError::UnknownPreset`], [`RegisterError::PresetChanged`], or the store of records: then it
    /// may be there or not.
    pub async fn delete(
        &self,
        name: PresetName,
        holds: impl FnOnce(Option<&Preset>) -> bool + Send + 'static,
    ) -> Result<(), RegisterError> {
        self.refuse_file(&name)?;
        let holds: Condition = Box::new(holds);
        self.register.detached(move |inner| async move { inner.delete_preset(&name, holds).await }).await
    }

    fn refuse_file(&self, name: &PresetName) -> Result<(), RegisterError> {
        if self.is_from_file(name) { Err(RegisterError::PresetFromFile { name: name.clone() }) } else { Ok(()) }
    }
}

/// What is wrong with a store that a preset names and a user has for itself.
pub(super) const OF_USER: &str =
    "the store belongs to a user, and is no business of whoever else may name the preset: its tokens name it";

impl Register {
    /// The names of those that were put.
    pub fn preset_names(&self) -> BTreeSet<PresetName> {
        self.inner.known().presets.keys().cloned().collect()
    }

    /// The preset that was put under this name.
    pub fn preset(&self, name: &PresetName) -> Option<Arc<Preset>> {
        self.inner.known().presets.get(name).cloned()
    }
}

impl RegisterInner {
    async fn put_preset(
        &self,
        name: PresetName,
        preset: Preset,
        holds: Condition,
        of_files: BTreeSet<PresetName>,
    ) -> Result<bool, RegisterError> {
        let mut change = self.begin().await?;
        let deadline = change.deadline();
        let written = within(deadline, self.write_preset(&mut change.kept, name, preset, holds, of_files)).await;
        let (is_new, version) = self.end(change, written).await?;
        self.tell(version).await;
        Ok(is_new)
    }

    async fn write_preset(
        &self,
        kept: &mut Kept,
        name: PresetName,
        preset: Preset,
        holds: Condition,
        mut names: BTreeSet<PresetName>,
    ) -> Result<bool, RegisterError> {
        let before = {
            let known = self.known();
            names.extend(known.presets.keys().cloned());
            known.presets.get(&name).cloned()
        };
        if before.is_none() && names.len() >= Preset::COUNT_MAX {
            return Err(RegisterError::TooManyPresets { max: Preset::COUNT_MAX });
        }
        if !holds(before.as_deref()) {
            return Err(RegisterError::PresetChanged);
        }
        self.write(kept, &key_of(&name), Record::from(&preset)).await?;
        Ok(before.is_none())
    }

    async fn delete_preset(&self, name: &PresetName, holds: Condition) -> Result<(), RegisterError> {
        let mut change = self.begin().await?;
        let removed = within(change.deadline(), self.remove_preset(&mut change.kept, name, holds)).await;
        let ((), version) = self.end(change, removed).await?;
        self.tell(version).await;
        Ok(())
    }

    async fn remove_preset(&self, kept: &mut Kept, name: &PresetName, holds: Condition) -> Result<(), RegisterError> {
        let key = key_of(name);
        // One that can't be unsealed is no preset, and can be removed.
        if !kept.versions.contains_key(&key) {
            return Err(RegisterError::UnknownPreset);
        }
        let before = self.known().presets.get(name).cloned();
        if !holds(before.as_deref()) {
            return Err(RegisterError::PresetChanged);
        }
        self.records.remove(&key).await?;
        // Only then from memory: if it can't be removed, a second try must still find it.
        kept.versions.remove(&key);
        self.known.write().remove(&key);
        Ok(())
    }
}
