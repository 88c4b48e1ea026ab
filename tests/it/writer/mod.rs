//! Every store does what the trait promises, and each its own part besides.

#[cfg(all(feature = "s3", feature = "gcs"))]
mod bucket_serve;
#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod conformance;
mod direct_serve;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "s3")]
mod retrying;
#[cfg(feature = "s3")]
mod s3;
#[cfg(any(feature = "s3", feature = "gcs"))]
pub(crate) mod scripted;

use std::path::Path;

use pixerve::job::{ContentHash, ServedArea, SubDir};
use pixerve::writer::{Body, Object};

/// A JPEG as far as a store can tell.
fn object(sub_dir: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Object {
    let bytes = bytes.into();
    Object {
        area: ServedArea::Public,
        sub_dir: SubDir::parse(sub_dir).expect("a valid subDir"),
        name: name.to_owned(),
        media_type: "image/jpeg",
        sha256: ContentHash::of(&bytes),
        body: Body::Bytes(bytes.into()),
        trace: None,
    }
}

/// The same as a part of a trace.
#[cfg_attr(not(any(feature = "s3", feature = "gcs")), allow(dead_code))]
fn traced(object: Object) -> Object {
    let headers = http::HeaderMap::from_iter([
        (http::HeaderName::from_static("traceparent"), http::HeaderValue::from_static(TRACEPARENT)),
        (http::HeaderName::from_static("tracestate"), http::HeaderValue::from_static("shop=17")),
    ]);
    Object { trace: pixerve::job::TraceContext::from_headers(&headers), ..object }
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The same, but its bytes in a file at `path`.
fn object_in_file(path: &Path, sub_dir: &str, name: &str, bytes: &[u8]) -> Object {
    let mut file = std::fs::File::create(path).expect("created");
    std::io::Write::write_all(&mut file, bytes).expect("written");
    let body = Body::File { path: path.to_owned(), bytes: bytes.len() as u64 };
    Object { body, ..object(sub_dir, name, bytes) }
}

/// As long as a variant's name gets: a hash of any subject, a cut stem, the largest box.
fn longest_name() -> String {
    format!("{}_h-{}_{}_65535_65535_.webp", "0".repeat(64), "1".repeat(64), "x".repeat(80))
}

/// Bytes without a pattern that a part boundary or a line ending could hide behind, the same in every run.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}
