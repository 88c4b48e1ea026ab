//! Files that others send: a content delivery network, or a bucket that is open to everybody.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserializer;

use super::answer::{CACHE, disarm};
use crate::bucket::KeyPrefix;
use crate::job::ServedPath;
use crate::routes::cross_origin::canonical_origin;
use crate::setting;
use crate::writer::serve_prefix;

/// Written as they are: those that nobody reads as something else. `+` in a path is a space to S3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The origin of whoever sends the served files of a bucket, at the paths of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectOrigin(String);

impl RedirectOrigin {
    /// Reads an http or https origin, such as `https://cdn.example`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        canonical_origin(text).map(Self)
    }

    /// Reads a setting; none where the text is empty.
    ///
    /// # Errors
    /// If it is no origin.
    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let expected = r#"an origin such as "https://cdn.example", or nothing"#;
        setting::optional(deserializer, expected, Self::parse)
    }
}

/// Where the served files of one bucket are sent from.
#[derive(Debug)]
pub(super) struct RedirectTarget {
    /// With a slash at its end.
    base: String,
}

impl RedirectTarget {
    /// Those of a bucket whose keys start with `prefix`.
    pub(super) fn new(origin: &RedirectOrigin, prefix: &KeyPrefix) -> Self {
        Self { base: format!("{}/{}/", origin.0, serve_prefix(prefix)) }
    }

    /// Sends a client to the file at `path`, whether it is there or not.
    pub(super) fn to(&self, path: &ServedPath) -> Response {
        let path = path.below_root();
        let location = format!("{}{}", self.base, utf8_percent_encode(&path, ENCODED));
        let location = HeaderValue::from_str(&location).expect("INVARIANT: origin, prefix and path are plain ASCII");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::FOUND;
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CACHE_CONTROL, CACHE);
        disarm(headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_browsers_write_it_and_nothing_else_is() {
        assert_eq!(
            RedirectOrigin::parse("HTTPS://CDN.Example:443").map(|origin| origin.0).as_deref(),
            Some("https://cdn.example")
        );
        for bad in [
            "cdn.example",
            "https://cdn.example/",
            "https://cdn.example/pics",
            "https://u@cdn.example",
            "ftp://cdn.example",
            "https://*.cdn.example",
        ] {
            assert_eq!(RedirectOrigin::parse(bad), None, "{bad}");
        }
    }
}
