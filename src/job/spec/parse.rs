//! From the `job` claim to a [`JobSpec`], noting everything that is wrong with it.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::fields::{Fields, is_empty, show, whole};
use super::{
    BackendKind, Background, CallbackHeader, ExpiresAfter, Fit, Format, JobSpec, Position, Priority, StorageKey,
    SubDir, VariantSpec, callback, redirect,
};
use crate::job::pointer::{ClaimErrors, escape};
use crate::job::{CallbackEvents, JobRef, PresetName};
use crate::setting;

/// Pixels a side of a box may have.
/// Pixels that a side of a variant's box may have.
pub const BOX_SIDE_MAX: u32 = 65_535;

/// Where a token's claims have the job.
const AT: &str = "/job";

/// What a job may ask for at most.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SpecLimits {
    /// Variants per job.
    #[serde(deserialize_with = "setting::count")]
    pub variants_max: usize,
    /// Whether jobs are `unique` that don't say: nothing that may be asked for at most, but it comes from the settings, too.
    #[serde(rename = ".storage.unique", deserialize_with = "setting::switch")]
    pub unique: bool,
    /// Whether this server has nowhere to keep private files.
    #[serde(skip)]
    pub no_private_files: bool,
}

/// A `job` claim, understood. The callback's headers are kept apart from the rest, since they are secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedJob {
    /// What is to be done.
    pub spec: JobSpec,
    /// The preset that it was merged with.
    pub preset: Option<PresetName>,
    /// Whom to tell.
    pub callback_url: Option<Url>,
    /// With which headers.
    pub callback_headers: Vec<CallbackHeader>,
    /// Of what.
    pub callback_events: CallbackEvents,
    /// Bytes that the upload may have, if the token says so; the server's own limit holds besides.
    pub bytes_max: Option<u64>,
    /// Whether the upload waits, instead of being refused, while the same bytes are worked on.
    pub queues_duplicate: bool,
    /// Whether the token is good for one upload only.
    pub once: bool,
    /// What the caller calls it.
    pub reference: Option<JobRef>,
    /// The claim as it came, without callback headers and access keys.
    pub job_data: Value,
}

