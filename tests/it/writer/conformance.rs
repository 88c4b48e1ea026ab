//! One suite for every store. What a store must do is a function here; each runs against each store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use pixerve::job::ContentHash;
use pixerve::writer::{
    BucketServe, DirectServe, ProbeOutcome, StorageSettings, StoreTimeouts, WriteError, WriteErrorKind, WriterBackend,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{longest_name, noise, object, object_in_file};
use crate::bucket::bucket_of;
use crate::harness::stores::{self, GcsServer, S3Client, S3Server, StoredObject};

/// A store and a way to look into it that is not the writer's.
#[async_trait]
pub(crate) trait Subject: Sync {
    fn writer(&self) -> Arc<dyn WriterBackend>;
    /// What a location starts with, before `subDir/name`.
    fn location_base(&self) -> String;
    /// Everything in the store, by its key below any prefix. A content type is shown only if the store keeps one.
    async fn content(&self) -> BTreeMap<String, StoredObject>;
}

struct Direct(TempDir);

impl Direct {
    #[expect(clippy::unused_async, reason = "the suite starts every store alike")]
    async fn start() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }
}

#[async_trait]
impl Subject for Direct {
    fn writer(&self) -> Arc<dyn WriterBackend> {
        Arc::new(DirectServe::open(self.0.path(), "me").expect("opens"))
    }

    fn location_base(&self) -> String {
        "/files/".to_owned()
    }

    async fn content(&self) -> BTreeMap<String, StoredObject> {
        let mut content = BTreeMap::new();
        let mut directories = vec![self.0.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("listed") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let key = path.strip_prefix(self.0.path()).expect("beneath").to_str().expect("UTF-8").to_owned();
                    let bytes = std::fs::read(&path).expect("read");
                    content.insert(key, StoredObject { bytes, content_type: None, cache_control: None });
                }
            }
        }
        content
    }
}

const BUCKET: &str = "pixerve-pictures";

fn connect(registration: &Value) -> Arc<dyn WriterBackend> {
    StorageSettings::from_request(registration).expect("valid").connect(&StoreTimeouts::default()).expect("a client")
}

fn with(mut registration: Value, name: &str, value: Value) -> Value {
    registration[name] = value;
    registration
}

pub(crate) struct S3 {
    client: S3Client,
    bucket: String,
    _server: Option<S3Server>,
}

impl S3 {
    async fn start() -> Self {
        let server = stores::s3().await;
        server.create_bucket(BUCKET);
        Self { client: server.clone(), bucket: BUCKET.to_owned(), _server: Some(server) }
    }

    /// A new bucket of a user of a store that runs already.
    pub(crate) async fn of(client: S3Client) -> Self {
        let bucket = format!("pixerve-{}", uuid::Uuid::now_v7().simple());
        client.make_bucket(&bucket).await;
        Self { client, bucket, _server: None }
    }

    fn registration(&self) -> Value {
        self.client.registration(&self.bucket)
    }
}

#[async_trait]
impl Subject for S3 {
    fn writer(&self) -> Arc<dyn WriterBackend> {
        connect(&with(self.registration(), "prefix", json!("site/pics")))
    }

    fn location_base(&self) -> String {
        format!("s3://{}/site/pics/", self.bucket)
    }

    async fn content(&self) -> BTreeMap<String, StoredObject> {
        let mut content = BTreeMap::new();
        for key in self.client.keys(&self.bucket).await {
            let object = self.client.object(&self.bucket, &key).await.expect("listed, so there");
            content.insert(key.strip_prefix("site/pics/").expect("below the prefix").to_owned(), object);
        }
        content
    }
}

/// Files that are served from our bucket.
struct Served(S3Server);

impl Served {
    async fn start() -> Self {
        let server = stores::s3().await;
        server.create_bucket(BUCKET);
        Self(server)
    }
}

