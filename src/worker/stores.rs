//! The stores of a job: the one that the server serves itself, and those that its access keys stand for.

mod held;
mod listed;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use crate::active_jobs::{OutageReason, StoreOutage, StoreState};
use crate::clock::SharedClock;
use crate::error_chain::ErrorChain;
use crate::job::{BackendKind, JobRecord, Owner, ServedPath, StorageKey, Stored};
use crate::ledger::Place;
use crate::register::{Register, RegisterError, RegisteredStore};
use crate::writer::{
    BACKENDS, Deletion, FileList, FoundFile, GiveUpTime, Object, ObjectBytes, ProbeOutcome, Retrying, ServeKind,
    StorageSettings, StoreGate, StoreMetrics, StoreSettings, WriteError, WriteErrorKind, WriteSignals, WriterBackend,
};

pub(super) use held::HeldName;
use held::HeldNames;
pub(super) use listed::{ListedStore, OwnBucket};

/// How often what the server serves itself is tried while it can't be written to: a disk that has space again is to be used
/// soon.
const SERVE_PROBE_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Finds the stores of jobs, and reuses their clients: an open connection saves a handshake a file.
#[derive(Clone)]
pub struct StoreClients {
    inner: Arc<Inner>,
}

/// The store of what the server serves itself, under `/files/` and `/private/`.
pub struct DirectStore {
    writer: Arc<dyn WriterBackend>,
    kind: ServeKind,
}

impl DirectStore {
    /// A directory. A file is written there at once, from memory.
    #[must_use]
    pub fn directory(writer: impl WriterBackend + 'static) -> Self {
        Self { writer: Arc::new(writer), kind: ServeKind::Directory }
    }

    /// The bucket. A store like any other: nobody who makes variants waits for it.
    #[must_use]
    pub fn bucket(writer: impl WriterBackend + 'static) -> Self {
        Self { writer: Arc::new(writer), kind: ServeKind::Bucket }
    }

    /// What the log calls what is there of private files, or of all others.
    fn place(&self, is_private: bool) -> &'static str {
        match (self.kind, is_private) {
            (ServeKind::Directory, false) => "the serve directory",
            (ServeKind::Directory, true) => "the private directory",
            (ServeKind::Bucket, false) => "the served files in the bucket",
            (ServeKind::Bucket, true) => "the private files in the bucket",
        }
    }
}

struct Inner {
    direct: DirectStore,
    direct_gate: Arc<StoreGate>,
    /// Apart: the private directory may be on another disk, and what can't be written there must not hold up what is public.
    private_gate: Arc<StoreGate>,
    register: Arc<Register>,
    settings: StoreSettings,
    clock: SharedClock,
    metrics: StoreMetrics,
    /// By access key.
    clients: Mutex<HashMap<String, StoreClient>>,
    /// By [`StorageSettings::place`].
    gates: Mutex<HashMap<String, (BackendKind, Arc<StoreGate>)>>,
    /// What is about to be deleted since nobody names it.
    held: HeldNames,
}

/// A client, and the registration that it was made for.
struct StoreClient {
    of: Arc<RegisteredStore>,
    client: Arc<dyn WriterBackend>,
}

/// One store of one job.
pub(super) struct JobStore {
    writer: Retrying<Arc<dyn WriterBackend>>,
    /// None for what the server serves itself.
    access_key: Option<String>,
    is_serve_directory: bool,
    held: HeldNames,
    /// Whether some file is still to be written there.
    is_wanting: AtomicBool,
}

impl StoreClients {
    /// What the server serves itself, and whatever the register knows.
    #[must_use]
    pub fn new(direct: DirectStore, register: Arc<Register>, settings: StoreSettings, clock: SharedClock) -> Self {
        let [direct_gate, private_gate] = [false, true].map(|is_private| {
            let place = direct.place(is_private).to_owned();
            StoreGate::probed_within(place, places(&settings), SERVE_PROBE_INTERVAL_MAX, Arc::clone(&clock))
        });
        let (metrics, clients, gates) = (StoreMetrics::default(), Mutex::default(), Mutex::default());
        let held = HeldNames::default();
        let inner =
            Inner { direct, direct_gate, private_gate, register, settings, clock, metrics, clients, gates, held };
        Self { inner: Arc::new(inner) }
    }

