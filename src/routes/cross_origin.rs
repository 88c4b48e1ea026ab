//! Pages of other origins (CORS): what they may read, and from which of them uploads are taken.
//!
//! A browser that finds no leave in an answer keeps it from the page and reports "CORS" instead of what went wrong. So
//! every answer has it, however early a request was refused.

mod origins;

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, Request as HttpRequest};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tracing::warn;
use url::Url;

pub use self::origins::AllowedOrigins;
pub(super) use self::origins::canonical as canonical_origin;
use super::{AppState, Refusal};
use crate::telemetry::cut;

/// What pages use, and by which methods. The others are for operators, whose tools are no pages.
const SHARED_ROUTES: [(&str, &str); 8] = [
    ("/upload", "POST"),
    ("/status", "GET,HEAD"),
    ("/success", "GET,HEAD"),
    ("/failures", "GET,HEAD"),
    ("/events", "GET,HEAD"),
    ("/cancel", "DELETE"),
    ("/manifest", "GET,HEAD"),
    ("/limits", "GET,HEAD"),
];
/// What is served to everybody, and drawn on canvases.
const PUBLIC_PREFIX: &str = "/files/";
/// What shows one of those files, to each whichever suits it.
const IMAGE_PREFIX: &str = "/image/";
const PUBLIC_METHODS: &str = "GET, HEAD";
/// What is served to whoever has a token for it.
const PRIVATE_PREFIX: &str = "/private/";
const PRIVATE_METHODS: &str = "GET,HEAD";
const UPLOAD_PATH: &str = "/upload";

/// What a page may read of an answer, besides what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Location, ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID",
);
/// What a page may send, besides what every page may. Dropzone sends `Cache-Control` and `X-Requested-With` with every upload.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Range, Traceparent, X-Request-ID, \
     X-Requested-With",
);
/// Seconds for which a browser need not ask again: the most that Chromium takes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// Origins that the log has named, at most: strangers can invent them.
const TOLD_MAX: usize = 256;
/// Bytes of an origin that are logged.
const ORIGIN_BYTES_MAX: usize = 256;

/// Who may read what, and whom the log has named.
#[derive(Debug)]
pub struct CrossOrigin {
    allowed: AllowedOrigins,
    told: Mutex<HashSet<String>>,
}

/// Who may read the answers of an address, to requests of which methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Every page.
    Public { methods: &'static str },
    /// Pages of the allowed origins.
    Allowed { methods: &'static str },
    /// No other page than this server's own.
    Never,
}

impl Sharing {
    fn of(path: &str) -> Self {
        if path.starts_with(PUBLIC_PREFIX) {
            return Self::Public { methods: PUBLIC_METHODS };
        }
        if path.starts_with(IMAGE_PREFIX) {
            return Self::Allowed { methods: PUBLIC_METHODS };
        }
        if path.starts_with(PRIVATE_PREFIX) {
            return Self::Allowed { methods: PRIVATE_METHODS };
        }
        let shared = SHARED_ROUTES.into_iter().find(|(shared, _)| *shared == path);
        shared.map_or(Self::Never, |(_, methods)| Self::Allowed { methods })
    }
}

/// What of a request decides about its answer.
#[derive(Debug)]
pub struct RequestOrigin {
    sharing: Sharing,
    is_upload: bool,
    is_preflight: bool,
    origin: Option<HeaderValue>,
    /// The page is this server's own.
    is_own: bool,
}

impl RequestOrigin {
    /// Of the request with this head.
    #[must_use]
    pub fn of<B>(request: &HttpRequest<B>) -> Self {
        let (path, headers) = (request.uri().path(), request.headers());
        let origin = headers.get(ORIGIN).cloned();
        let host = request.uri().authority().map(ToString::to_string);
        let host = host.or_else(|| Some(headers.get(HOST)?.to_str().ok()?.to_owned()));
        let is_own = origin.as_ref().zip(host).is_some_and(|(origin, host)| is_same_host(origin, &host));
        let asks = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Self {
            sharing: Sharing::of(path),
            is_upload: request.method() == Method::POST && path == UPLOAD_PATH,
            is_preflight: asks && origin.is_some(),
            origin,
            is_own,
        }
    }

    /// Whether a page of another origin asks.
    pub(super) fn is_foreign(&self) -> bool {
        self.origin.is_some() && !self.is_own
    }
}

/// Whether an origin is that of a server which is reached as `host`, whatever the scheme: a proxy may have spoken TLS.
fn is_same_host(origin: &HeaderValue, host: &str) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|text| Url::parse(text).ok()) else { return false };
    let Ok(host) = host.parse::<Authority>() else { return false };
    let host = Url::parse(&format!("{}://{host}", origin.scheme()));
    host.is_ok_and(|host| {
        origin.host().is_some()
            && origin.host() == host.host()
            && origin.port_or_known_default() == host.port_or_known_default()
    })
}