#[async_trait]
impl Subject for Served {
    fn writer(&self) -> Arc<dyn WriterBackend> {
        Arc::new(BucketServe::new(&bucket_of(&self.0, BUCKET)))
    }

    fn location_base(&self) -> String {
        "/files/".to_owned()
    }

    async fn content(&self) -> BTreeMap<String, StoredObject> {
        let mut content = BTreeMap::new();
        for key in self.0.keys(BUCKET).await {
            let object = self.0.object(BUCKET, &key).await.expect("listed, so there");
            content.insert(key.strip_prefix("px/test/serve/").expect("below the prefix").to_owned(), object);
        }
        content
    }
}

pub(crate) struct Gcs {
    server: GcsServer,
    bucket: String,
}

impl Gcs {
    async fn start() -> Self {
        Self::of(stores::gcs().await).await
    }

    /// A new bucket of an emulator that runs already.
    pub(crate) async fn of(server: GcsServer) -> Self {
        let bucket = format!("pixerve-{}", uuid::Uuid::now_v7().simple());
        server.create_bucket(&bucket).await;
        Self { server, bucket }
    }

    fn registration(&self) -> Value {
        self.server.registration(&self.bucket)
    }
}

#[async_trait]
impl Subject for Gcs {
    fn writer(&self) -> Arc<dyn WriterBackend> {
        connect(&with(self.registration(), "prefix", json!("site/pics")))
    }

    fn location_base(&self) -> String {
        format!("gs://{}/site/pics/", self.bucket)
    }

    async fn content(&self) -> BTreeMap<String, StoredObject> {
        let mut content = BTreeMap::new();
        for key in self.server.keys(&self.bucket).await {
            let object = self.server.object(&self.bucket, &key).await.expect("listed, so there");
            content.insert(key.strip_prefix("site/pics/").expect("below the prefix").to_owned(), object);
        }
        content
    }
}

async fn stores_bytes(subject: &impl Subject) {
    let writer = subject.writer();
    let bytes = noise(100_000);
    let stored = writer.put(&object("", "a.jpg", bytes.clone())).await.expect("stored");
    assert_eq!(stored.backend, writer.name());
    assert_eq!(stored.location, format!("{}a.jpg", subject.location_base()));
    assert_eq!(subject.content().await["a.jpg"].bytes, bytes);
}

async fn replaces_what_is_there(subject: &impl Subject) {
    let writer = subject.writer();
    for bytes in [&b"long and old"[..], b"new"] {
        writer.put(&object("t", "a.jpg", bytes)).await.expect("stored");
    }
    let content = subject.content().await;
    assert_eq!((content.len(), content["t/a.jpg"].bytes.as_slice()), (1, &b"new"[..]));
}

async fn twice_is_harmless(subject: &impl Subject) {
    let object = object("", "a.jpg", noise(5000));
    let (one, other) = (subject.writer(), subject.writer());
    let (first, second) = tokio::join!(one.put(&object), other.put(&object));
    assert_eq!(first.expect("stored"), second.expect("stored"));
    let content = subject.content().await;
    assert_eq!((content.len(), content["a.jpg"].bytes.as_slice()), (1, noise(5000).as_slice()));
}

async fn a_large_file_arrives_whole(subject: &impl Subject) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let bytes = noise(40 * 1024 * 1024 + 1);
    let object = object_in_file(&dir.path().join("original"), "big", "o.jpg", &bytes);
    subject.writer().put(&object).await.expect("stored");
    let content = subject.content().await;
    let found = &content["big/o.jpg"];
    assert_eq!((content.len(), found.bytes.len()), (1, bytes.len()));
    assert_eq!(ContentHash::of(&found.bytes), object.sha256);
    assert!(found.content_type.as_deref().is_none_or(|t| t == "image/jpeg"), "{:?}", found.content_type);
}

async fn an_empty_file_arrives(subject: &impl Subject) {
    subject.writer().put(&object("", "a.jpg", Vec::new())).await.expect("stored");
    assert_eq!(subject.content().await["a.jpg"].bytes, b"");
}