    /// What is counted of them.
    #[must_use]
    pub fn metrics(&self) -> &StoreMetrics {
        &self.inner.metrics
    }

    /// How many stores of each kind can't be reached, in the order of [`BACKENDS`].
    #[must_use]
    pub fn outages(&self) -> [(&'static str, usize); BACKENDS.len()] {
        let gates = self.inner.gates.lock();
        let remote = gates.values().filter(|(_, gate)| gate.outage().is_some()).map(|(kind, _)| kind.as_str());
        let direct = [&self.inner.direct_gate, &self.inner.private_gate].into_iter();
        let direct = direct.filter(|gate| gate.outage().is_some()).map(|_| self.inner.direct.writer.name());
        let open: Vec<_> = remote.chain(direct).collect();
        BACKENDS.map(|backend| (backend, open.iter().filter(|open| **open == backend).count()))
    }

    /// Every store that a job's files go to, the one that is served first. One whose credentials are gone fails when it is
    /// written to, so that the others still get theirs.
    pub(super) fn of_job(
        &self,
        record: &JobRecord,
        give_up: &GiveUpTime,
        signals: &WriteSignals,
    ) -> Vec<Arc<JobStore>> {
        let inner = &self.inner;
        let store = |writer, gate, give_up, access_key: Option<String>| {
            let (owner, clock) = (record.owner.digest(), Arc::clone(&inner.clock));
            let (signals, metrics) = (signals.clone(), inner.metrics.clone());
            let writer = Retrying::new(writer, gate, owner, inner.settings, give_up, signals, clock, metrics);
            let is_serve_directory = access_key.is_none() && inner.direct.kind == ServeKind::Directory;
            let (held, is_wanting) = (inner.held.clone(), AtomicBool::new(true));
            Arc::new(JobStore { writer, access_key, is_serve_directory, held, is_wanting })
        };
        // What is served is the operator's to mend, however long that takes.
        let direct = record
            .spec
            .direct_host
            .then(|| store(Arc::clone(&inner.direct.writer), inner.own_gate(record.spec.private), None, None));
        let registered = record.spec.storage.iter().map(|key| {
            let user = record.owner.user.clone();
            let writer = Arc::new(Registered { stores: Arc::clone(inner), key: key.clone(), user });
            store(writer, inner.gate(key), Some(give_up.clone()), Some(key.access_key.clone()))
        });
        direct.into_iter().chain(registered).collect()
    }
}

/// Why what is at a place could not be reached.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// Nothing is registered under the access key of its store any more, or it is not this owner's to use.
    UnknownStore,
    /// The store's, or that it can't be reached.
    Store(WriteError),
}

impl StoreClients {
    /// What is at a place that holds a file of `owner`'s, if it has no more bytes than that; none if nothing is registered under
    /// the access key of its store any more. One try.
    ///
    /// # Errors
    /// The store's, or that it can't be reached.
    pub async fn get(&self, place: &Place, owner: &Owner, bytes_max: u64) -> Result<Option<ObjectBytes>, WriteError> {
        match self.store_of(place, owner).await {
            Ok((writer, _)) => writer.get(&place.location, bytes_max).await.map(Some),
            Err(PlaceError::UnknownStore) => Ok(None),
            Err(PlaceError::Store(error)) => Err(error),
        }
    }

