//! `/files/`: what is stored is served, whole, as a picture; nothing else is.

/// Runs every test named here against every place that files are served from.
macro_rules! every_source {
    ($($name:ident),* $(,)?) => {
        mod in_directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::files::Site::directory()).await;
            })*
        }
        #[cfg(all(feature = "s3", feature = "gcs"))]
        mod in_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::files::Site::bucket().await).await;
            })*
        }
    };
}

#[cfg(all(feature = "s3", feature = "gcs"))]
mod bucket;
mod hostile;
mod redirect;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use pixerve::routes::files::{self, FileSource};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

#[cfg(all(feature = "s3", feature = "gcs"))]
use self::bucket::ServedBucket;

/// Sun, 06 Nov 1994 08:49:37 GMT, and a half.
const WRITTEN: Duration = Duration::from_millis(784_111_777_500);
const WRITTEN_DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What is stored, and a router that serves it.
struct Site {
    stored: Stored,
    router: Router,
}

enum Stored {
    Directory(TempDir),
    #[cfg(all(feature = "s3", feature = "gcs"))]
    Bucket(ServedBucket),
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

impl Site {
    /// A serve directory.
    fn directory() -> Self {
        let dir = TempDir::new().expect("a directory");
        let router = directory_router(dir.path());
        Self { stored: Stored::Directory(dir), router }
    }

    /// A bucket.
    #[cfg(all(feature = "s3", feature = "gcs"))]
    async fn bucket() -> Self {
        let bucket = ServedBucket::start().await;
        let router = files::router(FileSource::bucket(bucket.node()));
        Self { stored: Stored::Bucket(bucket), router }
    }

    /// The directory that it serves.
    fn dir(&self) -> &Path {
        match &self.stored {
            Stored::Directory(dir) => dir.path(),
            #[cfg(all(feature = "s3", feature = "gcs"))]
            Stored::Bucket(_) => panic!("it has none"),
        }
    }

    /// The same with `photo.png` of the bytes 0 to 99 in `tenant/a`.
    async fn with_photo(self) -> Self {
        self.put("tenant/a/photo.png", &photo()).await;
        self
    }

    /// Stores a file as the writer does, in a directory beside its place, then renamed. It was written at [`WRITTEN`].
    #[cfg_attr(
        not(all(feature = "s3", feature = "gcs")),
        expect(clippy::unused_async, reason = "a bucket is waited for, a directory isn't")
    )]
    async fn put(&self, path: &str, bytes: &[u8]) {
        match &self.stored {
            Stored::Directory(dir) => put_into(dir.path(), path, bytes),
            #[cfg(all(feature = "s3", feature = "gcs"))]
            Stored::Bucket(bucket) => bucket.put(path, bytes, UNIX_EPOCH + WRITTEN).await,
        }
    }

    async fn request(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers
            .iter()
            .fold(Request::builder().method(method).uri(uri), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", uri, headers).await
    }

    async fn photo(&self, headers: &[(&str, &str)]) -> Answer {
        self.get("/files/tenant/a/photo.png", headers).await
    }
}

fn directory_router(root: &Path) -> Router {
    files::router(FileSource::directory(root).expect("it can be opened"))
}

fn put_into(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    let beside = path.with_extension("tmp");
    write(&beside, bytes);
    fs::rename(beside, path).expect("renaming");
}

fn write(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(bytes).expect("writing");
    file.set_modified(UNIX_EPOCH + WRITTEN).expect("a time");
}

fn photo() -> Vec<u8> {
    (0..100).collect()
}

every_source!(
    a_file_comes_whole_and_disarmed,
    head_says_the_same_without_a_body,
    a_file_in_the_serve_directory_itself_is_served,
    a_large_file_comes_whole,
    only_safe_raster_types_are_shown_in_place,
    a_client_that_has_the_file_gets_a_304,
    over_the_wire_a_304_and_a_head_are_followed_by_the_next_answer,
    a_part_is_sent_on_request,
    a_part_of_another_version_is_not_sent,
    a_rewritten_name_has_another_tag_though_size_and_time_are_the_same,
    a_file_rewritten_while_it_is_read_is_read_whole_as_it_was,
    files_can_only_be_read,
);

async fn a_file_comes_whole_and_disarmed(site: Site) {
    let answer = site.with_photo().await.photo(&[]).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &photo()[..]));
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "100"),
        ("last-modified", WRITTEN_DATE),
        ("accept-ranges", "bytes"),
        ("cache-control", "public, max-age=300"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("content-disposition"), None);
    let etag = answer.header("etag").expect("an entity tag");
    assert!(etag.len() > 10 && etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
}

