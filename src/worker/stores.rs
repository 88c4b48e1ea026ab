//! The stores of a job: the server's own directory, and those that its access keys stand for.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::job::{BackendKind, JobRecord, StorageKey, Stored};
use crate::register::Register;
use crate::writer::{Object, ProbeOutcome, Retrying, StorageSettings, StoreSettings, WriteError, WriterBackend};

/// One store of one job, whose writes are retried until the attempt stops.
pub(super) type JobStore = Retrying<Arc<dyn WriterBackend>>;

/// Finds the stores of jobs, and reuses their clients: an open connection saves a handshake a file.
pub struct StoreClients {
    direct: Arc<dyn WriterBackend>,
    register: Arc<Register>,
    settings: StoreSettings,
    /// By access key.
    clients: Mutex<HashMap<String, Arc<dyn WriterBackend>>>,
}

impl StoreClients {
    /// The server's own directory, and whatever the register knows.
    #[must_use]
    pub fn new(direct: Arc<dyn WriterBackend>, register: Arc<Register>, settings: StoreSettings) -> Self {
        Self { direct, register, settings, clients: Mutex::default() }
    }

    /// Every store that a job's files go to, until `stop`. One whose credentials are gone fails when it is written to, so
    /// that the others still get theirs.
    pub(super) fn of_job(&self, record: &JobRecord, stop: &CancellationToken) -> Vec<JobStore> {
        let direct = record.spec.direct_host.then(|| Arc::clone(&self.direct));
        let registered = record.spec.storage.iter().map(|key| {
            self.client(key, record.owner.user.as_deref())
                .unwrap_or_else(|error| Arc::new(UnusableStore { name: key.backend.as_str(), error }))
        });
        direct.into_iter().chain(registered).map(|store| Retrying::new(store, self.settings, stop.clone())).collect()
    }

    fn client(&self, key: &StorageKey, user: Option<&str>) -> Result<Arc<dyn WriterBackend>, WriteError> {
        // Asked every time: a deregistered key must stop working at once, whatever is cached.
        if !self.register.may_use(&key.access_key, key.backend, user) {
            self.clients.lock().remove(&key.access_key);
            return Err(unusable(key.backend, "its access key has been deregistered since the upload"));
        }
        if let Some(client) = self.clients.lock().get(&key.access_key) {
            return Ok(Arc::clone(client));
        }
        let credential = self
            .register
            .store(&key.access_key)
            .ok_or_else(|| unusable(key.backend, "its access key has been deregistered since the upload"))?;
        let settings = StorageSettings::from_sealed(&credential.settings)
            .ok_or_else(|| unusable(key.backend, "its credentials can't be read; register the store again"))?;
        let client = settings.connect(&self.settings.timeouts)?;
        self.clients.lock().insert(key.access_key.clone(), Arc::clone(&client));
        Ok(client)
    }
}

fn unusable(backend: BackendKind, detail: &str) -> WriteError {
    WriteError { what: format!("use the {} store", backend.as_str()), detail: detail.to_owned(), transient: false }
}

/// A store that no client can be made for: every write fails, for good.
struct UnusableStore {
    name: &'static str,
    error: WriteError,
}

impl UnusableStore {
    fn error(&self) -> WriteError {
        let WriteError { what, detail, .. } = &self.error;
        WriteError { what: what.clone(), detail: detail.clone(), transient: false }
    }
}

#[async_trait]
impl WriterBackend for UnusableStore {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn put(&self, _: &Object) -> Result<Stored, WriteError> {
        Err(self.error())
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        Err(self.error())
    }
}