async fn bytes_with_another_hash_are_not_stored(subject: &impl Subject) {
    let dir = tempfile::tempdir().expect("temporary directory");
    for size in [1000, 17 * 1024 * 1024] {
        let mut object = object_in_file(&dir.path().join("original"), "", "a.jpg", &noise(size));
        object.sha256 = ContentHash::of(b"something else");
        let error = subject.writer().put(&object).await.expect_err("refused");
        assert!(!error.is_transient() && error.detail.contains("SHA-256"), "{error}");
    }
    assert_eq!(subject.content().await, BTreeMap::new());
}

pub(crate) async fn the_content_type_is_kept(subject: &impl Subject) {
    let mut object = object("", "a.webp", *b"RIFF");
    object.media_type = "image/webp";
    subject.writer().put(&object).await.expect("stored");
    assert_eq!(subject.content().await["a.webp"].content_type.as_deref(), Some("image/webp"));
}

async fn awkward_names_arrive_as_they_are(subject: &impl Subject) {
    let writer = subject.writer();
    let names = ["-", "_", "a..b", "--help", "a.jpg.", "CON", "a-_.-b.jpg", "o", "acl"];
    for name in names {
        writer.put(&object("a.b-c_d/k=v,w~1+2@x", name, name)).await.expect("stored");
    }
    let content = subject.content().await;
    assert_eq!(content.len(), names.len());
    for name in names {
        assert_eq!(content[&format!("a.b-c_d/k=v,w~1+2@x/{name}")].bytes, name.as_bytes(), "{name}");
    }
}

async fn the_longest_name_arrives(subject: &impl Subject) {
    subject.writer().put(&object("a", &longest_name(), "x")).await.expect("stored");
    assert_eq!(subject.content().await[&format!("a/{}", longest_name())].bytes, b"x");
}

async fn directories_become_part_of_the_key(subject: &impl Subject) {
    let writer = subject.writer();
    for sub_dir in ["", "a", "a/b/c/d/e/f/g/h"] {
        let stored = writer.put(&object(sub_dir, "x.jpg", "x")).await.expect("stored");
        let path = if sub_dir.is_empty() { "x.jpg".to_owned() } else { format!("{sub_dir}/x.jpg") };
        assert_eq!(stored.location, format!("{}{path}", subject.location_base()));
    }
    let keys: Vec<_> = subject.content().await.into_keys().collect();
    assert_eq!(keys, ["a/b/c/d/e/f/g/h/x.jpg", "a/x.jpg", "x.jpg"]);
}

async fn what_is_deleted_is_gone_and_nothing_else(subject: &impl Subject) {
    let writer = subject.writer();
    for (sub_dir, name) in [("t", "a.jpg"), ("t", "a.jpg.jpg"), ("", "a.jpg"), ("t/t", "a.jpg")] {
        writer.put(&object(sub_dir, name, "x")).await.expect("stored");
    }
    let before = subject.content().await.len();
    let location = format!("{}t/a.jpg", subject.location_base());
    assert!(writer.delete(&location).await.expect("deleted").was_there);
    let content = subject.content().await;
    assert!(content.len() == before - 1 && !content.contains_key("t/a.jpg"), "{:?}", content.keys());
    for gone in ["t/a.jpg", "t/never.jpg", "nowhere/at/all.jpg", "nowhere.jpg"] {
        let again = writer.delete(&format!("{}{gone}", subject.location_base())).await.expect("no error");
        assert!(!again.was_there, "{gone}");
    }
    assert_eq!(subject.content().await.len(), before - 1);
}