async fn head_says_the_same_without_a_body(site: Site) {
    let site = site.with_photo().await;
    let get = site.photo(&[]).await;
    let head = site.request("HEAD", "/files/tenant/a/photo.png", &[("range", "bytes=0-9")]).await;
    assert_eq!((head.status, head.headers, head.body.len()), (StatusCode::OK, get.headers, 0));
    let missing = site.request("HEAD", "/files/tenant/a/none.png", &[]).await;
    assert_eq!((missing.status, missing.body.len()), (StatusCode::NOT_FOUND, 0));
}

async fn a_file_in_the_serve_directory_itself_is_served(site: Site) {
    site.put("photo.png", b"root").await;
    assert_eq!(&site.get("/files/photo.png", &[]).await.body[..], b"root");
    assert_eq!(&site.get("/files/photo%2Epng?v=2", &[]).await.body[..], b"root", "the same URL, spelt otherwise");
}

async fn a_large_file_comes_whole(site: Site) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_be_bytes()[3] ^ i.to_be_bytes()[2]).collect();
    site.put("large.avif", &bytes).await;
    let whole = site.get("/files/large.avif", &[]).await;
    assert!(whole.body == bytes);
    let part = site.get("/files/large.avif", &[("range", "bytes=100000-2999998")]).await;
    assert!(part.body == bytes[100_000..=2_999_998]);
}

async fn only_safe_raster_types_are_shown_in_place(site: Site) {
    for (extension, content_type, inline) in [
        ("jpg", "image/jpeg", true),
        ("png", "image/png", true),
        ("webp", "image/webp", true),
        ("avif", "image/avif", true),
        ("gif", "image/gif", true),
        ("tiff", "image/tiff", false),
        ("bmp", "image/bmp", false),
        ("heic", "image/heic", false),
        ("svg", "application/octet-stream", false),
        ("html", "application/octet-stream", false),
    ] {
        site.put(&format!("x.{extension}"), b"<script>alert(1)</script>").await;
        let answer = site.get(&format!("/files/x.{extension}"), &[]).await;
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("content-disposition"), (!inline).then_some("attachment"), "{extension}");
    }
}

async fn a_client_that_has_the_file_gets_a_304(site: Site) {
    let site = site.with_photo().await;
    let etag = site.photo(&[]).await.header("etag").expect("an entity tag").to_owned();
    let weak = format!("W/{etag}");
    let list = format!("\"other\", {weak} ,\"more\"");
    let behind_a_comma = format!("\"a, b\", {etag}");
    let later = "Sun, 06 Nov 1994 08:49:38 GMT";
    let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", &etag)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", &list)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"x\""), ("if-none-match", &etag)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-none-match", "")], 200),
        (&[("if-none-match", "\"a b\"")], 200),
        (&[("if-none-match", "\"a, b\", \"\", W/")], 200),
        (&[("if-none-match", &behind_a_comma)], 304),
        (&[("if-none-match", etag.trim_matches('"'))], 200),
        (&[("if-modified-since", WRITTEN_DATE)], 304),
        (&[("if-modified-since", later)], 304),
        (&[("if-modified-since", earlier)], 200),
        (&[("if-modified-since", "yesterday")], 200),
        // The tag outranks the date.
        (&[("if-none-match", "\"other\""), ("if-modified-since", later)], 200),
        (&[("if-none-match", &etag), ("if-modified-since", earlier)], 304),
        (&[("if-none-match", &etag), ("range", "bytes=0-1")], 304),
        (&[("if-match", &etag)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", &weak)], 412),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-unmodified-since", WRITTEN_DATE)], 200),
        (&[("if-unmodified-since", earlier)], 412),
        (&[("if-unmodified-since", "yesterday")], 200),
        (&[("if-match", "")], 412),
        (&[("if-match", &etag), ("if-unmodified-since", earlier)], 200),
    ];
    for (headers, status) in cases {
        let answer = site.photo(headers).await;
        assert_eq!(answer.status.as_u16(), *status, "{headers:?}");
        if *status == 304 {
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some(etag.as_str()));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(answer.header("content-length"), None);
        }
    }
}

