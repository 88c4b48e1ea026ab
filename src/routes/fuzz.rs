//! What fuzz targets may call of this room. Built for them alone.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http::header::RANGE;
use multer::Multipart;

use super::body::{BodyLimits, PacedBody};
use super::files;
use super::upload::{PartName, boundary, header_bytes};
use crate::job::{Stem, SubDir};

/// A part of a body, read to its end.
#[derive(Debug)]
pub struct Part {
    /// What its file name became.
    pub stem: String,
    /// Bytes of its content.
    pub bytes: usize,
}

/// Reads a body that comes in these pieces as an upload does, up to the first eight parts; an error for one that
/// an upload refuses.
#[expect(clippy::result_unit_err, reason = "a target asks only whether it is refused")]
pub fn multipart(content_type: &str, chunks: Vec<Vec<u8>>) -> Result<Vec<Part>, ()> {
    let boundary = boundary(content_type).map_err(|_| ())?;
    block_on(read_parts(boundary, chunks))
}

async fn read_parts(boundary: String, chunks: Vec<Vec<u8>>) -> Result<Vec<Part>, ()> {
    let limits =
        BodyLimits { bytes_max: 1 << 20, grace: Duration::from_hours(1), bytes_per_sec_min: 1, overhead_max: 1 << 16 };
    let pieces = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let body = PacedBody::new(Body::from_stream(stream::iter(pieces)), limits);
    let mut parser = Multipart::new(body.stream(), boundary);
    let mut parts = Vec::new();
    while let Some(mut part) = parser.next_field().await.map_err(|_| ())? {
        if parts.len() == 8 || header_bytes(&part) > 8192 {
            return Err(());
        }
        let mut bytes = 0;
        let stem = Stem::of(&PartName::of(&part).file_name.unwrap_or_default()).to_string();
        while let Some(chunk) = part.chunk().await.map_err(|_| ())? {
            body.note_parsed(chunk.len());
            bytes += chunk.len();
        }
        parts.push(Part { stem, bytes });
    }
    Ok(parts)
}

/// Directory and name behind `/files/`.
pub fn file_path(path: &str) -> Option<(SubDir, String)> {
    files::fuzz_path(path)
}

/// First and last byte of a `Range` that is answered with a part of a file of `bytes` bytes.
pub fn range(value: &str, bytes: u64) -> Option<(u64, u64)> {
    let mut headers = HeaderMap::new();
    headers.insert(RANGE, value.parse().ok()?);
    files::fuzz_range(&headers, bytes)
}

/// The body is all there, but `PacedBody` pauses between its pieces.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("INVARIANT: a runtime without I/O needs nothing")
        .block_on(future)
}