async fn of_many_that_are_deleted_it_is_told_what_came_of_each(subject: &impl Subject) {
    let (writer, base) = (subject.writer(), subject.location_base());
    for (sub_dir, name) in [("t", "a.jpg"), ("t", "b.jpg"), ("", "a.jpg"), ("t/t", "a.jpg")] {
        writer.put(&object(sub_dir, name, "x")).await.expect("stored");
    }
    assert!(writer.delete_all(&[]).await.is_empty());
    let wanted = [
        ("t/a.jpg", Some(true)),
        ("t/never.jpg", Some(false)),
        ("a.jpg", Some(true)),
        ("nowhere/at/all.jpg", Some(false)),
        ("t/a.jpg", Some(false)),
        ("t/t/a.jpg", Some(true)),
    ];
    let mut locations: Vec<_> = wanted.iter().map(|(path, _)| format!("{base}{path}")).collect();
    locations.insert(2, "ftp://x/a.jpg".to_owned());
    let deleted = writer.delete_all(&locations).await;
    let mut told: Vec<_> =
        deleted.iter().map(|deleted| deleted.as_ref().ok().map(|deleted| deleted.was_there)).collect();
    let elsewhere = deleted[2].as_ref().expect_err("it is nowhere in this store");
    assert_eq!((elsewhere.kind, told.remove(2)), (WriteErrorKind::Invalid, None), "{elsewhere}");
    assert_eq!(told, wanted.map(|(_, was_there)| was_there));
    assert_eq!(subject.content().await.into_keys().collect::<Vec<_>>(), ["t/b.jpg"]);
}

async fn deleting_twice_at_once_is_harmless(subject: &impl Subject) {
    let (one, other) = (subject.writer(), subject.writer());
    let location = one.put(&object("t", "a.jpg", "x")).await.expect("stored").location;
    let (first, second) = tokio::join!(one.delete(&location), other.delete(&location));
    // A store may fail at one of them, for the file has just gone; it is gone all the same.
    for failed in [&first, &second].into_iter().filter_map(|deleted| deleted.as_ref().err()) {
        assert!(failed.is_transient(), "{failed}");
    }
    assert!([first, second].iter().flatten().any(|deleted| deleted.was_there));
    assert_eq!(subject.content().await, BTreeMap::new());
}

async fn what_lies_elsewhere_is_not_touched(subject: &impl Subject) {
    let writer = subject.writer();
    writer.put(&object("", "a.jpg", "x")).await.expect("stored");
    let base = subject.location_base();
    let bucket = base.trim_end_matches("site/pics/").trim_end_matches('/');
    let elsewhere =
        ["", "a.jpg", "/a.jpg", "/files/", "/files", "s3://other/a.jpg", "gs://other/a.jpg", "ftp://x/a.jpg", bucket];
    for location in elsewhere.into_iter().chain([&*format!("{bucket}-too/a.jpg"), &*format!("{bucket}/")]) {
        let error = writer.delete(location).await.expect_err(location);
        assert_eq!(error.kind, WriteErrorKind::Invalid, "{location}: {error}");
        let error = writer.get(location, 1 << 20).await.expect_err(location);
        assert_eq!(error.kind, WriteErrorKind::Invalid, "{location}: {error}");
    }
    assert_eq!(subject.content().await.len(), 1);
}

/// Everything at `location`.
async fn read(writer: &dyn WriterBackend, location: &str, bytes_max: u64) -> Result<Vec<u8>, WriteError> {
    let mut bytes = writer.get(location, bytes_max).await?;
    let (mut all, said) = (Vec::new(), bytes.len());
    while let Some(piece) = bytes.chunk().await? {
        all.extend_from_slice(&piece);
    }
    assert_eq!(all.len() as u64, said);
    Ok(all)
}

async fn what_was_stored_is_read_again(subject: &impl Subject) {
    let writer = subject.writer();
    for (name, bytes) in [("empty.jpg", Vec::new()), ("big.jpg", noise(17 * 1024 * 1024 + 3)), ("a..b", noise(10))] {
        let location = writer.put(&object("a.b-c_d/k=v,w~1+2@x", name, bytes.clone())).await.expect("stored").location;
        let size = bytes.len() as u64;
        assert!(read(&*writer, &location, size).await.expect("read") == bytes, "{name}");
        if let Some(less) = size.checked_sub(1) {
            let error = read(&*writer, &location, less).await.expect_err("it is larger");
            assert!(error.kind == WriteErrorKind::Invalid && error.detail.contains("more than"), "{error}");
        }
        assert!(writer.delete(&location).await.expect("deleted").was_there, "{name}");
        assert_eq!(read(&*writer, &location, size).await.expect_err("gone").kind, WriteErrorKind::Missing, "{name}");
    }
}

