//! `GET /demo-token`: with `--demo`, a token for the page, so that whoever tries the server needs none of their own.
//!
//! Whoever has it may upload, or watch what was uploaded with others of its kind. It is for those who sit at the server's own machine: pages of this server's own and programs, on
//! loopback, without a proxy between them and the server. A page elsewhere whose name was made to mean this machine (DNS
//! rebinding) still says that name in `Host`. A proxy on this machine that hides that it is one can't be told from them:
//! `--demo` is not for servers that others reach.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{FORWARDED, HOST, VIA};
use axum::http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};
use utoipa::{IntoParams, ToSchema};

use super::extract::Parameters;
use super::problem::refusals;
use super::upload::{allowed_job, merged_job};
use super::{AppState, Peer, Refusal, RequestOrigin};
use crate::auth::{NewToken, Scope, SignError};
use crate::job::{ClaimErrors, JobId};

/// Whose jobs they are.
const SUBJECT: &str = "demo";
const TTL: Duration = Duration::from_hours(1);

/// What proxies say of whom they speak for, beside `Forwarded` and `Via`.
const FORWARDED_PREFIX: &str = "x-forwarded-";
const FORWARDED_OTHERS: [&str; 5] =
    ["x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"];

/// What browsers say of where a request comes from, that of another page aside.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
const OWN_SITES: [&str; 2] = ["same-origin", "none"];

/// What the token is to be good for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DemoQuery {
    /// A `Job`, as JSON, for an upload; without it, a small one.
    #[param(nullable = false)]
    job: Option<String>,
    /// In place of an upload: to list the demo's jobs, run them again and erase them.
    #[param(inline, value_type = DemoScope, required = false)]
    scope: Option<String>,
}

/// The scopes that the demo grants: its own owner's jobs, and no further.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "`DemoQuery` takes it as a word; here is which there are")]
enum DemoScope {
    Manage,
}

/// A token, and what it says.
#[derive(Serialize, ToSchema)]
pub(super) struct DemoToken {
    token: String,
    #[schema(format = "date-time")]
    expires_at: String,
    /// The job that it carries, if it is for an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    job: Option<Value>,
}

refusals!(DemoRefusals: BadRequest, InvalidFields, NotLocal, NotFound);

/// A token for the page, in the demo
///
/// There with `pixerve serve --demo` alone, for whoever is on the server's own machine. A job that an upload would be refused
/// for is refused here, with the same words. One that goes with an upload carries no scope, and one with a scope no job: neither does
/// what the other is for.
#[utoipa::path(
    get, path = "/demo-token", tag = "Server", params(DemoQuery),
    responses((status = 200, description = "A token of one hour.", body = DemoToken), DemoRefusals)
)]
pub(super) async fn demo_token(
    State(state): State<AppState>,
    Parameters(query): Parameters<DemoQuery>,
    request: Request,
) -> Result<Json<DemoToken>, Refusal> {
    if !state.is_demo {
        return Err(Refusal::nothing_here());
    }
    if !is_local(&request) {
        return Err(Refusal::NotLocal);
    }
    let given = |parameter: Option<String>| parameter.filter(|text| !text.is_empty());
    let (job, scope) = match (given(query.job), given(query.scope).as_deref()) {
        (None, Some("manage")) => (None, Some(Scope::Manage)),
        (None, Some(_)) => return Err(Refusal::BadRequest("`scope` must be manage: the demo grants no other".into())),
        (Some(_), Some(_)) => return Err(Refusal::BadRequest("`job` and `scope` don't go together".into())),
        (None, None) => (Some(default_job()), None),
        (Some(text), None) => {
            let parsed = serde_json::from_str(&text);
            (Some(parsed.map_err(|error| Refusal::BadRequest(format!("`job` is not JSON: {error}")))?), None)
        }
    };
    let is_good_once = match &job {
        Some(job) => allowed_job(&state, merged_job(&state, Some(job), None), None)?.0.once,
        None => false,
    };
    let (now, ttl) = (state.clock.now(), TTL.min(state.auth.lifetime_max()));
    let jti = is_good_once.then(|| JobId::new(now).to_string());
    let token = NewToken { sub: SUBJECT.to_owned(), scope, read: None, ttl, jti, job: job.clone() };
    let token = state.auth.sign(&token, now).map_err(|error| refusal(&error))?;
    Ok(Json(DemoToken { token, expires_at: now.after(ttl).rfc3339(), job }))
}

