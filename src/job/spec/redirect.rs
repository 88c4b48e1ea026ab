//! `redirect`: where a form without JavaScript is sent.

use serde_json::Value;
use url::{Host, Url};

use super::ParsedJob;
use super::fields::Fields;
use crate::job::pointer::ClaimErrors;

const URL_BYTES_MAX: usize = 2 * 1024;
const FIELD: &str = "redirect";

impl ParsedJob {
    /// The `redirect` of a `job` claim, whatever else is wrong with it: of that, too, a form wants to be told.
    #[must_use]
    pub fn redirect_of(job: Option<&Value>) -> Option<Url> {
        job?.get(FIELD)?.as_str().and_then(parse)
    }
}

pub(super) fn redirect(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Url> {
    let expected = "an absolute https:// URL of at most 2,048 bytes without a user name, or an http:// one on loopback";
    fields.word(FIELD, errors, expected, parse)
}

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= URL_BYTES_MAX)?;
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (is_private && url.has_host() && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_https_and_loopback_are_redirected_to() {
        for good in [
            "https://shop.example/done?order=42#top",
            "http://localhost:5173/done",
            "http://shop.localhost/",
            "http://127.0.0.1:8080/",
            "http://[::1]/",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://shop.example/",
            "http://localhost.example/",
            "http://10.0.0.1/",
            "//shop.example/",
            "/done",
            "javascript:alert(1)",
            "https://me@shop.example/",
            "https://me:secret@shop.example/",
            &format!("https://shop.example/{}", "a".repeat(2048)),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