    /// Who has what is at a place of `owner`'s, and the gate before it.
    async fn store_of(
        &self,
        place: &Place,
        owner: &Owner,
    ) -> Result<(Arc<dyn WriterBackend>, Arc<StoreGate>), PlaceError> {
        let inner = &self.inner;
        let Some(access_key) = &place.access_key else {
            let is_private = ServedPath::parse(&place.location).is_some_and(|path| path.area.is_private());
            return Ok((Arc::clone(&inner.direct.writer), inner.own_gate(is_private)));
        };
        let backend = BackendKind::from_name(&place.backend).ok_or(PlaceError::UnknownStore)?;
        let (key, user) = (StorageKey { backend, access_key: access_key.clone() }, owner.user.clone());
        match inner.register.find_usable(access_key, backend, user.as_deref()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(PlaceError::UnknownStore),
            Err(error) => return Err(PlaceError::Store(unknown(backend, &error))),
        }
        let gate = inner.gate(&key);
        Ok((Arc::new(Registered { stores: Arc::clone(inner), key, user }), gate))
    }

    /// Deletes what is at a place that holds a file of `owner`'s. One try, which waits for its turn, and not for a store that
    /// can't be reached.
    pub(super) async fn delete(&self, place: &Place, owner: &Owner) -> Result<Deletion, PlaceError> {
        let (writer, gate) = self.store_of(place, owner).await?;
        let deleted = self.inner.deleting(writer, &gate, owner).delete(&place.location).await;
        deleted.map_err(|error| not_deleted(error, &gate))
    }