impl ParsedJob {
    /// Reads the `job` claim.
    ///
    /// # Errors
    /// Every bad field, by its JSON Pointer into the token's claims.
    pub fn from_claim(job: Option<&Value>, limits: SpecLimits) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        let Some(job) = job.filter(|j| !is_empty(j)) else {
            errors.push(AT, "is missing: the token must carry the job");
            return Err(errors);
        };
        let Some(parsed) = Self::read(job, AT, limits, &mut errors) else { return Err(errors) };
        let JobSpec { variants, keep_original, direct_host, private, storage, .. } = &parsed.spec;
        if variants.is_empty() && !keep_original && errors.is_empty() {
            errors.push("/job/formats", "asks for nothing: name a format, or set keepOriginal");
        }
        if *private {
            check_private(*direct_host, storage, limits, format!("{AT}/private"), &mut errors);
        }
        if !direct_host && storage.is_empty() && errors.is_empty() {
            errors.push(AT, "its results would go nowhere: set directHost or name a store in storageKeys");
        }
        // Before the claim is copied: what is refused may be large.
        errors.or(())?;
        Ok(Self { job_data: without_secrets(job), ..parsed })
    }

    /// Reads a `job` claim as far as that can be done without the preset that it names, if it names one.
    ///
    /// # Errors
    /// [`ParsedJob::from_claim`], but for what only the whole tells.
    pub fn from_unmerged_claim(job: &Value, limits: SpecLimits) -> Result<Self, ClaimErrors> {
        let mut errors = ClaimErrors::default();
        match Self::read(job, AT, limits, &mut errors) {
            Some(part) if part.preset.is_some() => errors.or(part),
            _ => Self::from_claim(Some(job), limits),
        }
    }

    /// Reads the fields of a job, or of a part of one, at the JSON Pointer `at`; none if it is no object.
    pub(super) fn read(job: &Value, at: &str, limits: SpecLimits, errors: &mut ClaimErrors) -> Option<Self> {
        let mut fields = Fields::of(job, at, errors)?;
        let preset = fields.word("preset", errors, PresetName::RULE, PresetName::parse);
        let callback_url = callback::url(&mut fields, errors);
        let callback_headers = callback::headers(&mut fields, errors);
        let callback_events = callback::events(&mut fields, errors);
        // Whoever sends a form finds it in the claims: `redirect_of`.
        redirect::redirect(&mut fields, errors);
        let reference = fields.word("ref", errors, JobRef::RULE, JobRef::parse);
        let queues_duplicate = fields.word("onDuplicate", errors, "refuse or queue", |word| match word {
            "refuse" => Some(false),
            "queue" => Some(true),
            _ => None,
        });
        let once = fields.bool("once", errors).unwrap_or(false);
        let bytes_max = fields.bytes("maxBytes", errors);
        let priority = fields.number("priority", errors, 0..=1);
        let keep_original = fields.bool("keepOriginal", errors).unwrap_or(false);
        let placeholder = fields.bool("placeholder", errors).unwrap_or(true);
        let manifest = fields.bool("manifest", errors).unwrap_or(false);
        let direct_host = fields.bool("directHost", errors).unwrap_or(false);
        let private = fields.bool("private", errors).unwrap_or(false);
        let unique = fields.bool("unique", errors).unwrap_or(limits.unique);
        let sub_dir = sub_dir(&mut fields, errors);
        let storage = storage_keys(&mut fields, errors);
        let expires_after = fields.word("expiresAfter", errors, ExpiresAfter::RULE, ExpiresAfter::parse);
        let defaults = VariantOptions::take(&mut fields, &VariantOptions::default(), limits, errors);
        let formats_at = fields.pointer("formats");
        let formats = fields.take("formats");
        fields.refuse_unknown(errors);

        let variants = variants(formats, formats_at, &defaults, limits, errors);
        let priority = if priority == Some(1) { Priority::Queued } else { Priority::Realtime };
        let spec = JobSpec {
            priority,
            keep_original,
            direct_host,
            private,
            unique,
            storage,
            sub_dir,
            variants,
            placeholder,
            manifest,
            expires_after,
        };
        let (queues_duplicate, job_data) = (queues_duplicate.unwrap_or(false), Value::Null);
        Some(Self {
            spec,
            preset,
            callback_url,
            callback_headers,
            callback_events,
            bytes_max,
            queues_duplicate,
            once,
            reference,
            job_data,
        })
    }
}

/// Only what this server serves itself can be private: who reaches a bucket isn't ours to know.
fn check_private(direct_host: bool, storage: &[StorageKey], limits: SpecLimits, at: String, errors: &mut ClaimErrors) {
    let why = if !direct_host {
        "needs directHost: only what this server serves itself can be private"
    } else if !storage.is_empty() {
        "can't go with storageKeys: who reads what is in a store is not this server's to know"
    } else if limits.no_private_files {
        "this server has no directory for private files; its operator names one by PIXERVE_PRIVATE_DIR"
    } else {
        return;
    };
    errors.push(at, why);
}

