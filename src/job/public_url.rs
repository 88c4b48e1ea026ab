//! Where clients reach the server, if that is not the root of its address.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::StoredFile;
use crate::setting;

/// What everybody may see.
const SERVED: &str = "/files/";

/// The URL under which a proxy shows this server. Most of what clients are given, such as `status_url`, is a path, to be resolved
/// against the address that they used; the addresses of files, which stand in pages of others, are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrl {
    /// Its scheme, host and port; none if nobody has said them.
    origin: Option<String>,
    /// Its path, without a slash at its end; empty for the root.
    prefix: String,
}

impl PublicUrl {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let url = Url::parse(text).ok()?;
        let is_plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        (matches!(url.scheme(), "http" | "https") && is_plain).then(|| Self {
            origin: Some(url.origin().ascii_serialization()),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// That of a server that is reached at this address, without a proxy.
    #[must_use]
    pub fn at(addr: SocketAddr) -> Self {
        Self { origin: Some(format!("http://{addr}")), prefix: String::new() }
    }

    /// Whether somebody has said it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.origin.is_some()
    }

    /// A path of this server, as its clients see it.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The same of the locations in the serve directory.
    #[must_use]
    pub fn of_files(&self, mut files: Vec<StoredFile>) -> Vec<StoredFile> {
        for stored in files.iter_mut().flat_map(|file| &mut file.stored) {
            stored.url = self.url_of(&stored.location).or(stored.url.take());
            stored.location = self.of_location(&stored.location);
        }
        files
    }

    /// A location as clients see it.
    #[must_use]
    pub fn of_location(&self, location: &str) -> String {
        // Those of other stores are URLs.
        if location.starts_with('/') { self.path(location) } else { location.to_owned() }
    }

    /// The whole URL of a location that everybody may see; none of any other, or if nobody has said where this server is.
    #[must_use]
    pub fn url_of(&self, location: &str) -> Option<String> {
        let origin = self.origin.as_ref().filter(|_| location.starts_with(SERVED))?;
        Some(format!("{origin}{}", self.path(location)))
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = r#"an http or https URL without a query, such as "https://example.com/images""#;
        setting::parsed(deserializer, expected, Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_url_stands_before_every_path() {
        for (url, prefix) in [
            ("", ""),
            ("https://example.com", ""),
            ("https://example.com/", ""),
            ("https://example.com/images", "/images"),
            ("http://[::1]:8080/a/b/", "/a/b"),
        ] {
            let url = PublicUrl::parse(url).expect(url);
            assert_eq!(url.path("/status"), format!("{prefix}/status"));
        }
        let url = PublicUrl::parse("http://[::1]:8080/a/b/").expect("a URL");
        assert_eq!(url.url_of("/files/x.jpg").as_deref(), Some("http://[::1]:8080/a/b/files/x.jpg"));
        assert_eq!((url.url_of("s3://pictures/x.jpg"), PublicUrl::default().url_of("/files/x.jpg")), (None, None));
        for bad in [
            "/images",
            "example.com/images",
            "ftp://example.com/",
            "https://me:pw@example.com/",
            "https://a/?b",
            "https://a/#b",
        ] {
            assert_eq!(PublicUrl::parse(bad), None, "{bad}");
        }
    }
}