/// What the page begins with.
fn default_job() -> Value {
    json!({
        "formats": {"avif": {}, "webp": {}, "jpg": {}},
        "sizes": [[1600], [800], [400]],
        "directHost": true,
    })
}

fn refusal(error: &SignError) -> Refusal {
    if let SignError::TooLong { .. } = error {
        let mut errors = ClaimErrors::default();
        errors.push("/job", error.to_string());
        return Refusal::BadFields(errors);
    }
    Refusal::Internal(format!("signing the demo's token: {error}"))
}

fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>();
    let is_loopback = peer.is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback());
    is_loopback
        && !is_forwarded(headers)
        && names_loopback(request)
        && !RequestOrigin::of(request).is_foreign()
        && headers.get_all(SEC_FETCH_SITE).iter().all(|site| OWN_SITES.iter().any(|own| site == own))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        [FORWARDED, VIA].contains(name) || text.starts_with(FORWARDED_PREFIX) || FORWARDED_OTHERS.contains(&text)
    })
}

/// Whether the request says that it is for this machine, wherever it says for whom it is.
fn names_loopback(request: &Request) -> bool {
    let in_target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut named = in_target.into_iter().chain(request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes));
    // One at least: nobody means nothing.
    let mut is_named = false;
    named.all(|host| {
        is_named = true;
        std::str::from_utf8(host).is_ok_and(is_loopback_name)
    }) && is_named
}

/// `localhost`, or an address of this machine's own.
fn is_loopback_name(host: &str) -> bool {
    match Url::parse(&format!("http://{host}")).as_ref().map(Url::host) {
        Ok(Some(Host::Domain(name))) => name == "localhost",
        Ok(Some(Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(Host::Ipv6(address))) => address.to_canonical().is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Body;

    use super::*;

    fn asks(peer: &str, target: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        let peer: SocketAddr = peer.parse().expect("an address");
        request.extensions_mut().insert(Peer(peer));
        is_local(&request)
    }

    #[test]
    fn pages_and_programs_of_this_machine_are_local() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.9.9.9", "[::ffff:127.0.0.1]"] {
            assert!(asks("127.0.0.1:5", "/demo-token", &[("host", host)]), "{host}");
        }
        let own = [("host", "localhost:8080"), ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
        assert!(asks("[::1]:5", "/demo-token", &own));
        assert!(asks("[::ffff:127.0.0.1]:5", "/demo-token", &[("host", "localhost")]));
        assert!(asks("127.0.0.1:5", "http://localhost:8080/demo-token", &[]), "as HTTP/2 says it");
    }

    #[test]
    fn names_and_addresses_of_others_are_not() {
        for host in [
            "pixerve.example:8080",
            "192.0.2.7:8080",
            "0.0.0.0:8080",
            "[::]:8080",
            "localhost.example",
            "localhost@pixerve.example",
            "127.0.0.1.example",
            "a.localhost",
            "",
        ] {
            assert!(!asks("127.0.0.1:5", "/demo-token", &[("host", host)]), "{host:?}");
        }
        assert!(!asks("127.0.0.1:5", "/demo-token", &[]), "no host at all");
        assert!(!asks("127.0.0.1:5", "http://pixerve.example/demo-token", &[("host", "localhost")]));
        assert!(!asks("127.0.0.1:5", "/demo-token", &[("host", "localhost"), ("host", "pixerve.example")]));
        assert!(!asks("192.0.2.7:5", "/demo-token", &[("host", "localhost")]));
    }

    #[test]
    fn what_a_proxy_passed_on_or_another_page_asks_for_is_not() {
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "localhost"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("origin", "https://pixerve.example"),
            ("origin", "http://localhost:9090"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(
                !asks("127.0.0.1:5", "/demo-token", &[("host", "localhost:8080"), (name, value)]),
                "{name}: {value}"
            );
        }
    }
}
