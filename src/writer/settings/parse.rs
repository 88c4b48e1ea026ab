//! From the body of `/register` to settings, noting everything that is wrong with it. No message shows a value, since
//! any of them may be a secret that ended up in the wrong field.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::{GcsSettings, KeyPrefix, S3Settings, StorageSettings};
use crate::job::{ClaimErrors, Fields};

const BUCKET_RULE: &str =
    "must be 3 to 222 of [A-Za-z0-9._-], starting and ending with a letter or digit, without `..`";
const ENDPOINT_RULE: &str =
    "must be an http:// or https:// URL of at most 2,048 bytes, without credentials, query and fragment";
const ACCOUNT_RULE: &str =
    "must be a service account's key: the JSON that Google hands out, as an object, as a string, or as base64 of it";

const URL_BYTES_MAX: usize = 2 * 1024;
const CREDENTIAL_BYTES_MAX: usize = 1024;
const ACCOUNT_BYTES_MAX: usize = 64 * 1024;

impl StorageSettings {
    /// Reads the body of `/register` with a `type` of `s3` or `gcs`; `user` is left to the caller.
    ///
    /// # Errors
    /// Every bad, missing or unknown field, by its JSON Pointer into the body.
    pub fn from_request(body: &Value) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let Some(mut fields) = Fields::of(body, "", &mut errors) else { return Err(errors) };
        let kind = fields.take("type").and_then(Value::as_str);
        fields.take("user");
        let settings = match kind {
            Some("s3") => s3(&mut fields, &mut errors).map(Self::S3),
            Some("gcs") => gcs(&mut fields, &mut errors).map(Self::Gcs),
            _ => {
                errors.push("/type", "must be `s3` or `gcs`");
                return Err(errors);
            }
        };
        fields.refuse_unknown(&mut errors);
        match settings {
            Some(settings) => errors.or(settings),
            None => Err(errors),
        }
    }
}

fn s3(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<S3Settings> {
    let bucket = bucket(fields, errors);
    let region = required(fields, &["region"], errors, "must be a region's name, such as `eu-central-1`", is_region);
    let id_rule = "must be 1 to 1,024 printable ASCII characters without a space, `/` or `,`";
    let access_key_id = required(fields, &["access_key_id", "accessKey"], errors, id_rule, is_access_key_id);
    let secret_rule = "must be 1 to 1,024 printable ASCII characters without a space";
    let secret_access_key = required(fields, &["secret_access_key", "secretKey"], errors, secret_rule, is_credential);
    let endpoint = endpoint(fields, errors);
    let prefix = prefix(fields, errors);
    let path_style = fields.take("path_style").and_then(|value| {
        if !value.is_boolean() {
            errors.push(fields.pointer("path_style"), "must be true or false");
        }
        value.as_bool()
    });
    Some(S3Settings {
        bucket: bucket?,
        region: region?.to_owned(),
        access_key_id: access_key_id?.to_owned(),
        secret_access_key: SecretString::from(secret_access_key?),
        endpoint,
        prefix,
        path_style,
    })
}

fn gcs(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<GcsSettings> {
    let bucket = bucket(fields, errors);
    let (name, account) = first(fields, &["credentials", "credentialsJSON"]);
    let pointer = fields.pointer(name);
    let credentials = account.and_then(|value| service_account(value, &pointer, errors));
    let endpoint = endpoint(fields, errors);
    let prefix = prefix(fields, errors);
    if account.is_none() && endpoint.is_none() {
        errors
            .push(pointer, format!("is missing; it {ACCOUNT_RULE}. Only an `endpoint` that is an emulator needs none"));
    }
    Some(GcsSettings { bucket: bucket?, credentials, endpoint, prefix })
}

/// The first of `names` that has a value, for a field with more than one spelling; the first spelling if none has.
fn first<'a>(fields: &mut Fields<'a>, names: &[&'static str]) -> (&'static str, Option<&'a Value>) {
    let mut found = (names[0], None);
    for &name in names {
        let value = fields.take(name);
        if found.1.is_none() && value.is_some() {
            found = (name, value);
        }
    }
    found
}

/// A string that must be there and be `ok`.
fn required<'a>(
    fields: &mut Fields<'a>,
    names: &[&'static str],
    errors: &mut ClaimErrors,
    rule: &str,
    ok: impl FnOnce(&str) -> bool,
) -> Option<&'a str> {
    let (name, value) = first(fields, names);
    let Some(value) = value else {
        errors.push(fields.pointer(name), format!("is missing; it {rule}"));
        return None;
    };
    let text = value.as_str().filter(|text| ok(text));
    if text.is_none() {
        errors.push(fields.pointer(name), rule);
    }
    text
}

fn bucket(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<String> {
    required(fields, &["bucket", "bucket_name"], errors, BUCKET_RULE, is_bucket).map(str::to_owned)
}

fn endpoint(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Url> {
    let value = fields.take("endpoint")?;
    let url = value.as_str().filter(|text| text.len() <= URL_BYTES_MAX).and_then(|text| Url::parse(text).ok()).filter(
        |url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        },
    );
    if url.is_none() {
        errors.push(fields.pointer("endpoint"), ENDPOINT_RULE);
    }
    url
}

fn prefix(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> KeyPrefix {
    let Some(value) = fields.take("prefix") else { return KeyPrefix::default() };
    value.as_str().and_then(KeyPrefix::parse).unwrap_or_else(|| {
        errors.push(fields.pointer("prefix"), KeyPrefix::RULE);
        KeyPrefix::default()
    })
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
    // What `base64` prints has line ends in it.
    let packed: String = text.split_ascii_whitespace().collect();
    serde_json::from_slice(&BASE64_STANDARD.decode(packed).ok()?).ok()
}

fn is_bucket(text: &str) -> bool {
    let ends_ok = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (3..=222).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && ends_ok(text.chars().next())
        && ends_ok(text.chars().last())
        && !text.contains("..")
}

fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_credential(text: &str) -> bool {
    (1..=CREDENTIAL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The id goes into the signature's scope, where `/` and `,` separate.
fn is_access_key_id(text: &str) -> bool {
    is_credential(text) && !text.contains(['/', ','])
}

#[cfg(test)]
mod tests;
