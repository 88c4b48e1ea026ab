//! Tokens as a client's own code would make them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of the test servers' only key.
pub(crate) const SECRET: &str = "a secret for tests, long enough to be taken";

/// The claims of a token, good unless changed.
#[derive(Clone)]
pub(crate) struct Claims {
    pub(crate) claims: Value,
    kid: Option<String>,
    secret: String,
}

impl Claims {
    pub(crate) fn of(sub: &str) -> Self {
        let now = now();
        let claims = json!({ "iss": "test", "sub": sub, "iat": now, "exp": now + 3600 });
        Self { claims, kid: None, secret: SECRET.to_owned() }
    }

    pub(crate) fn job(mut self, job: Value) -> Self {
        self.claims["job"] = job;
        self
    }

    pub(crate) fn admin(self) -> Self {
        self.with("scope", json!("admin"))
    }

    pub(crate) fn with(mut self, claim: &str, value: Value) -> Self {
        self.claims[claim] = value;
        self
    }

    /// Signed by a registered user.
    pub(crate) fn by(mut self, access_key: &str, secret: &str) -> Self {
        self.kid = Some(access_key.to_owned());
        self.secret = secret.to_owned();
        self
    }

    pub(crate) fn sign(&self) -> String {
        let header = Header { kid: self.kid.clone(), ..Header::new(Algorithm::HS256) };
        encode(&header, &self.claims, &EncodingKey::from_secret(self.secret.as_bytes())).expect("a token")
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