async fn what_there_is_is_listed_once(subject: &impl Subject) {
    let writer = subject.writer();
    assert_eq!(listed(&*writer).await, (BTreeMap::new(), 0));
    let mut wanted = BTreeMap::new();
    for (number, sub_dir) in ["", "t", "t/u", "a.b-c_d/k=v,w~1+2@x", "a/b/c/d/e/f/g/h"].into_iter().enumerate() {
        for name in ["a.jpg", "o"] {
            let location = writer.put(&object(sub_dir, name, noise(number))).await.expect("stored").location;
            wanted.insert(location, number as u64);
        }
    }
    assert_eq!(listed(&*writer).await, (wanted, 0));
}

/// Everything that a store lists by its location, with its size; and how much besides.
pub(super) async fn listed(writer: &dyn WriterBackend) -> (BTreeMap<String, u64>, u64) {
    let (mut found, mut foreign) = (BTreeMap::new(), 0);
    let mut parts = writer.list().await.expect("a list");
    while let Some(part) = parts.next().await {
        let part = part.expect("a part");
        foreign += part.foreign;
        for file in part.files {
            assert!(file.age < Duration::from_hours(1), "{file:?}");
            assert_eq!(found.insert(file.location.clone(), file.bytes), None, "{file:?} twice");
        }
    }
    (found, foreign)
}

async fn a_list_of_many_is_read_to_its_end(subject: &impl Subject) {
    let writer = subject.writer();
    for number in 0..1100 {
        writer.put(&object("t", &format!("{number}.jpg"), "x")).await.expect("stored");
    }
    let (found, foreign) = listed(&*writer).await;
    assert_eq!((found.len(), foreign), (1100, 0));
}

async fn a_look_tells_what_is_at_a_place_now(subject: &impl Subject) {
    let writer = subject.writer();
    let location = writer.put(&object("t", "a.jpg", noise(1234))).await.expect("stored").location;
    let found = writer.look(&location).await.expect("looked").expect("there");
    assert_eq!((&found.location, found.bytes), (&location, 1234));
    assert!(found.age < Duration::from_hours(1), "{found:?}");
    writer.delete(&location).await.expect("deleted");
    for gone in [&*location, &format!("{}nowhere/a.jpg", subject.location_base())] {
        assert_eq!(writer.look(gone).await.expect("looked"), None, "{gone}");
    }
    let error = writer.look("ftp://x/a.jpg").await.expect_err("elsewhere");
    assert_eq!(error.kind, WriteErrorKind::Invalid, "{error}");
}

async fn a_probe_leaves_nothing_behind(subject: &impl Subject) {
    let outcome = subject.writer().probe().await.expect("good");
    assert!(matches!(outcome, ProbeOutcome::Deleted), "{outcome:?}");
    assert_eq!(subject.content().await, BTreeMap::new());
}

/// All of it but the content type, which one emulator doesn't read where Google does; each fact with a store of its own.
pub(crate) async fn assert_conforms<S: Subject>(start: impl AsyncFn() -> S) {
    stores_bytes(&start().await).await;
    replaces_what_is_there(&start().await).await;
    twice_is_harmless(&start().await).await;
    a_large_file_arrives_whole(&start().await).await;
    an_empty_file_arrives(&start().await).await;
    bytes_with_another_hash_are_not_stored(&start().await).await;
    awkward_names_arrive_as_they_are(&start().await).await;
    the_longest_name_arrives(&start().await).await;
    directories_become_part_of_the_key(&start().await).await;
    what_is_deleted_is_gone_and_nothing_else(&start().await).await;
    deleting_twice_at_once_is_harmless(&start().await).await;
    what_lies_elsewhere_is_not_touched(&start().await).await;
    what_was_stored_is_read_again(&start().await).await;
    a_probe_leaves_nothing_behind(&start().await).await;
    what_there_is_is_listed_once(&start().await).await;
    a_look_tells_what_is_at_a_place_now(&start().await).await;
}

