//! What `/register` is told about a store, and the way from there to a backend.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::{BackendSettings, KeyPrefix, StoreTimeouts};
use super::{GcsSettings, S3Settings, WriteError, WriterBackend, gcs, s3};
use crate::job::{BackendKind, ClaimErrors, Fields, enumerate};

/// A store of one kind, with its credentials.
///
/// Its `Serialize` shows the secrets: it is there for the register to seal, and for nothing else. `Debug` redacts them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum StorageSettings {
    /// [`BackendKind::S3`].
    S3(S3Settings),
    /// [`BackendKind::Gcs`].
    Gcs(GcsSettings),
}

impl StorageSettings {
    /// Reads the body of `/register` that has a `type`; `user` is left to the caller.
    ///
    /// # Errors
    /// Every bad, missing or unknown field, by its JSON Pointer into the body; or that this build can't write to such a
    /// store.
    pub fn from_request(body: &Value) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let Some(mut fields) = Fields::of(body, "", &mut errors) else { return Err(errors) };
        let kind = fields.take("type").and_then(Value::as_str);
        fields.take("user");
        let Some(kind) = kind.and_then(BackendKind::from_name) else {
            let kinds = BackendKind::ALL.map(|kind| format!("`{}`", kind.as_str()));
            errors.push("/type", format!("must be {}", enumerate(kinds, "or")));
            return Err(errors);
        };
        if let Some(why) = kind.why_missing() {
            errors.push("/type", why);
            return Err(errors);
        }
        let settings = match kind {
            BackendKind::S3 => S3Settings::from_fields(&mut fields, &mut errors).map(Self::S3),
            BackendKind::Gcs => GcsSettings::from_fields(&mut fields, &mut errors).map(Self::Gcs),
        };
        fields.refuse_unknown(&mut errors);
        match settings {
            Some(settings) => errors.or(settings),
            None => Err(errors),
        }
    }

    /// The JSON Schemas of what [`from_request`](Self::from_request) reads in this build, by names for a description.
    #[must_use]
    pub fn schemas() -> Vec<(&'static str, Value)> {
        let known = BackendKind::ALL.into_iter().filter(|kind| kind.info().built_in);
        let schemas = known.map(|kind| {
            let (name, mut schema) = match kind {
                BackendKind::S3 => ("S3Store", S3Settings::schema()),
                BackendKind::Gcs => ("GcsStore", GcsSettings::schema()),
            };
            schema["type"] = "object".into();
            schema["properties"]["type"] = json!({ "const": kind.as_str() });
            match &mut schema["required"] {
                Value::Array(required) => required.push(json!("type")),
                none => *none = json!(["type"]),
            }
            schema["additionalProperties"] = false.into();
            (name, schema)
        });
        schemas.collect()
    }

    /// What kind of store it is.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        self.settings().kind()
    }

    /// A client for the store. It holds connections, so it is worth keeping.
    ///
    /// # Errors
    /// If the credentials can't be used as they are, TLS can't be set up, or this build can't write to such a store;
    /// nothing is sent yet.
    pub fn connect(&self, timeouts: &StoreTimeouts) -> Result<Arc<dyn WriterBackend>, WriteError> {
        match self {
            Self::S3(settings) => s3::connect(settings, timeouts),
            Self::Gcs(settings) => gcs::connect(settings, timeouts),
        }
    }

    /// Everything, secrets included, as text for the register to seal.
    #[must_use]
    pub fn expose_for_sealing(&self) -> SecretString {
        SecretString::from(serde_json::to_string(self).expect("INVARIANT: these settings are strings and flags"))
    }

    /// What the register unsealed; `None` if it is not settings of a store.
    #[must_use]
    pub fn from_sealed(text: &SecretString) -> Option<Self> {
        serde_json::from_str(text.expose_secret()).ok()
    }

    /// What may be listed: no secret.
    #[must_use]
    pub fn summary(&self) -> Value {
        self.settings().summary()
    }

    /// Which store it is, whoever's credentials these are: kind, endpoint and bucket. No secret.
    #[must_use]
    pub fn place(&self) -> String {
        self.settings().place()
    }

    /// The bucket's name, and what every key starts with.
    #[must_use]
    pub fn bucket(&self) -> (&str, &KeyPrefix) {
        self.settings().bucket()
    }

    fn settings(&self) -> &dyn BackendSettings {
        match self {
            Self::S3(settings) => settings,
            Self::Gcs(settings) => settings,
        }
    }
}
