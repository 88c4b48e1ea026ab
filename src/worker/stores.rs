//! The stores of a job: our own directory, and those that its access keys stand for.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::job::{BackendKind, JobRecord, StorageKey, Stored};
use crate::register::Register;
use crate::writer::{Object, RetrySettings, Retrying, StorageSettings, StoreTimeouts, WriteError, WriterBackend};

/// Finds stores, and keeps their clients: a connection that is open already saves a handshake a file.
pub struct Stores {
    direct: Arc<dyn WriterBackend>,
    register: Arc<Register>,
    retry: RetrySettings,
    timeouts: StoreTimeouts,
    clients: Mutex<HashMap<String, Arc<dyn WriterBackend>>>,
}

impl Stores {
    /// Our own directory and whatever the register knows.
    #[must_use]
    pub fn new(
        direct: Arc<dyn WriterBackend>,
        register: Arc<Register>,
        retry: RetrySettings,
        timeouts: StoreTimeouts,
    ) -> Self {
        Self { direct, register, retry, timeouts, clients: Mutex::default() }
    }

    /// Every store that a job's files go to. One whose credentials are gone fails when it is written to, so that the
    /// others still get theirs.
    pub(super) fn of_job(&self, record: &JobRecord) -> Vec<Store> {
        let mut stores = Vec::new();
        if record.spec.direct_host {
            stores.push(self.retried(Arc::clone(&self.direct)));
        }
        for key in &record.spec.storage {
            let store = self.client(key, record.owner.user.as_deref()).unwrap_or_else(|error| {
                Arc::new(Gone { name: key.backend.as_str(), what: error.what, detail: error.detail })
            });
            stores.push(self.retried(store));
        }
        stores
    }

    fn retried(&self, backend: Arc<dyn WriterBackend>) -> Store {
        Store { backend, retry: self.retry }
    }

    fn client(&self, key: &StorageKey, user: Option<&str>) -> Result<Arc<dyn WriterBackend>, WriteError> {
        // Asked every time: a key that was deregistered must stop working, whatever is cached.
        if !self.register.may_use(&key.access_key, key.backend, user) {
            self.lock().remove(&key.access_key);
            return Err(gone(key.backend, "its access key has been deregistered since the upload"));
        }
        if let Some(client) = self.lock().get(&key.access_key) {
            return Ok(Arc::clone(client));
        }
        let credential = self
            .register
            .storage(&key.access_key)
            .ok_or_else(|| gone(key.backend, "its access key has been deregistered since the upload"))?;
        let settings = StorageSettings::from_sealed(&credential.settings)
            .ok_or_else(|| gone(key.backend, "its credentials can't be read; register the store again"))?;
        let client = settings.connect(&self.timeouts)?;
        self.lock().insert(key.access_key.clone(), Arc::clone(&client));
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn WriterBackend>>> {
        self.clients.lock()
    }
}

fn gone(backend: BackendKind, detail: &str) -> WriteError {
    WriteError { what: format!("use the {} store", backend.as_str()), detail: detail.to_owned(), transient: false }
}

/// One store of one job, with patience.
pub(super) struct Store {
    backend: Arc<dyn WriterBackend>,
    retry: RetrySettings,
}

impl Store {
    /// As the claims call it.
    pub(super) fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// Stores one file, trying again while that may help and `stop` hasn't fired.
    pub(super) async fn put(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        Retrying::new(Arc::clone(&self.backend), self.retry, stop.clone()).put(object).await
    }
}

/// A store that can't be written to any more.
struct Gone {
    name: &'static str,
    what: String,
    detail: String,
}

impl Gone {
    fn error(&self) -> WriteError {
        WriteError { what: self.what.clone(), detail: self.detail.clone(), transient: false }
    }
}

#[async_trait]
impl WriterBackend for Gone {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn put(&self, _: &Object) -> Result<Stored, WriteError> {
        Err(self.error())
    }

    async fn probe(&self) -> Result<(), WriteError> {
        Err(self.error())
    }
}