macro_rules! suite {
    ($store:ident, $subject:ty, [$($fact:ident),+ $(,)?]) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $fact() {
                    super::$fact(&<$subject>::start().await).await;
                }
            )+
        }
    };
}

suite!(
    direct_serve,
    super::Direct,
    [
        stores_bytes,
        replaces_what_is_there,
        twice_is_harmless,
        a_large_file_arrives_whole,
        an_empty_file_arrives,
        bytes_with_another_hash_are_not_stored,
        awkward_names_arrive_as_they_are,
        the_longest_name_arrives,
        directories_become_part_of_the_key,
        what_is_deleted_is_gone_and_nothing_else,
        of_many_that_are_deleted_it_is_told_what_came_of_each,
        deleting_twice_at_once_is_harmless,
        what_lies_elsewhere_is_not_touched,
        what_was_stored_is_read_again,
        a_probe_leaves_nothing_behind,
        what_there_is_is_listed_once,
        a_look_tells_what_is_at_a_place_now,
        a_list_of_many_is_read_to_its_end,
    ]
);

// The S3 server keeps each file under a name that is longer than the key's last part, so the longest name is tried
// elsewhere.
suite!(
    s3,
    super::S3,
    [
        stores_bytes,
        replaces_what_is_there,
        twice_is_harmless,
        a_large_file_arrives_whole,
        an_empty_file_arrives,
        bytes_with_another_hash_are_not_stored,
        the_content_type_is_kept,
        awkward_names_arrive_as_they_are,
        directories_become_part_of_the_key,
        what_is_deleted_is_gone_and_nothing_else,
        of_many_that_are_deleted_it_is_told_what_came_of_each,
        deleting_twice_at_once_is_harmless,
        what_lies_elsewhere_is_not_touched,
        what_was_stored_is_read_again,
        a_probe_leaves_nothing_behind,
        what_there_is_is_listed_once,
        a_look_tells_what_is_at_a_place_now,
        a_list_of_many_is_read_to_its_end,
    ]
);

suite!(
    bucket_serve,
    super::Served,
    [
        stores_bytes,
        replaces_what_is_there,
        twice_is_harmless,
        a_large_file_arrives_whole,
        an_empty_file_arrives,
        bytes_with_another_hash_are_not_stored,
        the_content_type_is_kept,
        awkward_names_arrive_as_they_are,
        directories_become_part_of_the_key,
        what_is_deleted_is_gone_and_nothing_else,
        of_many_that_are_deleted_it_is_told_what_came_of_each,
        deleting_twice_at_once_is_harmless,
        what_lies_elsewhere_is_not_touched,
        what_was_stored_is_read_again,
        a_probe_leaves_nothing_behind,
        what_there_is_is_listed_once,
        a_look_tells_what_is_at_a_place_now,
    ]
);

suite!(
    gcs,
    super::Gcs,
    [
        stores_bytes,
        replaces_what_is_there,
        twice_is_harmless,
        a_large_file_arrives_whole,
        an_empty_file_arrives,
        bytes_with_another_hash_are_not_stored,
        the_content_type_is_kept,
        awkward_names_arrive_as_they_are,
        the_longest_name_arrives,
        directories_become_part_of_the_key,
        what_is_deleted_is_gone_and_nothing_else,
        of_many_that_are_deleted_it_is_told_what_came_of_each,
        deleting_twice_at_once_is_harmless,
        what_lies_elsewhere_is_not_touched,
        what_was_stored_is_read_again,
        a_probe_leaves_nothing_behind,
        what_there_is_is_listed_once,
        a_look_tells_what_is_at_a_place_now,
    ]
);

