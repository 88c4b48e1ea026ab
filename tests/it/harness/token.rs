//! Tokens as a client's own code would make them.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pixerve::clock::{Clock, System};
use serde_json::{Value, json};

/// The secret of the test servers' only key.
pub(crate) const SECRET: &str = "a secret for tests, long enough to be taken";

/// The claims of a token, good unless changed.
#[derive(Clone)]
pub(crate) struct Claims {
    values: Value,
    kid: Option<String>,
    secret: String,
}

impl Claims {
    pub(crate) fn of(sub: &str) -> Self {
        let now = now();
        let values = json!({ "iss": "test", "sub": sub, "iat": now, "exp": now + 3600 });
        Self { values, kid: None, secret: SECRET.to_owned() }
    }

    pub(crate) fn job(mut self, job: Value) -> Self {
        self.values["job"] = job;
        self
    }

    pub(crate) fn admin(self) -> Self {
        self.with("scope", json!("admin"))
    }

    pub(crate) fn with(mut self, claim: &str, value: Value) -> Self {
        self.values[claim] = value;
        self
    }

    /// Signed by a registered user.
    pub(crate) fn by(mut self, access_key: &str, secret: &str) -> Self {
        self.kid = Some(access_key.to_owned());
        secret.clone_into(&mut self.secret);
        self
    }

    /// Signed with another secret, without a `kid`.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    pub(crate) fn sign(&self) -> String {
        let header = Header { kid: self.kid.clone(), ..Header::new(Algorithm::HS256) };
        encode(&header, &self.values, &EncodingKey::from_secret(self.secret.as_bytes())).expect("a token")
    }
}

pub(crate) fn now() -> u64 {
    System::new().now().as_secs()
}
