//! Presets: jobs, whole or in part, that are kept under names, and what tokens that name one ask for.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::is_empty;
use super::{CallbackAddresses, ParsedJob, SpecLimits, StorageKey};
use crate::job::PresetName;
use crate::job::pointer::{ClaimErrors, escape};

/// Where a token's `job` names its preset.
const FIELD: &str = "preset";
/// What tokens of a user who is bound to presets may have in their `job`: nothing that makes a job dearer than its preset.
const BOUND_FIELDS: [&str; 6] = [FIELD, "subDir", "priority", "completionCallback", "callbackHeaders", "expiresAfter"];
/// What a token has of these stands in the place of all that the preset has: half of the one and half of the other is what nobody meant.
const WHOLE_FIELDS: [&str; 2] = ["formats", "callbackHeaders"];

/// Bytes of a preset's digest that tell one text from every other.
const DIGEST_BYTES: usize = 16;

/// A job, whole or in part, as somebody wrote it.
#[derive(Debug, PartialEq)]
pub struct Preset {
    text: String,
    job: Value,
}

/// Why a text is no preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// It is too long.
    #[error("it has {bytes} bytes; a preset has at most {}", Preset::BYTES_MAX)]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// It is no JSON, or none of an object.
    #[error("{0}")]
    BadJson(String),
}

impl Preset {
    /// Bytes that its text may have.
    pub const BYTES_MAX: usize = 16 * 1024;
    /// How many there may be.
    pub const COUNT_MAX: usize = 200;

    /// Reads the text of one. What its fields say is for [`Preset::check`].
    ///
    /// # Errors
    /// It is too long, or no object of JSON.
    pub fn parse(text: &[u8]) -> Result<Self, PresetError> {
        if text.len() > Self::BYTES_MAX {
            return Err(PresetError::TooLarge { bytes: text.len() });
        }
        // Editors on Windows may begin a file with a byte order mark.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let not_text = |_| PresetError::BadJson("it is not UTF-8".to_owned());
        let text = std::str::from_utf8(text).map_err(not_text)?;
        match serde_json::from_str(text) {
            Ok(job @ Value::Object(_)) => Ok(Self { text: text.to_owned(), job }),
            Ok(_) => Err(PresetError::BadJson("it must be a JSON object".to_owned())),
            Err(error) => Err(PresetError::BadJson(format!("line {}, column {}", error.line(), error.column()))),
        }
    }

    /// As it was written, byte by byte.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Value {
        &self.job
    }

    /// Tells this text from every other, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(&Sha256::digest(&self.text)[..DIGEST_BYTES])
    }

    /// Checks it field by field: whether the whole is a job is known once a token adds its part. Answers the stores that it names.
    ///
    /// # Errors
    /// Every bad field, by its JSON Pointer into the preset.
    pub fn check(&self, limits: SpecLimits, addresses: &dyn CallbackAddresses) -> Result<Vec<StorageKey>, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let has = |field| self.job.get(field).is_some_and(|value| !is_empty(value));
        if has(FIELD) {
            errors.push(format!("/{FIELD}"), "a preset holds no other preset");
        }
        if has("callbackHeaders") {
            errors.push("/callbackHeaders", "are secrets, which don't belong into a preset: a token brings them");
        }
        let part = ParsedJob::read(&self.job, "", limits, &mut errors);
        if let Some(part) = &part {
            part.check_callback("", addresses, &mut errors);
        }
        errors.or(part.map(|part| part.spec.storage).unwrap_or_default())
    }
}

/// What a token asks for, with what its preset has.
#[derive(Debug)]
pub struct MergedJob {
    /// The job as if the token had brought all of it; without a preset, or with one that can't be had, the claim as it is.
    pub job: Option<Value>,
    /// The preset that the token names.
    pub preset: Option<PresetName>,
    errors: ClaimErrors,
}