    /// The same of places that this server serves itself, in as few steps as that takes: what came of each, in their order.
    pub(super) async fn delete_own(&self, files: &[(Place, Owner)]) -> Vec<Result<Deletion, PlaceError>> {
        let inner = &self.inner;
        if inner.direct.kind == ServeKind::Bucket {
            let deleted = stream::iter(files.to_vec());
            let deleted = deleted.map(|(place, owner)| async move { self.delete(&place, &owner).await });
            return deleted.buffered(places(&inner.settings)).collect().await;
        }
        let is_private = |place: &Place| ServedPath::parse(&place.location).is_some_and(|path| path.area.is_private());
        let (private, public): (Vec<_>, Vec<_>) = (0..files.len()).partition(|number| is_private(&files[*number].0));
        let mut outcomes = Vec::with_capacity(files.len());
        for (numbers, gate) in [(public, &inner.direct_gate), (private, &inner.private_gate)] {
            let Some(first) = numbers.first() else { continue };
            let locations: Vec<_> = numbers.iter().map(|number| files[*number].0.location.clone()).collect();
            // Whose turn it is, is the first one's.
            let deleting = inner.deleting(Arc::clone(&inner.direct.writer), gate, &files[*first].1);
            let deleted = deleting.delete_all(&locations).await.into_iter();
            outcomes.extend(numbers.into_iter().zip(deleted.map(|one| one.map_err(|error| not_deleted(error, gate)))));
        }
        outcomes.sort_unstable_by_key(|(number, _)| *number);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

/// Why a deletion came to nothing.
fn not_deleted(error: WriteError, gate: &StoreGate) -> PlaceError {
    match gate.outage() {
        // Nobody asked: why, is known already.
        Some(outage) if error.kind == WriteErrorKind::Cancelled => {
            PlaceError::Store(WriteError { detail: outage.error, ..error })
        }
        _ => PlaceError::Store(error),
    }
}

impl Inner {
    /// Deletes for `owner` with one try, which waits for its turn, and not for a store that can't be reached.
    fn deleting(
        &self,
        writer: Arc<dyn WriterBackend>,
        gate: &Arc<StoreGate>,
        owner: &Owner,
    ) -> Retrying<Arc<dyn WriterBackend>> {
        let signals = WriteSignals::default();
        signals.no_waiting.cancel();
        let (settings, metrics, clock) = (self.settings, self.metrics.clone(), Arc::clone(&self.clock));
        Retrying::new(writer, Arc::clone(gate), owner.digest(), settings, None, signals, clock, metrics)
    }

    /// The gate of what the server serves itself, to anyone or not.
    fn own_gate(&self, is_private: bool) -> Arc<StoreGate> {
        Arc::clone(if is_private { &self.private_gate } else { &self.direct_gate })
    }

    /// The gate of the place that an access key stands for; one of its own, if it stands for none any more.
    fn gate(&self, key: &StorageKey) -> Arc<StoreGate> {
        let settings =
            self.register.store(&key.access_key).and_then(|store| StorageSettings::from_sealed(&store.settings));
        let place = settings.map_or_else(|| key.access_key.clone(), |settings| settings.place());
        match self.gates.lock().entry(place) {
            Entry::Occupied(gate) => Arc::clone(&gate.get().1),
            Entry::Vacant(vacant) => {
                let gate = StoreGate::new(vacant.key().clone(), places(&self.settings), Arc::clone(&self.clock));
                Arc::clone(&vacant.insert((key.backend, gate)).1)
            }
        }
    }

    async fn client(&self, key: &StorageKey, user: Option<&str>) -> Result<Arc<dyn WriterBackend>, WriteError> {
        // Asked every time: a deregistered key must stop working at once, whatever is cached.
        let store = match self.register.find_usable(&key.access_key, key.backend, user).await {
            Ok(Some(store)) => store,
            Ok(None) => {
                self.clients.lock().remove(&key.access_key);
                return Err(unusable(key.backend, "its access key has been deregistered since the upload"));
            }
            Err(error) => return Err(unknown(key.backend, &error)),
        };
        // What is registered under the key may have been changed since.
        if let Some(kept) = self.clients.lock().get(&key.access_key).filter(|kept| Arc::ptr_eq(&kept.of, &store)) {
            return Ok(Arc::clone(&kept.client));
        }
        let settings = StorageSettings::from_sealed(&store.settings)
            .ok_or_else(|| unusable(key.backend, "its credentials can't be read; register the store again"))?;
        let client = settings.connect(&self.settings.timeouts)?;
        let kept = StoreClient { of: store, client: Arc::clone(&client) };
        self.clients.lock().insert(key.access_key.clone(), kept);
        Ok(client)
    }
}

fn places(settings: &StoreSettings) -> usize {
    usize::try_from(settings.concurrency).unwrap_or(usize::MAX)
}

fn unusable(backend: BackendKind, detail: &str) -> WriteError {
    let what = format!("use the {} store", backend.as_str());
    WriteError { what, detail: detail.to_owned(), kind: WriteErrorKind::Invalid }
}

/// Whether the store may be used can't be said now.
fn unknown(backend: BackendKind, error: &RegisterError) -> WriteError {
    let what = format!("look up the {} store in the register", backend.as_str());
    WriteError { what, detail: ErrorChain(error).to_string(), kind: WriteErrorKind::Unavailable }
}

/// Writes with whatever client the register stands for at that moment: a job may wait for days.
struct Registered {
    stores: Arc<Inner>,
    key: StorageKey,
    user: Option<String>,
}

impl Registered {
    async fn client(&self) -> Result<Arc<dyn WriterBackend>, WriteError> {
        self.stores.client(&self.key, self.user.as_deref()).await
    }
}

#[async_trait]
impl WriterBackend for Registered {
    fn name(&self) -> &'static str {
        self.key.backend.as_str()
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.client().await?.put(object).await
    }

    async fn put_until(
        &self,
        object: &Object,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Result<Stored, WriteError> {
        self.client().await?.put_until(object, stop).await
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        self.client().await?.delete(location).await
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        self.client().await?.get(location, bytes_max).await
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        self.client().await?.list().await
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        self.client().await?.look(location).await
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        self.client().await?.probe().await
    }
}

impl JobStore {
    /// `directHost`, `s3` or `gcs`.
    pub(super) fn name(&self) -> &'static str {
        self.writer.name()
    }

    /// Whether it is the serve directory, where a write takes no longer than a disk does.
    pub(super) fn is_serve_directory(&self) -> bool {
        self.is_serve_directory
    }

    /// Writes `object`, however often that must be tried.
    pub(super) async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.wait_until_free(object).await;
        self.writer.put(object).await
    }