impl CrossOrigin {
    /// Leave for pages of the allowed origins.
    #[must_use]
    pub fn new(allowed: AllowedOrigins) -> Self {
        Self { allowed, told: Mutex::default() }
    }

    /// Refuses an upload from a page that could not read the answer, where pages that could are named. Where none is, the
    /// log says which setting does.
    fn check_upload(&self, request: &RequestOrigin) -> Result<(), Refusal> {
        let Some(origin) = request.origin.as_ref().filter(|_| request.is_upload && !request.is_own) else {
            return Ok(());
        };
        if self.allowed.contain(origin) {
            return Ok(());
        }
        if !self.allowed.is_empty() {
            return Err(Refusal::OriginNotAllowed);
        }
        self.tell_of(origin);
        Ok(())
    }

    fn tell_of(&self, origin: &HeaderValue) {
        let origin = cut(&String::from_utf8_lossy(origin.as_bytes()), ORIGIN_BYTES_MAX);
        let mut told = self.told.lock();
        if told.len() < TOLD_MAX && told.insert(origin.clone()) {
            warn!(
                "a page of {origin} uploads here and can't read the answer; PIXERVE_SERVER_CORS_ORIGINS lets it. This is \
                 logged once"
            );
        }
    }

    /// Puts into an answer what lets the page read it that asked.
    pub fn share(&self, request: &RequestOrigin, response: &mut Response) {
        let (leave, methods) = match request.sharing {
            Sharing::Never => return,
            Sharing::Public { methods } => (Some(ANY_ORIGIN), methods),
            Sharing::Allowed { methods } => {
                if self.allowed.depend_on_origin() {
                    response.headers_mut().append(VARY, HeaderValue::from_name(ORIGIN));
                }
                let origin = request.origin.as_ref().filter(|origin| self.allowed.contain(origin));
                let leave = |origin: &HeaderValue| {
                    if self.allowed.depend_on_origin() { origin.clone() } else { ANY_ORIGIN }
                };
                (origin.map(leave), methods)
            }
        };
        let Some(leave) = leave else { return };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, leave);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if request.is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}

/// Puts into every answer whether a page may read it.
pub(super) async fn cross_origin(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let origin = RequestOrigin::of(&request);
    let mut response = next.run(request).await;
    state.cross_origin.share(&origin, &mut response);
    response
}

/// Refuses uploads of pages that may not. Like every refusal, it counts for the address, and says what that has left.
pub(super) async fn check_origin(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match state.cross_origin.check_upload(&RequestOrigin::of(&request)) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(origin: &str, host: &str) -> bool {
        is_same_host(&HeaderValue::from_str(origin).expect("a header"), host)
    }

    #[test]
    fn an_origin_is_the_servers_own_if_host_and_port_are_whatever_the_scheme() {
        assert!(is_same("https://shop.example", "shop.example"));
        assert!(is_same("http://shop.example", "shop.example:80"));
        assert!(is_same("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(is_same("http://[::1]:8080", "[::1]:8080"));
        assert!(is_same("https://SHOP.example", "shop.EXAMPLE"));
        for (origin, host) in [
            ("https://shop.example", "shop.example:8080"),
            ("https://shop.example:8443", "shop.example"),
            ("https://shop.example", "other.example"),
            ("null", "null"),
            ("https://", ""),
            ("https://shop.example", "shop.example/path@other"),
        ] {
            assert!(!is_same(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn routes_of_operators_are_shared_with_nobody() {
        for path in
            ["/register", "/success/list", "/failures/list", "/health", "/version", "/uploads", "/files", "/private"]
        {
            assert_eq!(Sharing::of(path), Sharing::Never, "{path}");
        }
        assert!(matches!(Sharing::of("/files/a/b.jpg"), Sharing::Public { .. }));
        assert_eq!(Sharing::of("/private/0/a.jpg"), Sharing::Allowed { methods: "GET,HEAD" });
        assert_eq!(Sharing::of("/cancel"), Sharing::Allowed { methods: "DELETE" });
    }
}
