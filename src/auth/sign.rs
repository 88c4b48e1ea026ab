//! Making tokens, for the command line and for tests.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::settings::TOKEN_BYTES_MAX;
use super::{Authenticator, ReadPaths, Scope, claims};
use crate::clock::Timestamp;

/// What a new token is to say.
#[derive(Clone, Debug, PartialEq)]
pub struct NewToken {
    /// Its `sub`: the owner of what it uploads.
    pub sub: String,
    /// What it may do besides uploading and cancelling.
    pub scope: Option<Scope>,
    /// The private files that it reads, if it is good for nothing else.
    pub read: Option<ReadPaths>,
    /// How long it is valid, in whole seconds.
    pub ttl: Duration,
    /// Its `jti`, which tells it from every other.
    pub jti: Option<String>,
    /// The `job` claim.
    pub job: Option<Value>,
}

/// Why a token can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// All keys are public ones.
    #[error("no key of jwt.json can sign: one with a `secret` or a `private_key_pem` is needed")]
    NoSigningKey,
    /// No server would take it.
    #[error("a token's subject must have 1 to 256 bytes and no control characters")]
    BadSubject,
    /// No server would take it.
    #[error("a token must live for 1 s to {} s", .max.as_secs())]
    BadLifetime {
        /// The most it may live.
        max: Duration,
    },
    /// No server would take it.
    #[error("the token would have {bytes} bytes, and may have {max}: the job, or what it reads, is too large")]
    TooLong {
        /// How many it would have.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
}

impl Authenticator {
    /// How long a token may live.
    #[must_use]
    pub fn lifetime_max(&self) -> Duration {
        self.settings.lifetime_max
    }

    /// A token that [`Authenticator::verify`] takes from `now` on, signed by the first key that can sign.
    ///
    /// # Errors
    /// If no key can, or no server with these settings would take the token.
    pub fn sign(&self, token: &NewToken, now: Timestamp) -> Result<String, SignError> {
        let keys = self.keys();
        let signer = keys.signing().ok_or(SignError::NoSigningKey)?;
        let claims = self.new_claims(token, now)?;
        let mut header = json!({"alg": signer.key.algorithm().as_str(), "typ": "JWT"});
        if let Some(kid) = &signer.kid {
            header["kid"] = json!(kid);
        }
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(Value::Object(claims)));
        let signature = signer.key.sign(message.as_bytes()).ok_or(SignError::NoSigningKey)?;
        let token = format!("{message}.{signature}");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(SignError::TooLong { bytes: token.len(), max: TOKEN_BYTES_MAX });
        }
        Ok(token)
    }

    fn new_claims(&self, token: &NewToken, now: Timestamp) -> Result<Map<String, Value>, SignError> {
        if !claims::is_subject(&token.sub) {
            return Err(SignError::BadSubject);
        }
        let max = self.settings.lifetime_max;
        if token.ttl.as_secs() == 0 || token.ttl > max {
            return Err(SignError::BadLifetime { max });
        }
        let mut claims = Map::new();
        if let Some(issuer) = self.settings.issuer.as_deref() {
            claims.insert("iss".to_owned(), json!(issuer));
        }
        if let Some(audience) = self.settings.audience.as_deref() {
            claims.insert("aud".to_owned(), json!(audience));
        }
        claims.insert("sub".to_owned(), json!(token.sub));
        claims.insert("iat".to_owned(), json!(now.as_secs()));
        claims.insert("exp".to_owned(), json!(now.as_secs().saturating_add(token.ttl.as_secs())));
        if let Some(scope) = token.scope {
            claims.insert("scope".to_owned(), json!(scope.word()));
        }
        if let Some(read) = &token.read {
            claims.insert("read".to_owned(), read.to_claim());
        }
        if let Some(jti) = &token.jti {
            claims.insert("jti".to_owned(), json!(jti));
        }
        if let Some(job) = &token.job {
            claims.insert("job".to_owned(), job.clone());
        }
        Ok(claims)
    }
}