    /// One try, if the store can be reached and has a place at once.
    pub(super) async fn try_put(&self, object: &Object) -> Option<Result<Stored, WriteError>> {
        self.wait_until_free(object).await;
        self.writer.try_put(object).await
    }

    /// What has the name of `object` may be about to be deleted, since nobody named it before this job.
    async fn wait_until_free(&self, object: &Object) {
        self.held.wait_until_free(&object.name).await;
    }

    /// Whether some file is still to be written there.
    pub(super) fn set_wanting(&self, is_wanting: bool) {
        self.is_wanting.store(is_wanting, Ordering::Relaxed);
    }
}

impl StoreState for JobStore {
    fn wanting(&self) -> Option<&'static str> {
        self.is_wanting.load(Ordering::Relaxed).then(|| self.name())
    }

    fn outage(&self) -> Option<StoreOutage> {
        if !self.is_wanting.load(Ordering::Relaxed) {
            return None;
        }
        let unreachable = self.writer.unreachable_since().map(|since| (since, OutageReason::Unreachable));
        let (since, reason) =
            unreachable.or_else(|| self.writer.refused_since().map(|since| (since, OutageReason::Refused)))?;
        Some(StoreOutage { backend: self.name(), access_key: self.access_key.clone(), since, reason })
    }
}