impl MergedJob {
    /// Merges what a `job` claim says over the preset that it names (RFC 7396), which `find` looks up. A user who is bound to presets may
    /// name one of `bound` and say little else; none of a user who is not.
    #[must_use]
    pub fn of(
        claim: Option<&Value>,
        bound: Option<&[PresetName]>,
        find: impl FnOnce(&PresetName) -> Option<Arc<Preset>>,
    ) -> Self {
        let mut errors = ClaimErrors::default();
        let named = claim.and_then(|job| job.get(FIELD)).filter(|value| !is_empty(value));
        // What is no name at all is told of when the job is read.
        let preset = named.and_then(Value::as_str).and_then(PresetName::parse);
        if let Some(bound) = bound {
            check_bound(claim, named.is_some(), bound, &mut errors);
        }
        let may_be_named = |name: &&PresetName| bound.is_none_or(|bound| bound.contains(name));
        let found = preset.as_ref().filter(may_be_named).and_then(find);
        if preset.is_some() && found.is_none() {
            errors.push(format!("/job/{FIELD}"), "there is no preset of this name, for this user");
        }
        let job = match (claim, &preset, &found) {
            (Some(Value::Object(claim)), Some(name), Some(found)) => {
                let of_preset = found.job.as_object().into_iter().flatten().filter(|(field, _)| *field != FIELD);
                let mut job = Map::new();
                job.insert(FIELD.to_owned(), Value::from(name.as_str()));
                job.extend(of_preset.map(|(field, value)| (field.clone(), value.clone())));
                merge(&mut job, claim);
                Some(Value::Object(job))
            }
            _ => claim.cloned(),
        };
        Self { job, preset, errors }
    }

    /// Reads the job, and has `check` look at it. Answers the job as it was merged, too.
    ///
    /// # Errors
    /// Every bad field, by its JSON Pointer into the token's claims, each with the preset.
    pub fn read(
        self,
        limits: SpecLimits,
        check: impl FnOnce(&ParsedJob, &mut ClaimErrors),
    ) -> Result<(ParsedJob, Value), ClaimErrors> {
        let Self { job, preset, errors } = self;
        let read = || {
            errors.or(())?;
            let parsed = ParsedJob::from_claim(job.as_ref(), limits)?;
            let mut errors = ClaimErrors::default();
            check(&parsed, &mut errors);
            errors.or(parsed)
        };
        match read() {
            Ok(parsed) => Ok((parsed, job.unwrap_or_default())),
            Err(errors) => Err(errors.with_preset(preset.as_ref())),
        }
    }
}

/// Holds a claim to what the tokens of a bound user may say. Whether its preset is one of `bound` is for others.
fn check_bound(claim: Option<&Value>, names_one: bool, bound: &[PresetName], errors: &mut ClaimErrors) {
    if !names_one {
        let names: Vec<_> = bound.iter().map(PresetName::as_str).collect();
        errors
            .push(format!("/job/{FIELD}"), format!("is missing: this user's tokens name one of {}", names.join(", ")));
    }
    let fields = claim.and_then(Value::as_object).into_iter().flatten().map(|(field, _)| field);
    for field in fields.filter(|field| !BOUND_FIELDS.contains(&field.as_str())) {
        let detail = format!("is for the preset to say: this user's tokens may have {} alone", BOUND_FIELDS.join(", "));
        errors.push(format!("/job/{}", escape(field)), detail);
    }
}

/// `claim` over `job` by RFC 7396, but for what a job has of its own: what is empty is absent and takes nothing, and some fields count as a
/// whole.
fn merge(job: &mut Map<String, Value>, claim: &Map<String, Value>) {
    for (field, value) in claim {
        match value {
            Value::Null => _ = job.shift_remove(field),
            empty if is_empty(empty) => {}
            Value::Object(fields) if !WHOLE_FIELDS.contains(&field.as_str()) => {
                let mut inner = match job.get_mut(field).map(Value::take) {
                    Some(Value::Object(inner)) => inner,
                    _ => Map::new(),
                };
                merge(&mut inner, fields);
                job.insert(field.clone(), Value::Object(inner));
            }
            other => _ = job.insert(field.clone(), other.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
