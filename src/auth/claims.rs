//! What a token with a good signature must say.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{AuthError, AuthSettings};
use crate::clock::Timestamp;

const SUB_BYTES_MAX: usize = 256;
/// The end of the year 9999, the last that RFC 3339 can write.
const DATE_MAX_S: u64 = 253_402_300_799;

/// What the registered claims say.
pub(super) struct Checked {
    pub(super) sub: String,
    pub(super) expires_at: Timestamp,
    /// When no server takes the token any more.
    pub(super) good_until: Timestamp,
}

/// Checks the registered claims.
pub(super) fn check(
    claims: &Map<String, Value>,
    settings: &AuthSettings,
    now: Timestamp,
) -> Result<Checked, AuthError> {
    let sub = subject(claims)?.to_owned();
    let (expires_at, good_until) = check_times(claims, settings, now)?;
    check_issuer(claims, settings)?;
    check_audience(claims, settings)?;
    Ok(Checked { sub, expires_at, good_until })
}

fn subject(claims: &Map<String, Value>) -> Result<&str, AuthError> {
    let claim = "sub";
    let value = claims.get(claim).ok_or(AuthError::MissingClaim { claim })?;
    value
        .as_str()
        .filter(|sub| is_subject(sub))
        .ok_or(AuthError::BadClaim { claim, expected: "must be a string of 1 to 256 bytes without control characters" })
}

/// Whether `sub` may be a subject.
pub(super) fn is_subject(sub: &str) -> bool {
    (1..=SUB_BYTES_MAX).contains(&sub.len()) && !sub.chars().any(char::is_control)
}

/// When the token expires, and when it is taken no more.
fn check_times(
    claims: &Map<String, Value>,
    settings: &AuthSettings,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), AuthError> {
    let exp = date(claims, "exp")?.ok_or(AuthError::MissingClaim { claim: "exp" })?;
    let iat = date(claims, "iat")?.ok_or(AuthError::MissingClaim { claim: "iat" })?;
    let nbf = date(claims, "nbf")?;
    if exp <= iat {
        return Err(AuthError::BadClaim { claim: "exp", expected: "must be after `iat`" });
    }
    if exp.since(iat) > settings.lifetime_max {
        return Err(AuthError::LivesTooLong { max: settings.lifetime_max });
    }
    let good_until = exp.after(settings.leeway);
    if good_until <= now {
        return Err(AuthError::Expired { since: exp });
    }
    for (claim, at) in [("iat", Some(iat)), ("nbf", nbf)] {
        if let Some(at) = at.filter(|at| *at > now.after(settings.leeway)) {
            return Err(AuthError::NotYet { claim, at });
        }
    }
    Ok((exp, good_until))
}

/// A date: seconds since the epoch, with or without a fraction, as RFC 7519 has it.
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, AuthError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let since_epoch = match value.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    since_epoch
        .filter(|since| since.as_secs() <= DATE_MAX_S)
        .map(|since| Some(Timestamp::default().after(since)))
        .ok_or(AuthError::BadClaim { claim, expected: "must be a number: seconds since 1970, before the year 10000" })
}

fn check_issuer(claims: &Map<String, Value>, settings: &AuthSettings) -> Result<(), AuthError> {
    let Some(expected) = settings.issuer.as_deref() else { return Ok(()) };
    let claim = "iss";
    match claims.get(claim) {
        None => Err(AuthError::MissingClaim { claim }),
        Some(Value::String(issuer)) if issuer == expected => Ok(()),
        Some(_) => Err(AuthError::BadClaim { claim, expected: "is not the issuer that this server trusts" }),
    }
}

fn check_audience(claims: &Map<String, Value>, settings: &AuthSettings) -> Result<(), AuthError> {
    let Some(expected) = settings.audience.as_deref() else { return Ok(()) };
    let claim = "aud";
    let named = match claims.get(claim) {
        None => return Err(AuthError::MissingClaim { claim }),
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == expected),
        Some(audience) => audience == expected,
    };
    if named { Ok(()) } else { Err(AuthError::BadClaim { claim, expected: "doesn't name this server" }) }
}
