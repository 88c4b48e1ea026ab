//! Stores as whoever compares them with the ledger sees them: all that there are, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::HeldName;
use super::{PlaceError, Registered, StoreClients};
use crate::bucket::KeyPrefix;
use crate::job::{BackendKind, Owner, StorageKey};
use crate::ledger::Place;
use crate::register::EntryKind;
use crate::writer::{Deletion, FileList, FoundFile, StorageSettings, WriteError, WriterBackend};

/// What locations of what the server serves itself begin with, to anyone or not.
const SERVED: &str = "/";

/// The bucket of many nodes, in which nothing is a store's, whoever has registered it as one too.
#[derive(Clone, Debug)]
pub(in crate::worker) struct OwnBucket {
    pub(in crate::worker) name: String,
    pub(in crate::worker) prefix: KeyPrefix,
}

/// A store, or what the server serves itself.
#[derive(Clone, Debug)]
pub(in crate::worker) struct ListedStore {
    /// `directHost`, `s3` or `gcs`.
    pub(in crate::worker) backend: &'static str,
    /// What it is registered under, the first if it is so several times; none for what the server serves itself.
    pub(in crate::worker) access_key: Option<String>,
    /// Everything that it is registered under.
    pub(in crate::worker) access_keys: Vec<String>,
    /// The user that it is for.
    user: Option<String>,
    /// What every location in it begins with.
    pub(in crate::worker) base: String,
    /// What of it belongs to others: other registrations of the same bucket, or our own bucket.
    others: Vec<String>,
}

impl ListedStore {
    /// Whether a file of it is another's to tell of.
    pub(in crate::worker) fn is_of_another(&self, location: &str) -> bool {
        self.others.iter().any(|other| location.starts_with(other))
    }

    /// The place that `location` is.
    pub(in crate::worker) fn place(&self, location: &str) -> Place {
        let access_key = self.access_key.clone();
        Place { backend: self.backend.to_owned(), access_key, location: location.to_owned() }
    }
}

impl StoreClients {
    /// Every store, the one that is served first; each bucket and prefix once, however often it is registered.
    pub(in crate::worker) fn listed(&self, own: Option<&OwnBucket>) -> Vec<ListedStore> {
        let inner = &self.inner;
        // By what tells one from another, with what its locations begin with.
        let mut stores: BTreeMap<(String, String), ListedStore> = BTreeMap::new();
        for entry in inner.register.list() {
            let EntryKind::Store(kind) = entry.kind else { continue };
            let Some(store) = inner.register.store(&entry.access_key) else { continue };
            let Some(settings) = StorageSettings::from_sealed(&store.settings) else { continue };
            let (bucket, prefix) = settings.bucket();
            let base = format!("{}://{bucket}/{}", scheme(kind), prefix.join(""));
            let listed = stores.entry((settings.place(), base.clone())).or_insert_with(|| ListedStore {
                backend: kind.as_str(),
                access_key: Some(entry.access_key.clone()),
                access_keys: Vec::new(),
                user: store.user.as_ref().map(|user| user.name.clone()),
                base,
                others: Vec::new(),
            });
            listed.access_keys.push(entry.access_key);
        }
        let own = own.map(|own| format!("s3://{}/{}", own.name, own.prefix.join("")));
        let keys: Vec<_> = stores.keys().cloned().collect();
        for ((place, base), store) in &mut stores {
            let below = keys.iter().filter(|(other, _)| other == place).map(|(_, base)| base);
            store.others = below.filter(|other| *other != base && other.starts_with(&*base)).cloned().collect();
            store.others.extend(own.clone());
        }
        let served = ListedStore {
            backend: inner.direct.writer.name(),
            access_key: None,
            access_keys: Vec::new(),
            user: None,
            base: SERVED.to_owned(),
            others: Vec::new(),
        };
        std::iter::once(served).chain(stores.into_values()).collect()
    }

    /// Everything that is in it.
    pub(in crate::worker) async fn list(&self, store: &ListedStore) -> Result<FileList, WriteError> {
        self.writer(store).list().await
    }

    /// What is at `location` in it now.
    pub(in crate::worker) async fn look(
        &self,
        store: &ListedStore,
        location: &str,
    ) -> Result<Option<FoundFile>, WriteError> {
        self.writer(store).look(location).await
    }

    /// Has nobody of this process write a file of this name until what this returns is dropped.
    pub(in crate::worker) fn hold(&self, name: &str) -> HeldName {
        self.inner.held.hold(name)
    }

    /// Deletes what is at `location` in it.
    pub(in crate::worker) async fn delete_in(
        &self,
        store: &ListedStore,
        location: &str,
    ) -> Result<Deletion, PlaceError> {
        // Whose turn it is at the store: nobody's in particular.
        let owner = Owner { user: store.user.clone(), access_key: None, sub: String::new() };
        self.delete(&store.place(location), &owner).await
    }

    fn writer(&self, store: &ListedStore) -> Arc<dyn WriterBackend> {
        let kind = BackendKind::from_name(store.backend);
        match (&store.access_key, kind) {
            (Some(access_key), Some(backend)) => {
                let key = StorageKey { backend, access_key: access_key.clone() };
                Arc::new(Registered { stores: Arc::clone(&self.inner), key, user: store.user.clone() })
            }
            _ => Arc::clone(&self.inner.direct.writer),
        }
    }
}

fn scheme(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::S3 => "s3",
        BackendKind::Gcs => "gs",
    }
}
