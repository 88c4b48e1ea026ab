//! What is registered about a bucket of Google Cloud Storage.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use url::Url;

use crate::job::{BackendKind, ClaimErrors, Fields};
use crate::writer::settings::{
    BackendSettings, KeyPrefix, PublicBase, any, bucket, cache_control, common_schemas, endpoint, first, just_one,
    listed, prefix, spellings,
};

const ACCOUNT_RULE: &str =
    "must be a service account's key: the JSON that Google hands out, as an object, as a string, or as base64 of it";
const ACCOUNT_BYTES_MAX: usize = 64 * 1024;

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GcsSettings {
    /// Its name.
    pub bucket: String,
    /// A service account's key, as the JSON that Google hands out; none for an emulator.
    #[serde(serialize_with = "expose_optional")]
    pub credentials: Option<SecretString>,
    /// Where the store is; none means Google.
    pub endpoint: Option<Url>,
    /// What every key starts with.
    #[serde(default)]
    pub prefix: KeyPrefix,
    /// Where browsers get what is in it; none if they don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicBase>,
    /// The `Cache-Control` of objects that may be written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
}

impl BackendSettings for GcsSettings {
    fn kind(&self) -> BackendKind {
        BackendKind::Gcs
    }

    fn from_fields(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Self> {
        let bucket = bucket(fields, errors);
        let (name, account) = first(fields, &["credentials", "credentialsJSON"], errors);
        let pointer = fields.pointer(name);
        let credentials = account.and_then(|value| service_account(value, &pointer, errors));
        let endpoint = endpoint(fields, errors);
        let prefix = prefix(fields, errors);
        let public_url = PublicBase::take(fields, errors);
        if account.is_none() && endpoint.is_none() {
            let exception = "Only an `endpoint` that is an emulator needs none";
            errors.push(pointer, format!("is missing; it {ACCOUNT_RULE}. {exception}"));
        }
        let cache_control = cache_control(fields, errors);
        Some(Self { bucket: bucket?, credentials, endpoint, prefix, public_url, cache_control })
    }

    fn schema() -> Value {
        let mut fields = common_schemas();
        let account = json!({
            "type": "object",
            "required": ["type", "client_email", "private_key"],
            "properties": {
                "type": { "const": "service_account" },
                "client_email": { "type": "string", "pattern": "@" },
                "private_key": { "type": "string", "pattern": "^-----BEGIN " },
            },
        });
        let text = json!({ "type": "string", "description": "The same as JSON in a string, or as base64 of that." });
        let credentials = json!({
            "description": "A service account's key, as Google hands it out; only an `endpoint` that is an emulator needs none.",
            "anyOf": [account, text],
        });
        fields.extend(spellings(&["credentials", "credentialsJSON"], &credentials));
        json!({
            "description": "A bucket of Google Cloud Storage.",
            "properties": fields,
            "allOf": [
                just_one(&["bucket", "bucket_name"]),
                any(&["credentials", "credentialsJSON", "endpoint"]),
                { "not": { "allOf": [any(&["credentials"]), any(&["credentialsJSON"])] } },
            ],
        })
    }

    fn summary(&self) -> Value {
        json!({
            "bucket": self.bucket, "endpoint": self.endpoint, "prefix": self.prefix,
            "public_url": listed(self.public_url.as_ref()), "cache_control": self.cache_control,
        })
    }

    fn bucket(&self) -> (&str, &KeyPrefix) {
        (&self.bucket, &self.prefix)
    }

    fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("gcs bucket {} at {endpoint}", self.bucket),
            None => format!("gcs bucket {}", self.bucket),
        }
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn expose_optional<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// A service account's key in any of the three shapes, as the text of its JSON.
fn service_account(value: &Value, pointer: &str, errors: &mut ClaimErrors) -> Option<SecretString> {
    let parsed = match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.len() <= ACCOUNT_BYTES_MAX => from_text(text),
        _ => None,
    };
    let Some(Value::Object(account)) = parsed else {
        errors.push(pointer, ACCOUNT_RULE);
        return None;
    };
    let mut ok = true;
    let mut demand = |name: &str, rule: &str, holds: &dyn Fn(&str) -> bool| {
        if !account.get(name).and_then(Value::as_str).is_some_and(holds) {
            errors.push(format!("{pointer}/{name}"), rule);
            ok = false;
        }
    };
    demand("type", "must be `service_account`", &|text| text == "service_account");
    demand("client_email", "must be the service account's address", &|text| text.contains('@'));
    demand("private_key", "must be a private key in PEM", &|text| text.starts_with("-----BEGIN "));
    ok.then(|| SecretString::from(Value::Object(account).to_string()))
}

fn from_text(text: &str) -> Option<Value> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    // What `base64` prints has line ends in it. The URL-safe alphabet has other signs for the last two.
    let standard = |c| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    };
    let packed: String = text.split_ascii_whitespace().flat_map(str::chars).map(standard).collect();
    serde_json::from_slice(&BASE64.decode(packed).ok()?).ok()
}