fn sub_dir(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> SubDir {
    let at = fields.pointer("subDir");
    match fields.take("subDir") {
        None => SubDir::default(),
        Some(value) => value.as_str().and_then(SubDir::parse).unwrap_or_else(|| {
            errors.push(at, SubDir::RULE);
            SubDir::default()
        }),
    }
}

fn storage_keys(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Vec<StorageKey> {
    let at = fields.pointer("storageKeys");
    let Some(value) = fields.take("storageKeys") else { return Vec::new() };
    let Some(mut keys) = Fields::of(value, &at, errors) else { return Vec::new() };
    let mut storage = Vec::new();
    for backend in BackendKind::ALL {
        let access_key = keys.word(backend.as_str(), errors, "the access_key that /register gave", |key| {
            (key.len() <= 128).then(|| key.to_owned())
        });
        if let (Some(_), Some(why)) = (&access_key, backend.why_missing()) {
            errors.push(keys.pointer(backend.as_str()), why);
        }
        storage.extend(access_key.map(|access_key| StorageKey { backend, access_key }));
    }
    keys.refuse_unknown(errors);
    storage
}

/// The options that a job sets for all its formats and a format may set for itself.
#[derive(Clone, Default)]
struct VariantOptions {
    fit: Fit,
    position: Position,
    background: Background,
    enlarge: bool,
    animated: bool,
    tolerant: bool,
    /// None: one variant, of the original's size.
    sizes: Option<Vec<SizeBox>>,
}

/// A box that the variant is to fit, and where the claims say so.
#[derive(Clone)]
struct SizeBox {
    at: String,
    width: u32,
    height: u32,
}

impl VariantOptions {
    fn take(fields: &mut Fields<'_>, defaults: &Self, limits: SpecLimits, errors: &mut ClaimErrors) -> Self {
        Self {
            sizes: sizes(fields, limits, errors).or_else(|| defaults.sizes.clone()),
            fit: fields.word("fit", errors, Fit::WORDS, Fit::from_claim).unwrap_or(defaults.fit),
            position: fields
                .word("position", errors, Position::WORDS, Position::from_claim)
                .unwrap_or(defaults.position),
            background: fields
                .word("background", errors, Background::WORDS, Background::from_claim)
                .unwrap_or(defaults.background),
            enlarge: fields.bool("enlarge", errors).unwrap_or(defaults.enlarge),
            animated: fields.bool("animated", errors).unwrap_or(defaults.animated),
            tolerant: fields.bool("tolerant", errors).unwrap_or(defaults.tolerant),
        }
    }
}

fn variants(
    formats: Option<&Value>,
    at: String,
    defaults: &VariantOptions,
    limits: SpecLimits,
    errors: &mut ClaimErrors,
) -> Vec<VariantSpec> {
    let object = match formats {
        None => return Vec::new(),
        Some(Value::Object(object)) => object,
        Some(other) => {
            errors.push(at, format!("must be an object of formats, not {}", show(other)));
            return Vec::new();
        }
    };
    let mut list = VariantList { at, variants: Vec::new(), names: HashSet::new(), limits };
    for (key, value) in object {
        let at = format!("{}/{}", list.at, escape(key));
        match Format::from_claim(key) {
            Some(format) => list.add_format(format, value, &at, defaults, errors),
            None => errors.push(at, format!("unknown format; known are {}", Format::names(|_| true))),
        }
    }
    list.variants
}

struct VariantList {
    at: String,
    variants: Vec<VariantSpec>,
    names: HashSet<(Format, u32, u32)>,
    limits: SpecLimits,
}

impl VariantList {
    fn add_format(
        &mut self,
        format: Format,
        value: &Value,
        at: &str,
        defaults: &VariantOptions,
        errors: &mut ClaimErrors,
    ) {
        let nothing = Value::Object(serde_json::Map::new());
        let value = if is_empty(value) { &nothing } else { value };
        let Some(mut fields) = Fields::of(value, at, errors) else { return };
        let (quality, speed) = settings(&mut fields, errors);
        let shape = VariantOptions::take(&mut fields, defaults, self.limits, errors);
        let can_move = format.info().animation;
        if shape.animated && !defaults.animated && !can_move {
            let those = Format::names(|info| info.animation);
            errors.push(fields.pointer("animated"), format!("only {those} can be animated"));
        }
        fields.refuse_unknown(errors);

        let template = VariantSpec {
            format,
            width: 0,
            height: 0,
            quality,
            speed,
            fit: shape.fit,
            position: shape.position,
            background: shape.background,
            enlarge: shape.enlarge,
            animated: shape.animated && can_move,
            tolerant: shape.tolerant,
        };
        let Some(sizes) = shape.sizes else { return self.add(template, at, errors) };
        for SizeBox { at, width, height } in sizes {
            // One error says it; four formats of a thousand sizes need no more.
            if self.variants.len() > self.limits.variants_max {
                return;
            }
            self.add(VariantSpec { width, height, ..template.clone() }, &at, errors);
        }
    }

    fn add(&mut self, variant: VariantSpec, at: &str, errors: &mut ClaimErrors) {
        let max = self.limits.variants_max;
        if self.variants.len() == max {
            errors.push(&self.at, format!("asks for more than {max} variants"));
        } else if !self.names.insert((variant.format, variant.width, variant.height)) {
            errors.push(at, "a second variant of the same format and size: both would have one name");
        }
        self.variants.push(variant);
    }
}

/// `quality` and `speed`; 0 means the default, like absence.
fn settings(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> (Option<u8>, Option<u8>) {
    let at = fields.pointer("settings");
    let Some(value) = fields.take("settings") else { return (None, None) };
    let Some(mut settings) = Fields::of(value, &at, errors) else { return (None, None) };
    let quality = settings.number("quality", errors, 0..=100).filter(|q| *q > 0);
    let speed = settings.number("speed", errors, 0..=10).filter(|s| *s > 0);
    settings.refuse_unknown(errors);
    (quality, speed)
}

/// `sizes`, as far as they can be read; none if it is absent.
fn sizes(fields: &mut Fields<'_>, limits: SpecLimits, errors: &mut ClaimErrors) -> Option<Vec<SizeBox>> {
    let at = fields.pointer("sizes");
    let value = fields.take("sizes")?;
    let Value::Array(sizes) = value else {
        errors.push(at, format!("must be an array of sizes, not {}", show(value)));
        return Some(Vec::new());
    };
    // One more than there may be makes the error; a million sizes must not cost a million steps.
    let read = sizes.iter().take(limits.variants_max.saturating_add(1)).enumerate().filter_map(|(i, size)| {
        let at = format!("{at}/{i}");
        size_box(size, &at, errors).map(|(width, height)| SizeBox { at, width, height })
    });
    Some(read.collect())
}

/// `[w, h]`, or `[n]` for n x n; 0 leaves a side free.
fn size_box(size: &Value, at: &str, errors: &mut ClaimErrors) -> Option<(u32, u32)> {
    let sides = match size {
        Value::Array(sides) if (1..=2).contains(&sides.len()) => sides,
        other => {
            errors.push(at, format!("must be [width, height] or [n], not {}", show(other)));
            return None;
        }
    };
    let mut parsed = [0; 2];
    let mut ok = true;
    for (i, side) in sides.iter().enumerate() {
        if let Some(n) = whole(side).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= BOX_SIDE_MAX) {
            parsed[i] = n;
        } else {
            errors.push(
                format!("{at}/{i}"),
                format!("must be a whole number of pixels from 0 to {BOX_SIDE_MAX}, not {}", show(side)),
            );
            ok = false;
        }
    }
    let [width, second] = parsed;
    ok.then_some((width, if sides.len() == 1 { width } else { second }))
}

/// What may be shown to anyone who knows the job's `hash`: no headers, no access keys, and a callback URL without
/// the parts that carry secrets.
fn without_secrets(job: &Value) -> Value {
    let mut job = job.clone();
    if let Value::Object(fields) = &mut job {
        fields.shift_remove("callbackHeaders");
        if let Some(Value::Object(keys)) = fields.get_mut("storageKeys") {
            for key in keys.values_mut() {
                *key = json!("[redacted]");
            }
        }
        for field in ["completionCallback", "redirect"] {
            if let Some(address) = fields.get_mut(field)
                && let Some(url) = address.as_str().and_then(|text| Url::parse(text).ok())
            {
                // User, path and query may each be the secret that lets a caller in.
                *address = json!(format!("{}/[redacted]", url.origin().ascii_serialization()));
            }
        }
    }
    job
}

#[cfg(test)]
mod tests;
