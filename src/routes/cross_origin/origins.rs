//! Which origins are allowed, as settings write them.

use axum::http::HeaderValue;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::setting;

/// Origins whose pages may read answers. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    listed: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// As a browser writes it.
    Whole(String),
    /// One label, whatever it is, between the two.
    Subdomain { scheme: String, domain: String },
}

impl AllowedOrigins {
    fn parse<'a>(items: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut allowed = Self::default();
        for item in items {
            match item {
                "*" => allowed.any = true,
                item => allowed.listed.push(Pattern::parse(item)?),
            }
        }
        Some(allowed)
    }

    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }

    /// Whether answers differ by who asks.
    pub(super) fn depend_on_origin(&self) -> bool {
        !self.any && !self.listed.is_empty()
    }

    /// Whether this one is, as an `Origin` header has it. `null`, which sandboxed pages and files have in common, only where
    /// all are.
    pub(super) fn contain(&self, origin: &HeaderValue) -> bool {
        self.any || origin.to_str().is_ok_and(|origin| self.listed.iter().any(|pattern| pattern.matches(origin)))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once("://*.") {
            Some((scheme, domain)) => {
                let origin = canonical(&format!("{scheme}://{domain}"))?;
                let (scheme, domain) = origin.split_once("://")?;
                // An address has no subdomains.
                Url::parse(&origin).ok()?.domain()?;
                Some(Self::Subdomain { scheme: scheme.to_owned(), domain: domain.to_owned() })
            }
            None => canonical(text).map(Self::Whole),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Whole(whole) => whole == origin,
            Self::Subdomain { scheme, domain } => {
                let rest = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
                let label = rest.and_then(|rest| rest.strip_suffix(domain)).and_then(|label| label.strip_suffix('.'));
                label.is_some_and(|label| {
                    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                })
            }
        }
    }
}

/// An http or https origin and nothing else, as a browser writes it: in lower case, without its scheme's own port.
pub(in crate::routes) fn canonical(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && !text.ends_with('/')
        && url.query().is_none()
        && url.fragment().is_none()
        && !text.contains('@')
        && !host.contains('*');
    is_origin.then(|| url.origin().ascii_serialization())
}

impl<'de> Deserialize<'de> for AllowedOrigins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            r#"origins such as "https://shop.example", "http://localhost:5173" or "https://*.shop.example", or "*""#;
        setting::items(deserializer, expected, |items| Self::parse(items.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(items: &[&str]) -> Option<AllowedOrigins> {
        AllowedOrigins::parse(items.iter().copied())
    }

    fn contain(items: &[&str], origin: &str) -> bool {
        let origin = HeaderValue::from_str(origin).expect("a header");
        allowed(items).expect("they can be read").contain(&origin)
    }

    #[test]
    fn an_origin_is_allowed_as_it_is_listed() {
        let listed = ["https://shop.example", "http://localhost:5173", "HTTPS://Shop2.Example:443"];
        for origin in ["https://shop.example", "http://localhost:5173", "https://shop2.example"] {
            assert!(contain(&listed, origin), "{origin}");
        }
        for origin in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://shop.example.evil",
            "https://evil-shop.example",
            "http://localhost",
            "null",
            "",
            "https://shop.example/",
        ] {
            assert!(!contain(&listed, origin), "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label_and_alone_for_everything() {
        let listed = ["https://*.shop.example", "http://*.localhost:3000"];
        for origin in ["https://a.shop.example", "https://a-1.shop.example", "http://x.localhost:3000"] {
            assert!(contain(&listed, origin), "{origin}");
        }
        for origin in [
            "https://shop.example",
            "https://a.b.shop.example",
            "https://.shop.example",
            "http://a.shop.example",
            "https://evil.example/.shop.example",
            "https://evil@.shop.example",
            "https://a.shop.example:8443",
            "null",
        ] {
            assert!(!contain(&listed, origin), "{origin}");
        }
        for origin in ["null", "https://whatever.example"] {
            assert!(contain(&["*"], origin));
        }
        assert!(!allowed(&["*", "https://a.example"]).expect("read").depend_on_origin());
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "shop.example",
            "ftp://shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://",
            "https://shop.example?x",
            "https://u@shop.example",
            "https://a.*.example",
            "https://*",
            "https://*.*.example",
            "https://*.127.0.0.1",
            "null",
            "**",
            "",
        ] {
            assert_eq!(allowed(&[bad]), None, "{bad}");
        }
        assert_eq!(allowed(&[]), Some(AllowedOrigins::default()));
    }
}