async fn over_the_wire_a_304_and_a_head_are_followed_by_the_next_answer(site: Site) {
    let site = site.with_photo().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut stream =
        tokio::net::TcpStream::connect(listener.local_addr().expect("its address")).await.expect("connects");
    let router = site.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let requests = "GET /files/tenant/a/photo.png HTTP/1.1\r\nhost: x\r\nif-none-match: *\r\n\r\n\
        HEAD /files/tenant/a/photo.png HTTP/1.1\r\nhost: x\r\n\r\n\
        GET /files/tenant/a/photo.png HTTP/1.1\r\nhost: x\r\nrange: bytes=65-67\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.expect("asking");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.expect("answers");
    let answers: Vec<_> = answers.split("\r\n\r\n").collect();
    assert!(matches!(answers[..], [_, _, _, "ABC"]), "three heads and one body: {answers:?}");
    assert!(answers[0].starts_with("HTTP/1.1 304 ") && !answers[0].contains("content-length"), "{}", answers[0]);
    assert!(answers[0].contains("etag: \"") && !answers[0].contains("transfer-encoding"), "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 200 ") && answers[1].contains("content-length: 100"), "{}", answers[1]);
    assert!(answers[2].starts_with("HTTP/1.1 206 ") && answers[2].contains("content-length: 3"), "{}", answers[2]);
}

async fn a_part_is_sent_on_request(site: Site) {
    let site = site.with_photo().await;
    for (range, content_range, bytes) in [
        ("bytes=0-0", "bytes 0-0/100", 0..=0),
        ("bytes=10-19", "bytes 10-19/100", 10..=19),
        ("bytes=90-", "bytes 90-99/100", 90..=99),
        ("bytes=-5", "bytes 95-99/100", 95..=99),
        ("bytes=50-5000", "bytes 50-99/100", 50..=99),
    ] {
        let answer = site.photo(&[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), Some(content_range));
        assert_eq!(&answer.body[..], &photo()[bytes], "{range}");
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.header("content-type"), Some("image/png"));
        assert!(answer.header("etag").is_some());
    }
    for range in ["bytes=100-", "bytes=-0", "bytes=4000-5000"] {
        let answer = site.photo(&[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */100"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    for range in ["bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=x-"] {
        let answer = site.photo(&[("range", range)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 100), "{range}");
    }
}

async fn a_part_of_another_version_is_not_sent(site: Site) {
    let site = site.with_photo().await;
    let etag = site.photo(&[]).await.header("etag").expect("an entity tag").to_owned();
    let weak = format!("W/{etag}");
    for (if_range, status) in
        [(etag.as_str(), 206), (&weak, 200), ("\"other\"", 200), (WRITTEN_DATE, 200), ("nonsense", 200)]
    {
        let answer = site.photo(&[("range", "bytes=0-9"), ("if-range", if_range)]).await;
        assert_eq!(answer.status.as_u16(), status, "{if_range}");
    }
}

async fn a_rewritten_name_has_another_tag_though_size_and_time_are_the_same(site: Site) {
    let site = site.with_photo().await;
    let before = site.photo(&[]).await;
    let mut other = photo();
    other.reverse();
    site.put("tenant/a/photo.png", &other).await;
    let after = site.photo(&[("if-none-match", before.header("etag").expect("an entity tag"))]).await;
    assert_eq!((after.status, &after.body[..]), (StatusCode::OK, &other[..]));
    assert_eq!(after.header("last-modified"), before.header("last-modified"));
}

async fn a_file_rewritten_while_it_is_read_is_read_whole_as_it_was(site: Site) {
    let old = vec![b'o'; 2_000_000];
    site.put("x.png", &old).await;
    let request = Request::get("/files/x.png").body(Body::empty()).expect("a request");
    let response = site.router.clone().oneshot(request).await.expect("infallible");
    let mut body = response.into_body();
    let mut read = body.frame().await.expect("a frame").expect("bytes").into_data().expect("data").to_vec();
    site.put("x.png", &vec![b'n'; 2_000_000]).await;
    read.extend_from_slice(&body.collect().await.expect("the rest").to_bytes());
    assert!(read == old);
    assert_eq!(site.get("/files/x.png", &[]).await.body[0], b'n');
}

async fn files_can_only_be_read(site: Site) {
    let site = site.with_photo().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
        let answer = site.request(method, "/files/tenant/a/photo.png", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
}

#[test]
fn a_serve_directory_that_is_not_there_is_an_error_at_start() {
    let dir = TempDir::new().expect("a directory");
    assert!(FileSource::directory(&dir.path().join("missing")).is_err());
    write(&dir.path().join("file"), b"");
    assert!(FileSource::directory(&dir.path().join("file")).is_err());
}
