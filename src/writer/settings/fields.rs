//! The fields that several kinds of store read from the body of `/register`. No message shows a value, since any of them
//! may be a secret that ended up in the wrong field.

use serde_json::{Map, Value, json};
use url::Url;

use super::KeyPrefix;
use crate::bucket::rules;
use crate::job::{ClaimErrors, Fields, optional};

const BUCKET_RULE: &str =
    "must be 3 to 222 of [A-Za-z0-9._-], starting and ending with a letter or digit, without `..`";
const CACHE_CONTROL_BYTES_MAX: usize = 200;
const CACHE_CONTROL_RULE: &str = "must be at most 200 printable ASCII characters, such as `public, max-age=3600`";
const ENDPOINT_RULE: &str =
    "must be an http:// or https:// URL of at most 2,048 bytes, without credentials, query and fragment";

/// The one of `names` that has a value, for a field with more than one spelling; the first spelling if none has. A second
/// one that has a value too is an error: which of them was meant?
pub(in crate::writer) fn first<'a>(
    fields: &mut Fields<'a>,
    names: &[&'static str],
    errors: &mut ClaimErrors,
) -> (&'static str, Option<&'a Value>) {
    let mut found = (names[0], None);
    for &name in names {
        match (found.1, fields.take(name)) {
            (None, Some(value)) => found = (name, Some(value)),
            (Some(_), Some(_)) => {
                errors.push(fields.pointer(name), format!("is another spelling of `{}`, which is there too", found.0));
            }
            (_, None) => {}
        }
    }
    found
}

/// A string that must be there and be `ok`.
pub(in crate::writer) fn required<'a>(
    fields: &mut Fields<'a>,
    names: &[&'static str],
    errors: &mut ClaimErrors,
    rule: &str,
    ok: impl FnOnce(&str) -> bool,
) -> Option<&'a str> {
    let (name, value) = first(fields, names, errors);
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

pub(in crate::writer) fn bucket(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<String> {
    required(fields, &["bucket", "bucket_name"], errors, BUCKET_RULE, rules::is_bucket).map(str::to_owned)
}

pub(in crate::writer) fn endpoint(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Url> {
    let value = fields.take("endpoint")?;
    let url = value.as_str().and_then(rules::endpoint);
    if url.is_none() {
        errors.push(fields.pointer("endpoint"), ENDPOINT_RULE);
    }
    url
}

pub(in crate::writer) fn prefix(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> KeyPrefix {
    let Some(value) = fields.take("prefix") else { return KeyPrefix::default() };
    value.as_str().and_then(KeyPrefix::parse).unwrap_or_else(|| {
        errors.push(fields.pointer("prefix"), KeyPrefix::RULE);
        KeyPrefix::default()
    })
}

/// What is stored as `Cache-Control` beside objects that may be written again.
pub(in crate::writer) fn cache_control(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<String> {
    let value = fields.take("cache_control")?;
    let is_header = |text: &&str| {
        text.len() <= CACHE_CONTROL_BYTES_MAX
            && text.bytes().all(|b| matches!(b, b' '..=b'~'))
            && !text.trim().is_empty()
    };
    let text = value.as_str().filter(is_header);
    if text.is_none() {
        errors.push(fields.pointer("cache_control"), CACHE_CONTROL_RULE);
    }
    // Stores sign a header without the blanks around it, or refuse it.
    text.map(|text| text.trim().to_owned())
}

/// The JSON Schemas of the fields above, by their names.
pub(in crate::writer) fn common_schemas() -> Map<String, Value> {
    let mut schemas = spellings(
        &["bucket", "bucket_name"],
        &json!({
            "type": "string",
            "pattern": r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]$",
            "description": "The bucket's name.",
        }),
    );
    let mut add = |name: &str, description: &str, schema: Value| {
        let mut optional = optional(schema);
        optional["description"] = description.into();
        schemas.insert(name.to_owned(), optional);
    };
    let url = json!({ "type": "string", "format": "uri", "pattern": r"^https?://[^/?#@\s]+[^?#@\s]*$", "maxLength": rules::URL_BYTES_MAX });
    add("endpoint", "Where the store is, if it is not its maker's own.", url.clone());
    add("public_url", "Where browsers get what is in it, such as a CDN: the key is appended.", url);
    add("prefix", "What every key starts with.", json!({ "type": "string", "pattern": KeyPrefix::PATTERN }));
    add(
        "cache_control",
        "The `Cache-Control` of every object of a job that isn't `unique`.",
        json!({ "type": "string", "pattern": "^(?=.*[!-~])[ -~]{1,200}$" }),
    );
    let user = "The registered user, by name or access key, whose tokens alone may name the store.";
    schemas.insert("user".to_owned(), json!({ "type": ["string", "null"], "description": user }));
    schemas
}

/// One schema for each spelling of a field; that it is needed in one of them, is for [`just_one`] to say.
pub(in crate::writer) fn spellings(names: &[&str], schema: &Value) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), optional(schema.clone()))).collect()
}

/// That one of these fields has a value, and no other has.
pub(in crate::writer) fn just_one(names: &[&str]) -> Value {
    json!({ "oneOf": with_values(names) })
}

/// That any of these fields has a value.
pub(in crate::writer) fn any(names: &[&str]) -> Value {
    json!({ "anyOf": with_values(names) })
}

fn with_values(names: &[&str]) -> Vec<Value> {
    let has_value = |name: &&str| json!({ "required": [name], "properties": { *name: { "not": { "$ref": "#/components/schemas/Absent" } } } });
    names.iter().map(has_value).collect()
}
