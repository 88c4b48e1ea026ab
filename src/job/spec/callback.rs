//! The callback of a job: its URL, its headers, and what it tells of.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::ParsedJob;
use super::fields::{Fields, show};
use crate::job::pointer::ClaimErrors;
use crate::job::{CallbackEvent, CallbackEvents};

const HEADERS_MAX: usize = 16;
const HEADERS_BYTES_MAX: usize = 4 * 1024;
const URL_BYTES_MAX: usize = 2 * 1024;

/// Headers that belong to the connection or to Pixerve, not to a job.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// One header of a job's callback. The value is a secret: most often a bearer token.
#[derive(Clone, Debug)]
pub struct CallbackHeader {
    /// A valid header name that no one else claims.
    pub name: HeaderName,
    /// A valid header value.
    pub value: SecretString,
}

impl PartialEq for CallbackHeader {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value.expose_secret() == other.value.expose_secret()
    }
}

/// Where callbacks may go, as far as that is known before one is made.
pub trait CallbackAddresses: fmt::Debug + Send + Sync {
    /// The address that `url` names itself, without a name to be resolved, if it may not be called.
    fn refused(&self, url: &Url) -> Option<IpAddr>;
}

impl ParsedJob {
    /// Notes that the callback's URL names an address that may not be called, of a job at the JSON Pointer `at`.
    pub fn check_callback(&self, at: &str, addresses: &dyn CallbackAddresses, errors: &mut ClaimErrors) {
        if let Some(address) = self.callback_url.as_ref().and_then(|url| addresses.refused(url)) {
            let detail = format!(
                "{address} is no public address, and only those are called; PIXERVE_CALLBACK_ALLOW lists networks that \
                 may be called besides"
            );
            errors.push(format!("{at}/completionCallback"), detail);
        }
    }
}

/// `completionCallback`: an absolute http(s) URL. Where it leads is checked when it is called.
pub(super) fn url(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Url> {
    let expected = "an absolute http:// or https:// URL of at most 2,048 bytes";
    fields.word("completionCallback", errors, expected, |text| {
        let url = Url::parse(text).ok().filter(|_| text.len() <= URL_BYTES_MAX)?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    })
}

/// `callbackHeaders`: an object of strings.
pub(super) fn headers(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Vec<CallbackHeader> {
    let at = fields.pointer("callbackHeaders");
    let Some(value) = fields.take("callbackHeaders") else { return Vec::new() };
    let Value::Object(object) = value else {
        errors.push(at, "must be an object of header names and values");
        return Vec::new();
    };
    let bytes: usize = object.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if object.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        errors.push(at, format!("at most {HEADERS_MAX} headers of {HEADERS_BYTES_MAX} bytes in all"));
        return Vec::new();
    }
    let mut headers = Vec::with_capacity(object.len());
    for (name, value) in object {
        match header(name, value) {
            Ok(header) => headers.push(header),
            Err(detail) => errors.push(format!("{at}/{}", crate::job::pointer::escape(name)), detail),
        }
    }
    headers
}

/// `callbackEvents`: a list of words.
pub(super) fn events(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> CallbackEvents {
    let at = fields.pointer("callbackEvents");
    let Some(value) = fields.take("callbackEvents") else { return CallbackEvents::default() };
    let Value::Array(words) = value else {
        errors.push(at, "must be a list of events");
        return CallbackEvents::default();
    };
    let mut events = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let event = CallbackEvent::ALL.into_iter().find(|event| word.as_str() == Some(event.word()));
        if event.is_none() {
            let known = CallbackEvent::ALL.map(CallbackEvent::word).join(", ");
            errors.push(format!("{at}/{i}"), format!("must be one of {known}, not {}", show(word)));
        }
        events.extend(event);
    }
    CallbackEvents::new(&events)
}

fn header(name: &str, value: &Value) -> Result<CallbackHeader, String> {
    let name = HeaderName::try_from(name).map_err(|_| "not a valid header name".to_owned())?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
        return Err("is set by Pixerve or belongs to the connection".to_owned());
    }
    let value = value.as_str().ok_or("must be a string")?;
    HeaderValue::try_from(value).map_err(|_| "not a valid header value (control characters?)".to_owned())?;
    Ok(CallbackHeader { name, value: SecretString::from(value) })
}
