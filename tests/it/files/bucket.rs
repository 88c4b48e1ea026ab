//! `/files/` from the bucket, on several nodes: what one wrote the others serve, as a directory would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use pixerve::bucket::StoreTimeouts;
use pixerve::clock::System;
use pixerve::job::{ContentHash, ServedArea, SubDir};
use pixerve::routes::files::{self, FileSource};
use pixerve::writer::{self, BucketServe, Object, WriterBackend};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use url::Url;

use super::{Answer, Site, Stored, WRITTEN, WRITTEN_DATE, photo};
use crate::bucket::{bucket_of, connect, settings};
use crate::harness::app::poll_delay;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::stores::{self, S3Server};
use crate::writer::scripted::{Scripted, s3_error};

const BUCKET: &str = "pixerve";
/// What the tests' URL of the bucket has for a prefix.
const PREFIX: &str = "px/test";
const PHOTO: &str = "/files/tenant/a/photo.png";

/// A bucket of which files are served.
pub(super) struct ServedBucket {
    server: S3Server,
}

impl ServedBucket {
    pub(super) async fn start() -> Self {
        let server = stores::s3().await;
        server.create_bucket(BUCKET);
        Self { server }
    }

    /// A node, with connections of its own.
    pub(super) fn node(&self) -> BucketServe {
        self.node_by(self.server.endpoint.as_str())
    }

    /// One that reaches the bucket at this endpoint.
    fn node_by(&self, endpoint: &str) -> BucketServe {
        let endpoint = Url::parse(endpoint).expect("a URL");
        let settings = settings(&endpoint, &self.server.access_key, &self.server.secret, BUCKET);
        BucketServe::new(&connect(&settings, &StoreTimeouts::default(), Arc::new(System::new())))
    }