/// A loopback port that was free a moment ago and that nobody listens on.
fn closed_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback port");
    format!("http://{}", listener.local_addr().expect("address"))
}

async fn an_unreachable_store_is_a_transient_error(registration: Value) {
    let writer = connect(&with(registration, "endpoint", json!(closed_endpoint())));
    let error = writer.put(&object("", "a.jpg", "x")).await.expect_err("nobody there");
    assert!(error.is_transient(), "{error}");
    assert!(writer.probe().await.expect_err("nobody there").is_transient());
}

/// Of a bucket that isn't there, nothing is gone: whoever asked may look for it in vain, and must not be told so.
async fn in_a_bucket_that_is_not_there_nothing_is_missing(registration: Value, scheme: &str) {
    let writer = connect(&with(registration, "bucket", json!("no-such-bucket")));
    let location = format!("{scheme}://no-such-bucket/a.jpg");
    let listed = match writer.list().await {
        Ok(mut parts) => parts.next().await.expect("a part").expect_err("refused"),
        Err(error) => error,
    };
    for error in [
        writer.delete(&location).await.expect_err("refused"),
        writer.get(&location, 1).await.expect_err("refused"),
        writer.look(&location).await.expect_err("refused"),
        listed,
    ] {
        assert_eq!(error.kind, WriteErrorKind::Refused, "{error}");
    }
}

#[tokio::test]
async fn without_its_bucket_s3_says_of_nothing_that_it_is_gone() {
    in_a_bucket_that_is_not_there_nothing_is_missing(S3::start().await.registration(), "s3").await;
}

#[tokio::test]
async fn an_unreachable_s3_is_transient() {
    an_unreachable_store_is_a_transient_error(S3::start().await.registration()).await;
}

#[tokio::test]
async fn an_unreachable_gcs_is_transient() {
    an_unreachable_store_is_a_transient_error(json!({"type": "gcs", "bucket": BUCKET})).await;
}

async fn a_store_that_never_answers_is_a_transient_error(registration: Value) {
    // Connections are made by the kernel; nobody ever reads from them.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback port");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    let timeouts =
        StoreTimeouts { connect_timeout: Duration::from_millis(50), idle_timeout: Duration::from_millis(50) };
    let settings = StorageSettings::from_request(&with(registration, "endpoint", json!(endpoint))).expect("valid");
    let writer = settings.connect(&timeouts).expect("a client");
    let object = object("", "a.jpg", "x");
    let both = async { [writer.put(&object).await.expect_err("silent"), writer.probe().await.expect_err("silent")] };
    for error in tokio::time::timeout(Duration::from_secs(20), both).await.expect("not the default's time") {
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn an_s3_that_never_answers_is_a_transient_error() {
    a_store_that_never_answers_is_a_transient_error(S3::start().await.registration()).await;
}

#[tokio::test]
async fn a_gcs_that_never_answers_is_a_transient_error() {
    a_store_that_never_answers_is_a_transient_error(json!({"type": "gcs", "bucket": BUCKET})).await;
}

async fn a_missing_bucket_is_final(registration: Value) {
    let writer = connect(&with(registration, "bucket", json!("not-here")));
    for error in [
        writer.put(&object("", "a.jpg", "x")).await.expect_err("no bucket"),
        writer.probe().await.expect_err("no bucket"),
    ] {
        assert!(!error.is_transient(), "{error}");
        assert!(error.what.contains("`not-here`") && error.detail.contains("404"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_s3_bucket_is_final() {
    a_missing_bucket_is_final(S3::start().await.registration()).await;
}

#[tokio::test]
async fn a_missing_gcs_bucket_is_final() {
    a_missing_bucket_is_final(Gcs::start().await.registration()).await;
}