#[cfg(all(test, feature = "s3"))]
mod shared_register_tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::clock::System;
    use crate::job::SealedText;
    use crate::register::{
        KnownVersions, MemoryPeers, MemoryRecords, MemorySecrets, NewStore, RecordChanges, RegisterError,
        SealedRecords, SealedVersion, Sealer, SharedRegister, SharedTimeouts,
    };
    use crate::writer::DirectServe;

    /// Records that can't be read while `is_away`.
    #[derive(Debug, Default)]
    struct SometimesAway {
        records: MemoryRecords,
        is_away: AtomicBool,
    }

    #[async_trait]
    impl SealedRecords for SometimesAway {
        fn place(&self) -> String {
            self.records.place()
        }

        async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError> {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(RegisterError::TookTooLong);
            }
            self.records.changes(seen).await
        }

        async fn put(&self, access_key: &str, text: &SealedText) -> Result<SealedVersion, RegisterError> {
            self.records.put(access_key, text).await
        }

        async fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
            self.records.remove(access_key).await
        }

        async fn close(&self) -> Result<(), RegisterError> {
            Ok(())
        }
    }

    /// A node that hears of nothing by itself.
    async fn node(name: &str, peers: &MemoryPeers, records: &Arc<SometimesAway>, keys: &Path) -> Arc<Register> {
        let shared = SharedRegister {
            records: Arc::clone(records) as Arc<dyn SealedRecords>,
            secrets: Arc::new(MemorySecrets::default()),
            peers: peers.node(name),
            timeouts: SharedTimeouts { tell: Duration::ZERO, ..SharedTimeouts::default() },
        };
        let sealer = Arc::new(Sealer::open(keys).expect("keys"));
        let opened = Register::open_shared(shared, sealer, Arc::new(System::new()), None).await;
        Arc::new(opened.expect("opened").register)
    }

    #[tokio::test]
    async fn a_store_of_which_a_node_has_not_heard_fails_no_job_for_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let (peers, records, keys) = (MemoryPeers::default(), Arc::default(), dir.path().join("vault.key"));
        let registering = node("a", &peers, &records, &keys).await;
        let storing = node("b", &peers, &records, &keys).await;
        let settings = json!({
            "type": "s3", "bucket": "pics", "region": "test-1", "access_key_id": "id", "secret_access_key": "secret",
            "endpoint": "http://127.0.0.1:9"
        });
        let settings = StorageSettings::from_request(&settings).expect("valid");
        let store = NewStore {
            kind: BackendKind::S3,
            user: None,
            settings: settings.expose_for_sealing(),
            summary: settings.summary(),
        };
        let access_key = registering.register_store(store).await.expect("registered");
        let direct = DirectStore::directory(DirectServe::open(dir.path(), "me").expect("opens"));
        let clock: SharedClock = Arc::new(System::new());
        let clients = StoreClients::new(direct, storing, StoreSettings::default(), clock);
        let key = |access_key: &str| StorageKey { backend: BackendKind::S3, access_key: access_key.to_owned() };
        let kind = async |access_key: &str| clients.inner.client(&key(access_key), None).await.err().map(|e| e.kind);

        records.is_away.store(true, Ordering::Relaxed);
        assert_eq!(kind(&access_key).await, Some(WriteErrorKind::Unavailable), "it can't be said");
        records.is_away.store(false, Ordering::Relaxed);
        assert_eq!(kind(&access_key).await, None, "it was asked for");
        records.is_away.store(true, Ordering::Relaxed);
        assert_eq!(kind(&access_key).await, None, "it is known");
        records.is_away.store(false, Ordering::Relaxed);
        assert_eq!(kind("pxs_gone").await, Some(WriteErrorKind::Invalid), "there is none");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::System;
    use crate::job::{ContentHash, ServedArea, SubDir, job_record};
    use crate::register::Sealer;
    use crate::writer::Body;

    /// A store that can't be reached.
    struct Away;

    #[async_trait]
    impl WriterBackend for Away {
        fn name(&self) -> &'static str {
            "directHost"
        }

        async fn put(&self, _: &Object) -> Result<Stored, WriteError> {
            let (what, detail) = ("put".to_owned(), "nobody is there".to_owned());
            Err(WriteError { what, detail, kind: WriteErrorKind::Unavailable })
        }

        async fn delete(&self, _: &str) -> Result<Deletion, WriteError> {
            unreachable!("nothing is deleted here")
        }

        async fn get(&self, _: &str, _: u64) -> Result<ObjectBytes, WriteError> {
            unreachable!("nothing is read here")
        }

        async fn list(&self) -> Result<FileList, WriteError> {
            unreachable!("nothing is listed here")
        }

        async fn look(&self, _: &str) -> Result<Option<FoundFile>, WriteError> {
            unreachable!("nothing is looked at here")
        }

        async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
            Ok(ProbeOutcome::Deleted)
        }
    }

    fn clients(direct: DirectStore, dir: &Path) -> StoreClients {
        let clock: SharedClock = Arc::new(System::new());
        let sealer = Arc::new(Sealer::open(&dir.join("vault.key")).expect("sealing keys"));
        let register = Register::open(dir, sealer, Arc::clone(&clock)).expect("a register").register;
        StoreClients::new(direct, Arc::new(register), StoreSettings::default(), clock)
    }

    fn object() -> Object {
        Object {
            area: ServedArea::Public,
            sub_dir: SubDir::default(),
            name: "x.jpg".to_owned(),
            media_type: "image/jpeg",
            sha256: ContentHash::of(b"x"),
            body: Body::Bytes("x".into()),
            trace: None,
        }
    }

    #[tokio::test]
    async fn only_a_directory_is_written_to_while_variants_are_made_and_either_has_a_breaker() {
        for (direct, is_directory) in [(DirectStore::directory(Away), true), (DirectStore::bucket(Away), false)] {
            let dir = tempfile::tempdir().expect("a directory");
            let clients = clients(direct, dir.path());
            let stores = clients.of_job(&job_record(1), &GiveUpTime::default(), &WriteSignals::default());
            let [store] = &stores[..] else { panic!("one store") };
            assert_eq!((store.name(), store.is_serve_directory()), ("directHost", is_directory));
            assert_eq!(clients.outages()[0], ("directHost", 0));
            let mut tries = 0;
            while let Some(result) = store.try_put(&object()).await {
                result.expect_err("nobody is there");
                tries += 1;
            }
            assert_eq!((tries, clients.outages()[0]), (5, ("directHost", 1)), "then nobody asks any more");
        }
    }
}