    /// Stores a file as a node does, and has the bucket say that it was written then.
    pub(super) async fn put(&self, path: &str, bytes: &[u8], at: SystemTime) {
        let (sub_dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let object = Object {
            area: ServedArea::Public,
            sub_dir: SubDir::parse(sub_dir).expect("a directory"),
            name: name.to_owned(),
            media_type: "image/png",
            sha256: ContentHash::of(bytes),
            body: writer::Body::Bytes(Bytes::copy_from_slice(bytes)),
            trace: None,
        };
        self.node().put(&object).await.expect("stored");
        self.server.set_written(BUCKET, &format!("{PREFIX}/serve/{path}"), at);
    }

    /// Puts an object below the bucket's prefix, whatever it is called.
    pub(super) async fn put_raw(&self, key: &str, bytes: &[u8]) {
        bucket_of(&self.server, BUCKET).put(key, Bytes::copy_from_slice(bytes)).await.expect("put");
    }
}

fn site_of(node: BucketServe) -> Site {
    let nothing = Stored::Directory(TempDir::new().expect("a directory"));
    Site { stored: nothing, router: files::router(FileSource::bucket(node)) }
}

/// A node whose bucket is at this endpoint.
fn site_at(endpoint: &str) -> Site {
    let endpoint = Url::parse(endpoint).expect("a URL");
    let timeouts = StoreTimeouts { connect_timeout: Duration::from_millis(500), idle_timeout: Duration::from_secs(5) };
    let settings = settings(&endpoint, "id", "canary-secret", BUCKET);
    site_of(BucketServe::new(&connect(&settings, &timeouts, Arc::new(System::new()))))
}

fn served(site: &Site) -> &ServedBucket {
    match &site.stored {
        Stored::Bucket(bucket) => bucket,
        Stored::Directory(_) => panic!("it is none"),
    }
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(problem["code"], "unavailable");
    assert!(!problem.to_string().contains("127.0.0.1"), "where the bucket is, is nobody's business: {problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_one_node_wrote_is_served_alike_by_all_others() {
    let bucket = ServedBucket::start().await;
    bucket.put("tenant/a/photo.png", &photo(), UNIX_EPOCH + WRITTEN).await;
    let (one, other) = (site_of(bucket.node()), site_of(bucket.node()));
    let (first, second) = (one.photo(&[]).await, other.photo(&[]).await);
    assert_eq!((first.status, &first.body[..]), (StatusCode::OK, &photo()[..]));
    assert_eq!((first.headers.clone(), first.body.clone()), (second.headers, second.body));
    let etag = first.header("etag").expect("an entity tag");
    assert_eq!(other.photo(&[("if-none-match", etag)]).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(other.photo(&[("if-range", etag), ("range", "bytes=0-9")]).await.status, StatusCode::PARTIAL_CONTENT);
}

/// What is asked of both, with `TAG` for the tag that each has given. Without what is more than all of it at the end, of
/// which the tests' server makes a 500.
const QUESTIONS: [&[(&str, &str)]; 40] = [
    &[],
    &[("range", "bytes=0-0")],
    &[("range", "bytes=10-19")],
    &[("range", "bytes=90-")],
    &[("range", "bytes=-5")],
    &[("range", "bytes=50-5000")],
    &[("range", "bytes=0-99999999999999999999999")],
    &[("range", "bytes=99999999999999999999999-")],
    &[("range", "bytes=100-")],
    &[("range", "bytes=-0")],
    &[("range", "bytes=4000-5000")],
    &[("range", "bytes=5-1")],
    &[("range", "bytes=0-1,5-6")],
    &[("range", "lines=1-2")],
    &[("range", "bytes=0-1"), ("range", "bytes=2-3")],
    &[("range", "bytes=0-9"), ("if-range", "TAG")],
    &[("range", "bytes=0-9"), ("if-range", "W/TAG")],
    &[("range", "bytes=0-9"), ("if-range", "\"other\"")],
    &[("range", "bytes=100-"), ("if-range", "\"other\"")],
    &[("range", "bytes=0-9"), ("if-range", WRITTEN_DATE)],
    &[("range", "bytes=0-9"), ("if-range", "nonsense")],
    &[("if-none-match", "TAG")],
    &[("if-none-match", "W/TAG")],
    &[("if-none-match", "\"other\", TAG")],
    &[("if-none-match", "*")],
    &[("if-none-match", "\"other\"")],
    &[("if-none-match", "TAG"), ("range", "bytes=0-1")],
    &[("if-none-match", "TAG"), ("range", "bytes=100-")],
    &[("if-none-match", "\"other\""), ("range", "bytes=0-1")],
    &[("if-none-match", "TAG"), ("if-match", "\"other\"")],
    &[("if-none-match", "TAG"), ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
    &[("if-modified-since", WRITTEN_DATE)],
    &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
    &[("if-match", "TAG")],
    &[("if-match", "*")],
    &[("if-match", "\"other\"")],
    &[("if-match", "\"other\""), ("range", "bytes=100-")],
    &[("if-match", "TAG"), ("range", "bytes=0-1")],
    &[("if-unmodified-since", WRITTEN_DATE)],
    &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
];

/// The answer without what two sources can't have in common: the tag itself.
async fn without_tag(site: &Site, method: &str, path: &str, tag: &str, question: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = question.iter().map(|(name, value)| (*name, value.replace("TAG", tag))).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut answer = site.request(method, path, &headers).await;
    if let Some(etag) = answer.headers.remove("etag") {
        assert_eq!(etag, tag, "{method} {question:?}");
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_is_answered_as_from_a_directory() {
    let directory = Site::directory().with_photo().await;
    let bucket = Site::bucket().await.with_photo().await;
    let tags = [&directory, &bucket]
        .map(async |site: &Site| site.photo(&[]).await.header("etag").expect("an entity tag").to_owned());
    let [of_directory, of_bucket] = tags;
    let (of_directory, of_bucket) = (of_directory.await, of_bucket.await);
    for method in ["GET", "HEAD"] {
        for (path, question) in
            QUESTIONS.into_iter().flat_map(|question| [(PHOTO, question), ("/files/no.png", question)])
        {
            let expected = without_tag(&directory, method, path, &of_directory, question).await;
            let answer = without_tag(&bucket, method, path, &of_bucket, question).await;
            assert_eq!(
                (answer.status, answer.headers, answer.body),
                (expected.status, expected.headers, expected.body),
                "{method} {path} {question:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_request_to_the_bucket_where_one_is_enough() {
    let site = Site::bucket().await.with_photo().await;
    let etag = site.photo(&[]).await.header("etag").expect("an entity tag").to_owned();
    let asked = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let before = served(&site).server.asked_count();
        let status = site.request(method, path, headers).await.status.as_u16();
        (status, served(&site).server.asked_count() - before)
    };
    assert_eq!(asked("GET", PHOTO, &[]).await, (200, 1));
    assert_eq!(asked("HEAD", PHOTO, &[]).await, (200, 1));
    assert_eq!(asked("GET", "/files/none.png", &[]).await, (404, 1));
    assert_eq!(asked("GET", "/files/.hidden.png", &[]).await, (404, 0));
    assert_eq!(asked("GET", PHOTO, &[("range", "bytes=5-9")]).await, (206, 1));
    assert_eq!(asked("GET", PHOTO, &[("range", "bytes=5-9"), ("if-range", &etag)]).await, (206, 1));
    assert_eq!(asked("GET", PHOTO, &[("range", "bytes=5-9"), ("if-range", WRITTEN_DATE)]).await, (200, 1));
    assert_eq!(asked("GET", PHOTO, &[("if-none-match", &etag)]).await, (304, 1));
    assert_eq!(asked("GET", PHOTO, &[("if-match", "\"other\"")]).await, (412, 1));
    // These take a second: the first answer has not what is to be said.
    assert_eq!(asked("GET", PHOTO, &[("range", "bytes=5-9"), ("if-range", "\"other\"")]).await, (200, 2));
    assert_eq!(asked("GET", PHOTO, &[("range", "bytes=100-")]).await, (416, 2));
    assert_eq!(asked("HEAD", "/files/none.png", &[]).await, (404, 2));
}

/// An object as a bucket sends it.
fn object(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Response {
    let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    response
}

#[tokio::test]
async fn a_condition_and_a_range_go_on_to_the_bucket_and_its_304_comes_back() {
    let scripted = Scripted::start(|_, _| {
        let mut response = object(304, &[("etag", "\"abc-2\""), ("last-modified", WRITTEN_DATE)], "");
        response.headers_mut().remove("content-type");
        response
    })
    .await;
    let site = site_at(&scripted.endpoint);
    let answer = site.photo(&[("if-none-match", "\"abc-2\""), ("range", "bytes=-7")]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!((answer.header("etag"), answer.header("last-modified")), (Some("\"abc-2\""), Some(WRITTEN_DATE)));
    assert_eq!((answer.header("cache-control"), answer.header("content-type")), (Some("public, max-age=300"), None));
    let asked = scripted.asked();
    assert_eq!((asked.len(), &asked[0].method), (1, &Method::GET));
    assert_eq!(asked[0].uri.path(), format!("/{BUCKET}/{PREFIX}/serve/tenant/a/photo.png"));
    assert_eq!((asked[0].header("if-none-match"), asked[0].header("range")), (Some("\"abc-2\""), Some("bytes=-7")));
}

#[tokio::test]
async fn more_than_all_at_the_end_is_all_of_it() {
    let headers = [("etag", "\"abc\""), ("last-modified", WRITTEN_DATE), ("content-range", "bytes 0-9/10")];
    let scripted = Scripted::start(move |_, _| object(206, &headers, "0123456789")).await;
    let site = site_at(&scripted.endpoint);
    for (range, sent_on) in [("bytes=-5000", "bytes=-5000"), ("bytes=-99999999999999999999", "bytes=-1125899906842624")]
    {
        let answer = site.photo(&[("range", range)]).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::PARTIAL_CONTENT, &b"0123456789"[..]));
        assert_eq!(answer.header("content-range"), Some("bytes 0-9/10"));
        assert_eq!(scripted.asked().last().expect("asked").header("range"), Some(sent_on));
    }
    assert_eq!(scripted.asked().len(), 2);
}

#[tokio::test]
async fn a_bucket_that_ignores_ranges_has_the_whole_sent() {
    let headers = [("etag", "\"abc\""), ("last-modified", WRITTEN_DATE)];
    let scripted = Scripted::start(move |_, _| object(200, &headers, "0123456789")).await;
    let answer = site_at(&scripted.endpoint).photo(&[("range", "bytes=2-3")]).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"0123456789"[..]));
    assert_eq!(scripted.asked().len(), 1);
}

#[tokio::test]
async fn whoever_is_no_bucket_is_not_passed_on() {
    let (etag, modified) = (("etag", "\"abc\""), ("last-modified", WRITTEN_DATE));
    let part = ("content-range", "bytes 0-9/20");
    let answers: [(u16, Vec<(&'static str, &str)>); 5] = [
        (200, vec![modified]),
        (200, vec![etag]),
        (206, vec![etag, modified, part]),
        (206, vec![etag, modified, ("content-range", "bytes 5-4/20")]),
        (304, vec![]),
    ];
    for (status, headers) in answers {
        let scripted = Scripted::start(move |_, _| object(status, &headers, "0123456789")).await;
        assert_unavailable(&site_at(&scripted.endpoint).photo(&[]).await);
    }
}

#[tokio::test]
async fn what_the_bucket_refuses_or_can_not_is_unavailable_and_never_not_found() {
    for (status, code) in [
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (404, "NoSuchBucket"),
        (400, "InvalidArgument"),
        (301, "PermanentRedirect"),
        (500, "InternalError"),
        (503, "SlowDown"),
    ] {
        let scripted = Scripted::start(move |_, _| s3_error(status, code, "on purpose")).await;
        let site = site_at(&scripted.endpoint);
        assert_unavailable(&site.photo(&[]).await);
        assert_unavailable(&site.photo(&[("range", "bytes=0-1")]).await);
        let head = site.request("HEAD", PHOTO, &[]).await;
        assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_away_is_unavailable_until_it_is_back() {
    let bucket = ServedBucket::start().await;
    bucket.put("tenant/a/photo.png", &photo(), UNIX_EPOCH + WRITTEN).await;
    let upstream = bucket.server.endpoint.socket_addrs(|| None).expect("an address")[0];
    let mut proxy = FaultProxy::start(upstream).await;
    // Signed for the host that is asked: the server takes any.
    let site = site_of(bucket.node_by(&proxy.endpoint()));
    assert_eq!(site.photo(&[]).await.status, StatusCode::OK);
    proxy.refuse().await;
    assert_unavailable(&site.photo(&[]).await);
    assert_eq!(site.request("HEAD", PHOTO, &[]).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.get("/files/.hidden.png", &[]).await.status, StatusCode::NOT_FOUND, "nobody need be asked");
    proxy.accept_again().await;
    assert_eq!(&site.photo(&[]).await.body[..], &photo()[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_breaks_off_is_not_taken_for_whole() {
    let bucket = ServedBucket::start().await;
    bucket.put("large.png", &vec![b'x'; 4_000_000], UNIX_EPOCH + WRITTEN).await;
    let upstream = bucket.server.endpoint.socket_addrs(|| None).expect("an address")[0];
    let proxy = FaultProxy::start(upstream).await;
    proxy.script(|_| Fault::ResetReplyAfter(1_000_000));
    let site = site_of(bucket.node_by(&proxy.endpoint()));
    let request = Request::get("/files/large.png").body(Body::empty()).expect("a request");
    let response = site.router.clone().oneshot(request).await.expect("infallible");
    assert_eq!(
        (response.status(), &response.headers()["content-length"]),
        (StatusCode::OK, &"4000000".parse().expect("a value"))
    );
    response.into_body().collect().await.expect_err("bytes are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_has_the_bucket_send_slowly() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: u64 = 1600;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let scripted = Scripted::start(move |_, _| {
        let (counted, chunk) = (Arc::clone(&counted), Bytes::from(vec![0; CHUNK]));
        let chunks = unfold(0, move |count| {
            counted.fetch_max(count, Ordering::Relaxed);
            let next = (count < CHUNKS).then(|| (Ok::<_, std::io::Error>(chunk.clone()), count + 1));
            std::future::ready(next)
        });
        let length = (CHUNK as u64 * CHUNKS).to_string();
        let headers = [("etag", "\"abc\""), ("last-modified", WRITTEN_DATE), ("content-length", length.as_str())];
        object(200, &headers, "").map(|_| Body::from_stream(chunks))
    })
    .await;
    let request = Request::get("/files/large.png").body(Body::empty()).expect("a request");
    let response = site_at(&scripted.endpoint).router.oneshot(request).await.expect("infallible");
    let mut body = response.into_body();
    let first = body.frame().await.expect("a frame").expect("bytes").into_data().expect("data");
    // Until nothing more goes out: what sockets hold of it is some megabytes.
    let (mut before, mut quiet) = (0, 0);
    while quiet < 20 {
        poll_delay().await;
        let now = sent.load(Ordering::Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    assert!(before < CHUNKS / 2, "{before} of {CHUNKS} chunks went out to a reader who took {} bytes", first.len());
    let rest = body.collect().await.expect("the rest").to_bytes();
    assert_eq!((first.len() + rest.len()) as u64, CHUNK as u64 * CHUNKS);
}
