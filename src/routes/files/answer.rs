//! What is answered about a file, wherever it is.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use headers::{AcceptRanges, ContentLength, ContentRange, HeaderMapExt};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::conditional::{Precondition, Validators};
use super::media::Media;
use super::range::{self, RequestedRange};
use crate::job::FileName;
use crate::routes::Refusal;
use crate::writer::IMMUTABLE;

/// A re-upload may rewrite a name, unless that is one of a `unique` job.
pub(super) const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Nothing that might be active in a file runs, loads or shares our origin.
const DISARMED: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");
/// Pictures are there to be embedded elsewhere.
const CROSS_ORIGIN: HeaderValue = HeaderValue::from_static("cross-origin");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// How much of a file is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That it is as the client knows it.
    Nothing,
    /// All but its bytes.
    Head,
    /// All of it.
    Whole,
    /// From `first` to `last`, both included.
    Part { first: u64, last: u64 },
}

/// How much a request with this method and these headers wants of a file of `bytes` bytes.
pub(super) fn wanted(
    method: &Method,
    headers: &HeaderMap,
    validators: &Validators,
    bytes: u64,
) -> Result<Wanted, Refusal> {
    match validators.check(headers) {
        Precondition::Holds => {}
        Precondition::NotModified => return Ok(Wanted::Nothing),
        Precondition::Failed => return Err(Refusal::PreconditionFailed),
    }
    // A range is defined for GET alone.
    if method == Method::HEAD {
        return Ok(Wanted::Head);
    }
    if !validators.range_applies(headers) {
        return Ok(Wanted::Whole);
    }
    match range::parse(headers, bytes) {
        RequestedRange::Whole => Ok(Wanted::Whole),
        RequestedRange::Part { first, last } => Ok(Wanted::Part { first, last }),
        RequestedRange::Unsatisfiable => Err(Refusal::RangeNotSatisfiable { bytes }),
    }
}

/// How long a public file of this name may be kept.
pub(super) fn public_cache(name: &str) -> HeaderValue {
    if FileName::is_unique(name) { HeaderValue::from_static(IMMUTABLE) } else { CACHE }
}

/// The answers with a file of one name, which may be kept for as long as `cache` says.
pub(super) struct Answer {
    media: Media,
    cache: HeaderValue,
}

impl Answer {
    pub(super) fn of(name: &str, cache: HeaderValue) -> Self {
        Self { media: Media::of(name), cache }
    }

    /// A 304. It has no media type.
    pub(super) fn not_modified(&self, validators: &Validators) -> Response {
        // An empty body of unknown length: of a known one, axum would announce 0 as the length of the file.
        let nothing = futures_util::stream::empty::<io::Result<Bytes>>();
        self.bodiless(StatusCode::NOT_MODIFIED, validators).map(|_| Body::from_stream(nothing))
    }

    /// Everything about a file of `bytes` bytes but those.
    pub(super) fn head(&self, validators: &Validators, bytes: u64) -> Response {
        self.whole(validators, bytes, Body::empty())
    }

    /// A file of `bytes` bytes.
    pub(super) fn whole(&self, validators: &Validators, bytes: u64, body: Body) -> Response {
        self.with_body(self.bodiless(StatusCode::OK, validators), bytes, body)
    }

    /// The bytes from `first` to `last`, both included, of a file of `bytes` bytes.
    pub(super) fn part(&self, validators: &Validators, first: u64, last: u64, bytes: u64, body: Body) -> Response {
        let mut response = self.bodiless(StatusCode::PARTIAL_CONTENT, validators);
        let content_range = ContentRange::bytes(first..=last, bytes);
        response.headers_mut().typed_insert(content_range.expect("INVARIANT: the range has both its ends"));
        self.with_body(response, last - first + 1, body)
    }

    fn with_body(&self, mut response: Response, bytes: u64, body: Body) -> Response {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media.content_type));
        if !self.media.inline {
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        }
        headers.typed_insert(ContentLength(bytes));
        response.map(|_| body)
    }

    /// What every answer has that is no refusal.
    fn bodiless(&self, status: StatusCode, validators: &Validators) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.typed_insert(validators.etag.clone());
        headers.typed_insert(validators.last_modified());
        headers.insert(CACHE_CONTROL, self.cache.clone());
        headers.typed_insert(AcceptRanges::bytes());
        disarm(headers);
        response
    }
}

/// What every answer carries, errors included.
pub(super) fn disarm(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CONTENT_SECURITY_POLICY, DISARMED);
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, CROSS_ORIGIN);
}
