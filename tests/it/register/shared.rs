//! One register of many nodes: what is promised when they change it at once, don't hear of each other, or fail in between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pixerve::auth::UserKeys;
use pixerve::job::{BackendKind, Preset, PresetName, SealedText};
use pixerve::register::{
    InstallationError, KnownVersions, MemoryPeers, MemoryRecords, MemorySecrets, OpenedSharedRegister, PeersError,
    PresetFiles, Presets, RecordChanges, Register, RegisterError, RegisterPeers, SealedRecords, SealedSecrets,
    SealedVersion, Sealer, SharedRegister, SharedTimeouts,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{bucket, clock, put};
use crate::harness::app::poll_delay;

/// What nodes share.
pub(super) struct Shared {
    pub(super) peers: MemoryPeers,
    pub(super) records: Arc<dyn SealedRecords>,
    pub(super) secrets: Arc<dyn SealedSecrets>,
    pub(super) timeouts: SharedTimeouts,
    /// Has the sealing keys.
    pub(super) keys: TempDir,
}

/// A node whose memory is kept up to date until this is dropped.
pub(super) struct Node {
    pub(super) register: Arc<Register>,
    _following: DropGuard,
}

impl Shared {
    fn in_memory() -> Self {
        Self::with(Arc::new(MemoryRecords::default()), Arc::new(MemorySecrets::default()))
    }

    pub(super) fn with(records: Arc<dyn SealedRecords>, secrets: Arc<dyn SealedSecrets>) -> Self {
        let keys = tempfile::tempdir().expect("a directory");
        let (peers, timeouts) = Default::default();
        Self { peers, records, secrets, timeouts, keys }
    }

    /// With nodes that don't wait long for those who hear of nothing.
    fn impatient(self) -> Self {
        let brief = Duration::from_millis(50);
        Self { timeouts: SharedTimeouts { tell: brief, confirm: brief, lock_wait: brief, ..self.timeouts }, ..self }
    }

    fn key_file(&self) -> std::path::PathBuf {
        self.keys.path().join("vault.key")
    }

    async fn try_open_with(
        &self,
        name: &str,
        keys: &Path,
        expected: Option<&str>,
    ) -> Result<OpenedSharedRegister, RegisterError> {
        let (records, secrets) = (Arc::clone(&self.records), Arc::clone(&self.secrets));
        let shared = SharedRegister { records, secrets, peers: self.peers.node(name), timeouts: self.timeouts };
        let sealer = Arc::new(Sealer::open(keys).expect("sealing keys"));
        Register::open_shared(shared, sealer, clock(), expected).await
    }

    pub(super) async fn try_open(&self, name: &str) -> Result<OpenedSharedRegister, RegisterError> {
        self.try_open_with(name, &self.key_file(), None).await
    }

    /// A node that hears of nothing by itself.
    async fn deaf(&self, name: &str) -> Register {
        self.try_open(name).await.expect("opened").register
    }

    pub(super) async fn node(&self, name: &str) -> Node {
        Node::following(Arc::new(self.deaf(name).await))
    }
}

impl Node {
    fn following(register: Arc<Register>) -> Self {
        let (followed, stop) = (Arc::clone(&register), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { followed.follow(stopped).await });
        Self { register, _following: stop.drop_guard() }
    }
}

/// Of nodes that register one name at once one has its way.
pub(super) async fn a_name_is_given_away_once(shared: &Shared) {
    let nodes = join_all(["a", "b", "c"].map(|name| shared.node(name))).await;
    let asked = join_all(nodes.iter().map(|node| node.register.register_user("shop"))).await;
    let taken = asked.iter().filter(|answer| matches!(answer, Err(RegisterError::NameTaken { .. }))).count();
    assert_eq!((asked.iter().filter(|answer| answer.is_ok()).count(), taken), (1, 2), "{asked:?}");
    let user = asked.into_iter().find_map(Result::ok).expect("one");
    for node in &nodes {
        assert_eq!(node.register.user(&user.access_key).expect("known").name, "shop");
    }
    assert!(nodes[0].register.deregister(&user.access_key).await.expect("no fault"));
}

/// What one node has answered, the others know.
pub(super) async fn what_one_node_changes_the_others_know(shared: &Shared) {
    let (a, b) = (shared.node("a").await, shared.node("b").await);
    let (a, b) = (&a.register, &b.register);
    let user = b.register_user("shop").await.expect("registered");
    let known = a.user_key(&user.access_key).expect("known");
    assert_eq!(known.secret.expose_secret(), user.secret.expose_secret());
    let store = a.register_store(bucket(Some("shop"))).await.expect("registered");
    assert!(b.may_use(&store, BackendKind::S3, Some("shop")));

    // Twice, at once: the second text is as young as the first.
    for _ in 0..2 {
        let secret = a.renew_webhook_secret(&user.access_key).await.expect("renewed").expect("known");
        let newest = &b.user(&user.access_key).expect("known").webhook_secrets.good_at(clock().now())[0];
        assert_eq!(newest.bytes().expose_secret(), secret.bytes().expose_secret());
    }
    assert_eq!(a.list(), b.list());
    for access_key in [store, user.access_key] {
        assert!(b.deregister(&access_key).await.expect("no fault"));
    }
}

/// A key that is deregistered is refused by every node once that is answered.
pub(super) async fn a_deregistered_key_is_refused_by_every_node(shared: &Shared) {
    let nodes = join_all(["a", "b", "c"].map(|name| shared.node(name))).await;
    let registers: Vec<_> = nodes.iter().map(|node| &node.register).collect();
    let user = registers[0].register_user("shop").await.expect("registered");
    let store = registers[1].register_store(bucket(None)).await.expect("registered");
    for access_key in [&user.access_key, &store] {
        assert!(registers[2].deregister(access_key).await.expect("confirmed by all"));
        for register in &registers {
            assert!(register.user_key(access_key).is_none() && register.store(access_key).is_none());
        }
        assert!(!registers[0].deregister(access_key).await.expect("no fault"), "it is gone already");
    }
    assert_eq!(registers[1].find_usable(&store, BackendKind::S3, None).await.expect("asked").map(|_| ()), None);
}

#[tokio::test]
async fn of_nodes_that_register_one_name_at_once_one_has_its_way() {
    a_name_is_given_away_once(&Shared::in_memory()).await;
}

#[tokio::test]
async fn a_deregistered_key_is_refused_by_every_node_once_that_is_answered() {
    a_deregistered_key_is_refused_by_every_node(&Shared::in_memory()).await;
}

#[tokio::test]
async fn what_one_node_has_answered_the_others_know() {
    what_one_node_changes_the_others_know(&Shared::in_memory()).await;
}

#[tokio::test]
async fn a_deregistration_that_a_node_does_not_confirm_says_so_and_can_be_repeated() {
    let shared = Shared::in_memory().impatient();
    let (a, deaf) = (shared.node("a").await.register, Arc::new(shared.deaf("deaf").await));
    let user = a.register_user("shop").await.expect("good in any case");
    deaf.reload().await.expect("read");
    let error = a.deregister(&user.access_key).await.expect_err("one hasn't confirmed");
    let RegisterError::NotConfirmed { access_key, source: PeersError::NotShown { nodes, .. } } = &error else {
        panic!("{error}");
    };
    assert_eq!((access_key, &nodes[..]), (&user.access_key, &["deaf".to_owned()][..]));
    assert!(a.user_key(&user.access_key).is_none() && deaf.user_key(&user.access_key).is_some());

    let _hearing = Node::following(Arc::clone(&deaf));
    while let Err(error) = a.deregister(&user.access_key).await.map(|was_there| assert!(was_there)) {
        assert!(matches!(error, RegisterError::NotConfirmed { .. }), "{error}");
    }
    assert!(deaf.user_key(&user.access_key).is_none());
    assert!(!a.deregister(&user.access_key).await.expect("no fault"), "that has been answered");
}

#[tokio::test]
async fn a_node_that_is_gone_keeps_no_deregistration_waiting() {
    let shared = Shared::in_memory().impatient();
    let a = shared.node("a").await;
    let gone = shared.deaf("gone").await;
    let user = a.register.register_user("shop").await.expect("registered");
    drop(gone);
    assert!(a.register.deregister(&user.access_key).await.expect("no fault"));
}

#[tokio::test]
async fn nodes_hear_of_changes_after_all_they_told_each_other_was_lost() {
    let shared = Shared::in_memory();
    let (a, b) = (shared.node("a").await, shared.node("b").await);
    let user = a.register.register_user("shop").await.expect("registered");
    shared.peers.forget();
    assert!(a.register.deregister(&user.access_key).await.expect("confirmed"));
    assert!(b.register.user_key(&user.access_key).is_none());
}

#[tokio::test]
async fn a_change_that_nobody_could_be_told_of_is_taken_in_all_the_same() {
    let mut shared = Shared::in_memory();
    shared.timeouts.compare_period = Duration::from_millis(20);
    let (a, b) = (shared.node("a").await, shared.node("b").await);
    let user = a.register.register_user("shop").await.expect("registered");
    // As if a node had died between the two: the record is gone, and no version was published.
    shared.records.remove(&user.access_key).await.expect("removed");
    while b.register.user_key(&user.access_key).is_some() {
        poll_delay().await;
    }
}

/// Records that do something else than they should, for a while.
#[derive(Debug)]
struct Faulty {
    records: MemoryRecords,
    peers: MemoryPeers,
    is_away: AtomicBool,
    /// Writing and removing take longer than the lock's lease.
    is_slow: AtomicBool,
    /// What is written is said not to be, though it is.
    loses_answers: AtomicBool,
}

impl Faulty {
    fn new() -> (Arc<Self>, Shared) {
        let peers = MemoryPeers::default();
        let (is_away, is_slow, loses_answers) = Default::default();
        let records = MemoryRecords::default();
        let faulty = Arc::new(Self { records, peers: peers.clone(), is_away, is_slow, loses_answers });
        let shared = Shared::with(Arc::clone(&faulty) as Arc<dyn SealedRecords>, Arc::new(MemorySecrets::default()));
        (faulty, Shared { peers, ..shared })
    }

    fn check(&self) -> Result<(), RegisterError> {
        let away = || RegisterError::Peers(PeersError::Unavailable { what: "reach it", source: "away".into() });
        if self.is_away.load(Ordering::Relaxed) { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl SealedRecords for Faulty {
    fn place(&self) -> String {
        self.records.place()
    }

    async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError> {
        self.check()?;
        self.records.changes(seen).await
    }

    async fn put(&self, access_key: &str, sealed: &SealedText) -> Result<SealedVersion, RegisterError> {
        self.check()?;
        let version = self.records.put(access_key, sealed).await?;
        if self.is_slow.load(Ordering::Relaxed) {
            self.peers.expire_lock();
        }
        if self.loses_answers.load(Ordering::Relaxed) {
            self.is_away.store(true, Ordering::Relaxed);
            self.check()?;
        }
        Ok(version)
    }

    async fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
        self.check()?;
        self.records.remove(access_key).await?;
        if self.is_slow.load(Ordering::Relaxed) {
            self.peers.expire_lock();
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), RegisterError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_written_when_the_lock_is_lost_is_given_to_nobody_and_removed() {
    let (faulty, shared) = Faulty::new();
    let a = shared.node("a").await.register;
    faulty.is_slow.store(true, Ordering::Relaxed);
    let error = a.register_user("shop").await.expect_err("the lock was lost");
    assert!(matches!(error, RegisterError::Peers(PeersError::LockLost)), "{error}");
    faulty.is_slow.store(false, Ordering::Relaxed);
    assert_eq!(faulty.records.changes(&KnownVersions::new()).await.expect("read"), RecordChanges::default());
    assert!(a.list().is_empty());
    a.register_user("shop").await.expect("the name is free");
}

#[tokio::test]
async fn a_preset_that_is_written_when_the_lock_is_lost_is_not_taken_back() {
    let (faulty, shared) = Faulty::new();
    let (a, b) = (shared.node("a").await, shared.node("b").await);
    let presets = |node: &Node| Presets::new(PresetFiles::default(), Arc::clone(&node.register));
    let name = PresetName::parse("avatar").expect("a name");
    let put = async |node: &Node, text: &str| {
        let preset = Preset::parse(text.as_bytes()).expect("a preset");
        presets(node).put(name.clone(), preset, |_| true).await
    };
    let text = |node: &Node| presets(node).find(&name).map(|preset| preset.text().to_owned());
    faulty.is_slow.store(true, Ordering::Relaxed);
    let error = put(&a, "{}").await.expect_err("the lock was lost");
    assert!(matches!(error, RegisterError::Peers(PeersError::LockLost)), "{error}");
    faulty.is_slow.store(false, Ordering::Relaxed);
    // Another node may have put one of this name since: what isn't one node's own, it leaves alone.
    let kept = faulty.records.changes(&KnownVersions::new()).await.expect("read").written;
    assert_eq!(kept.iter().map(|record| &*record.access_key).collect::<Vec<_>>(), ["preset-avatar"]);
    assert!(!put(&b, "{\"subDir\": \"b\"}").await.expect("put"), "it replaces what is there");
    assert_eq!((text(&a), text(&b)), (text(&b), Some("{\"subDir\": \"b\"}".to_owned())));
}

#[tokio::test]
async fn a_binding_that_a_node_does_not_confirm_says_so_and_can_be_repeated() {
    let shared = Shared::in_memory().impatient();
    let (a, deaf) = (shared.node("a").await.register, Arc::new(shared.deaf("deaf").await));
    let user = a.register_user("shop").await.expect("good in any case").access_key;
    deaf.reload().await.expect("read");
    let bound = || Some(vec![PresetName::parse("avatar").expect("a name")]);
    let error = a.bind_user(&user, bound()).await.expect_err("one hasn't confirmed");
    assert!(matches!(&error, RegisterError::BindingNotConfirmed { access_key, .. } if *access_key == user), "{error}");
    assert!(deaf.user(&user).expect("known").presets.is_none());
    let _hearing = Node::following(Arc::clone(&deaf));
    while let Err(error) = a.bind_user(&user, bound()).await.map(|was_there| assert!(was_there)) {
        assert!(matches!(error, RegisterError::BindingNotConfirmed { .. }), "{error}");
    }
    assert_eq!(deaf.user(&user).expect("known").presets.as_deref(), bound().as_deref());
    assert!(!a.bind_user("pxu_none", bound()).await.expect("asked"));
}

#[tokio::test]
async fn a_deregistration_of_which_nobody_could_be_told_is_told_when_it_is_repeated() {
    let (faulty, shared) = Faulty::new();
    let (a, b) = (shared.node("a").await, shared.node("b").await);
    let (a, b) = (&a.register, &b.register);
    let user = a.register_user("shop").await.expect("registered");
    faulty.is_slow.store(true, Ordering::Relaxed);
    let error = a.deregister(&user.access_key).await.expect_err("the lock was lost");
    assert!(matches!(error, RegisterError::Peers(PeersError::LockLost)), "{error}");
    faulty.is_slow.store(false, Ordering::Relaxed);
    assert!(b.user_key(&user.access_key).is_some(), "it hasn't heard");
    assert!(a.deregister(&user.access_key).await.expect("no fault"), "it was there");
    assert!(b.user_key(&user.access_key).is_none());
}

#[tokio::test]
async fn a_registration_whose_write_was_not_answered_does_not_keep_its_name() {
    let (faulty, shared) = Faulty::new();
    let a = shared.node("a").await.register;
    faulty.loses_answers.store(true, Ordering::Relaxed);
    a.register_user("shop").await.expect_err("not answered");
    faulty.loses_answers.store(false, Ordering::Relaxed);
    faulty.is_away.store(false, Ordering::Relaxed);
    a.reload().await.expect("read");
    assert_eq!(a.list().len(), 1, "it is there, and nobody has its access key");
    let user = a.register_user("shop").await.expect("the name is free");
    assert_eq!(a.list().len(), 1);
    assert!(a.user(&user.access_key).is_some());
}

#[tokio::test]
async fn a_lock_is_waited_for_and_frees_itself_when_its_node_has_died() {
    let shared = Shared::in_memory();
    let dead = shared.peers.node("dead");
    let patient = shared.node("patient").await.register;
    let lock = dead.lock(Duration::from_mins(1), Duration::ZERO).await.expect("taken");
    let shared = shared.impatient();
    let impatient = shared.node("impatient").await.register;
    let error = impatient.register_user("shop").await.expect_err("it is locked");
    assert!(matches!(error, RegisterError::Peers(PeersError::Locked { .. })), "{error}");
    dead.unlock(lock).await;
    dead.lock(Duration::from_millis(100), Duration::ZERO).await.expect("taken");
    drop(dead);
    patient.register_user("shop").await.expect("the lease has run out");
}

#[tokio::test]
async fn a_register_whose_records_are_away_serves_what_it_knew_and_refuses_changes() {
    let (faulty, shared) = Faulty::new();
    let a = shared.node("a").await.register;
    let user = a.register_user("shop").await.expect("registered");
    let store = a.register_store(bucket(Some("shop"))).await.expect("registered");
    faulty.is_away.store(true, Ordering::Relaxed);
    a.reload().await.expect_err("away");
    assert!(a.user_key(&user.access_key).is_some() && a.may_use(&store, BackendKind::S3, Some("shop")));
    assert!(a.find_usable(&store, BackendKind::S3, Some("shop")).await.expect("known").is_some());
    a.register_user("other").await.expect_err("away");
    a.deregister(&store).await.expect_err("away");
    let presets = Presets::new(PresetFiles::default(), Arc::clone(&a));
    let put = presets.put(PresetName::parse("a").expect("a name"), Preset::parse(b"{}").expect("a preset"), |_| true);
    put.await.expect_err("away");
    assert!(a.store(&store).is_some() && presets.names().is_empty(), "nothing has changed");
    faulty.is_away.store(false, Ordering::Relaxed);
    assert!(a.deregister(&store).await.expect("no fault"));
}

#[tokio::test]
async fn a_store_that_a_node_has_not_heard_of_is_looked_for_before_there_is_said_to_be_none() {
    let (faulty, shared) = Faulty::new();
    let shared = shared.impatient();
    let (a, deaf) = (shared.node("a").await.register, shared.deaf("deaf").await);
    let user = a.register_user("shop").await.expect("registered");
    let store = a.register_store(bucket(Some("shop"))).await.expect("registered");
    let find = |user| deaf.find_usable(&store, BackendKind::S3, user);

    faulty.is_away.store(true, Ordering::Relaxed);
    find(Some("shop")).await.expect_err("it can't be said");
    faulty.is_away.store(false, Ordering::Relaxed);
    assert!(find(Some("shop")).await.expect("asked").is_some());
    assert!(find(Some("other")).await.expect("asked").is_none(), "it is another's");
    let none = deaf.find_usable("pxs_none", BackendKind::S3, None).await.expect("asked");
    assert!(none.is_none());

    // Whoever can't unseal a record can't say that there is none.
    let fresh = "pxs_damaged";
    faulty.records.put(fresh, &SealedText("damaged".to_owned())).await.expect("put");
    let error = deaf.find_usable(fresh, BackendKind::S3, None).await.expect_err("it can't be said");
    assert!(matches!(&error, RegisterError::Unreadable { access_key } if access_key == fresh), "{error}");
    drop(user);
}

#[tokio::test]
async fn a_damaged_record_is_named_and_the_others_can_be_used() {
    let shared = Shared::in_memory();
    let a = shared.node("a").await.register;
    let whole = a.register_user("whole").await.expect("registered").access_key;
    let damaged = a.register_user("damaged").await.expect("registered").access_key;
    shared.records.put(&damaged, &SealedText("not sealed here".to_owned())).await.expect("put");
    a.reload().await.expect("read");
    assert!(a.user_key(&damaged).is_some(), "what was known of it stays");
    drop(a);
    let opened = shared.try_open("b").await.expect("opened");
    assert_eq!(opened.unreadable, [damaged.as_str()]);
    assert!(opened.register.user_key(&whole).is_some() && opened.register.user_key(&damaged).is_none());
    let b = Node::following(Arc::new(opened.register));
    assert!(b.register.deregister(&damaged).await.expect("no fault"));
    assert!(shared.try_open("c").await.expect("opened").unreadable.is_empty());
}

#[tokio::test]
async fn a_damaged_preset_is_no_preset_and_can_be_put_anew_or_deleted() {
    let shared = Shared::in_memory();
    shared.node("a").await.register.register_user("shop").await.expect("registered");
    for key in ["preset-put", "preset-deleted"] {
        shared.records.put(key, &SealedText("not sealed here".to_owned())).await.expect("put");
    }
    let opened = shared.try_open("b").await.expect("opened");
    assert_eq!(opened.unreadable.len(), 2);
    let presets = Presets::new(PresetFiles::default(), Arc::new(opened.register));
    let name = |text: &str| PresetName::parse(text).expect("a name");
    assert!(presets.names().is_empty());
    assert!(presets.put(name("put"), Preset::parse(b"{}").expect("a preset"), |_| true).await.expect("put"));
    presets.delete(name("deleted"), |_| true).await.expect("deleted");
    drop(presets);
    let opened = shared.try_open("c").await.expect("opened");
    assert!(opened.unreadable.is_empty());
    assert!(opened.register.preset(&name("put")).is_some());
}

#[tokio::test]
async fn a_node_with_another_sealing_key_is_refused_at_its_start() {
    let shared = Shared::in_memory();
    let first = shared.try_open("a").await.expect("opened");
    let others = shared.keys.path().join("other.key");
    let error = shared.try_open_with("b", &others, None).await.expect_err("other keys");
    assert!(matches!(error, RegisterError::Installation(InstallationError::OtherSealingKey { .. })), "{error}");
    assert!(error.to_string().contains("PIXERVE_VAULT_KEY_FILE"), "{error}");

    let id = first.installation.id.clone();
    let again = shared.try_open_with("c", &shared.key_file(), Some(&id)).await.expect("the same");
    assert_eq!(again.installation.id, id);
    let error = shared.try_open_with("d", &shared.key_file(), Some("another")).await.expect_err("another's");
    assert!(
        matches!(&error, RegisterError::Installation(InstallationError::Other { found, .. }) if *found == id),
        "{error}"
    );

    // Without what tells them apart, the records still do.
    first.register.register_user("shop").await.expect("registered");
    let bare = Shared { secrets: Arc::new(MemorySecrets::default()), ..shared };
    let error = bare.try_open_with("e", &others, None).await.expect_err("other keys");
    assert!(matches!(error, RegisterError::WrongKeys { records: 1, .. }), "{error}");
    assert_eq!(bare.secrets.get("installation").await.expect("read"), None, "nothing was made");
}

#[tokio::test]
async fn nodes_that_start_at_once_are_of_one_installation() {
    let shared = Shared::in_memory();
    shared.try_open("first").await.map(drop).expect("its key file is made");
    let fresh = Shared { secrets: Arc::new(MemorySecrets::default()), ..shared };
    let opened = join_all(["a", "b", "c"].map(|name| fresh.try_open(name))).await;
    let ids: Vec<_> = opened.into_iter().map(|opened| opened.expect("opened").installation.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn after_all_nodes_started_with_a_new_key_the_old_one_can_go() {
    let shared = Shared::in_memory();
    let a = shared.node("a").await.register;
    let user = a.register_user("shop").await.expect("registered");
    let store = a.register_store(bucket(None)).await.expect("registered");
    let path = shared.key_file();
    let old = std::fs::read_to_string(&path).expect("there");
    let new = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [9; 32]);
    put(&path, format!("{old}{new}\n"));
    let b = shared.node("b").await.register;
    // It has the old one alone, and keeps what it knew.
    a.reload().await.expect("read");
    assert!(a.user_key(&user.access_key).is_some() && a.store(&store).is_some());
    put(&path, &new);
    let c = shared.try_open("c").await.expect("opened");
    assert!(c.unreadable.is_empty());
    assert_eq!(c.register.list(), b.list());
}

#[tokio::test]
async fn a_rotated_secret_is_answered_once_every_node_takes_it() {
    let shared = Shared::in_memory().impatient();
    let (a, deaf) = (shared.node("a").await.register, Arc::new(shared.deaf("deaf").await));
    let user = a.register_user("shop").await.expect("good in any case");
    deaf.reload().await.expect("read");
    let day = Duration::from_hours(24);
    let refused = a.rotate_secret(&user.access_key, day).await;
    assert!(
        matches!(&refused, Err(RegisterError::RotationNotConfirmed { access_key, .. }) if *access_key == user.access_key)
    );
    // The first is good everywhere, whether a node has heard or not, and stays so when it is asked for another one.
    let _hears = Node::following(Arc::clone(&deaf));
    let rotated = loop {
        match a.rotate_secret(&user.access_key, day).await {
            Err(RegisterError::RotationNotConfirmed { .. }) => poll_delay().await,
            rotated => break rotated.expect("confirmed").expect("a user"),
        }
    };
    for node in [&a, &deaf] {
        let key = node.user_key(&user.access_key).expect("known");
        assert_eq!(key.secret.expose_secret(), rotated.secret.expose_secret());
        let earlier: Vec<_> = key.earlier_secrets.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(earlier, [user.secret.expose_secret()], "those that nobody was told are not among them");
    }
    assert!(a.rotate_secret("pxu_none", day).await.expect("no fault").is_none());
}
