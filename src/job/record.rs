//! What is written down about a job: in the spool beside its original, and in the queue.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

use super::{
    CallbackEvent, CallbackEvents, ContentHash, ErrorCode, HashKey, Idempotency, IdempotencyKey, Inspection, JobId,
    JobRef, JobSpec, KeptAnswer, NameHead, OnDuplicate, OnceToken, Owner, SourceFormat, State, Stem, TraceContext,
    VariantSpec, Warnings, manifest_name, original_name, variant_name,
};
use crate::clock::Timestamp;

/// An accepted job as it was accepted. Written once, never changed; what happens to it is the queue's to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The format of what follows. First, so that a reader meets it before anything that it may not understand.
    #[serde(default = "RecordVersion::unnumbered")]
    pub version: RecordVersion,
    /// A UUID v7, made at the upload.
    pub id: JobId,
    /// What clients call `hash`.
    pub hash: HashKey,
    /// Whose it is.
    pub owner: Owner,
    /// The harmless part of the uploaded file's name.
    pub stem: Stem,
    /// What was uploaded.
    pub original: Original,
    /// What is to be done.
    pub spec: JobSpec,
    /// The webhook to call once the job has ended.
    pub callback: Option<CallbackTarget>,
    /// The `job` claim as it came, but for what is secret: without callback headers, with `[redacted]` in place of access
    /// keys, and of the callback's URL no more than its origin.
    pub job_data: serde_json::Value,
    /// The job's `ref`.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<JobRef>,
    /// Its token, if that is good for this one upload only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<OnceToken>,
    /// What becomes of it if the same bytes of the same owner are live.
    #[serde(default, skip_serializing_if = "OnDuplicate::refuses")]
    pub on_duplicate: OnDuplicate,
    /// The request that asked for it, if that may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The failed or cancelled job that it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<JobId>,
    /// The job whose bytes it was given, if it was not uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprocess_of: Option<JobId>,
    /// When the upload was accepted.
    pub created_at: Timestamp,
    /// Bytes of memory that making its variants takes, estimated from the header at upload. None if there are none to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What the upload read in the original's header. None in records of 0.1.0, and where this version can't read it: then
    /// an attempt inspects the original.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Inspection>,
    /// The trace that its upload is a part of. None in records of 0.2.0, and where the upload is a part of none.
    #[serde(default, deserialize_with = "if_readable", skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

impl JobRecord {
    /// The names of every file this job makes, in the order of its claims, then the original's, the manifest's last.
    #[must_use]
    pub fn expected_files(&self) -> Vec<String> {
        let variants = self.spec.variants.iter().map(|variant| self.variant_name(variant));
        let original = self.spec.keep_original.then(|| self.original_name());
        variants.chain(original).chain(self.spec.manifest.then(|| self.manifest_name())).collect()
    }

    /// The key of the request that asked for it, with what that is answered with: for whoever keeps this apart from the record.
    pub(crate) fn take_answer(&mut self) -> Option<(IdempotencyKey, KeptAnswer)> {
        let Idempotency { key, answer } = self.idempotency.as_mut()?;
        Some((*key, answer.take()?))
    }

    /// What the names of its files begin with.
    #[must_use]
    pub fn name_head(&self) -> NameHead {
        if self.spec.unique { NameHead::Job(self.id) } else { NameHead::Hash(self.hash.clone()) }
    }

    /// The name a variant is stored under.
    #[must_use]
    pub fn variant_name(&self, variant: &VariantSpec) -> String {
        let VariantSpec { height, width, format, .. } = *variant;
        variant_name(self.name_head(), &self.stem, height, width, format)
    }

    /// The name the original is stored under.
    #[must_use]
    pub fn original_name(&self) -> String {
        original_name(self.name_head(), &self.stem, self.original.format)
    }

    /// The name of what a page needs to show the picture.
    #[must_use]
    pub fn manifest_name(&self) -> String {
        manifest_name(self.name_head(), &self.stem)
    }
}

/// The format of a [`JobRecord`], a number from 1 to [`RecordVersion::CURRENT`]. A reader refuses a newer one, and takes a record
/// without a number for version 1, which 0.1.0 wrote. A record keeps the one in which it was accepted: whoever could read it then
/// can read it to its end.
///
/// Version 2 seals a callback's URL, and may say that names are unique, files private or a manifest wanted: whoever passed that over
/// would serve to anyone what is to be private, and end a job without a file that it was promised. A field that older versions may ignore doesn't need a new number. `tests/it/compatibility.rs` says what does, and what
/// to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct RecordVersion(u32);

impl RecordVersion {
    /// The newest that this version of Pixerve reads and writes.
    pub const CURRENT: u32 = 2;

    /// That of a record without a number.
    fn unnumbered() -> Self {
        Self(1)
    }

    /// The newest that this process reads: the current one, unless a test has it be an older release.
    #[must_use]
    pub fn newest() -> Self {
        fail::fail_point!("record::newest", |older| Self(older.and_then(|n| n.parse().ok()).unwrap_or(Self::CURRENT)));
        Self(Self::CURRENT)
    }

    /// The one in which a job with this callback and spec is accepted by a node among others, which all read those up to `all_read`, none
    /// if that isn't known: then it is the one before the newest, which every node reads that may run beside this one. What an
    /// older one can't say is written in the oldest that can, and left alone by nodes that don't read that.
    #[must_use]
    pub fn among(all_read: Option<u32>, callback: Option<&CallbackTarget>, spec: &JobSpec) -> Self {
        let Self(newest) = Self::newest();
        let before = (newest - 1).max(1);
        let seals_url = callback.is_some_and(|target| target.sealed_url.is_some());
        let needed = if seals_url || spec.unique || spec.private || spec.manifest { 2 } else { 1 };
        Self(all_read.unwrap_or(before).clamp(before, newest).max(needed))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<RecordVersion> for u32 {
    fn from(version: RecordVersion) -> Self {
        version.0
    }
}

impl TryFrom<u32> for RecordVersion {
    type Error = UnknownRecordVersion;

    fn try_from(found: u32) -> Result<Self, UnknownRecordVersion> {
        let RecordVersion(newest) = Self::newest();
        if (1..=newest).contains(&found) { Ok(Self(found)) } else { Err(UnknownRecordVersion { found, newest }) }
    }
}

/// A record in a format that this version of Pixerve can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job record has format version {found}; this Pixerve reads versions 1 to {newest}: use the newer Pixerve")]
pub struct UnknownRecordVersion {
    /// What the record says.
    pub found: u32,
    /// The newest that is read.
    pub newest: u32,
}

/// Why a stored job record can't be read. Its text quotes nothing: a record holds what only the owner of its job may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRecord {
    /// A newer version wrote it.
    #[error(transparent)]
    Version(UnknownRecordVersion),
    /// It is damaged.
    #[error("the record is not what its version says, from line {line}, column {column} on")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
}

impl UnreadableRecord {
    /// What `error` means, with which reading `json` failed: a record, or what holds one at the pointer `record_at`.
    pub(crate) fn of(json: &[u8], record_at: &str, error: &serde_json::Error) -> Self {
        let whole: Value = serde_json::from_slice(json).unwrap_or_default();
        let version = whole.pointer(record_at).and_then(|record| record.get("version")).and_then(Value::as_u64);
        match version.and_then(|version| u32::try_from(version).ok()).map(RecordVersion::try_from) {
            Some(Err(unknown)) => Self::Version(unknown),
            _ => Self::Malformed { line: error.line(), column: error.column() },
        }
    }
}

/// The uploaded bytes, as far as the upload could tell without decoding them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The format found in the bytes.
    pub format: SourceFormat,
    /// Their SHA-256.
    pub sha256: ContentHash,
    /// How many there are.
    pub bytes: u64,
    /// Width in pixels, upright (after EXIF orientation).
    pub width: u32,
    /// Height in pixels, upright (after EXIF orientation).
    pub height: u32,
}

/// Where a callback goes. What of it is secret is sealed under the job's id, and kept as long as the record, so that a call
/// can be made again; the queue forgets all of it if there is nothing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackTarget {
    /// The origin of the job's `completionCallback`; the whole of it where `sealed_url` is none, as in version 1.
    pub url: Url,
    /// The job's `completionCallback`, sealed under the job's id: its path, query and user name may be secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_url: Option<SealedText>,
    /// The job's `callbackHeaders`, a JSON array of pairs of strings, sealed under the job's id.
    pub sealed_headers: Option<SealedText>,
    /// The job's `callbackEvents`.
    #[serde(default, skip_serializing_if = "CallbackEvents::are_default")]
    pub events: CallbackEvents,
}

impl CallbackTarget {
    /// What is told of the end of a job in `state`; none while it has not ended, and of an end that it didn't ask to be told of.
    #[must_use]
    pub fn event(&self, state: State) -> Option<CallbackEvent> {
        CallbackEvent::of(state).filter(|event| self.events.contain(*event))
    }

    /// Whether each file is told of once it is stored.
    #[must_use]
    pub fn tells_files(&self) -> bool {
        self.events.contain(CallbackEvent::FileStored)
    }

    /// Whether it is told that the job is erased.
    #[must_use]
    pub fn tells_erasure(&self) -> bool {
        self.events.contain(CallbackEvent::Erased)
    }

    /// What of an http(s) URL is no secret.
    #[must_use]
    pub fn origin_of(url: &Url) -> Url {
        let origin = url.origin().ascii_serialization();
        Url::parse(&origin).expect("INVARIANT: the origin of an http(s) URL is one itself")
    }

    /// The host alone.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// Text sealed by the register: base64 of nonce, ciphertext and tag. Harmless to show, useless without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedText(pub String);

/// One file of a job and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredFile {
    /// Its name, the same in every store.
    pub name: String,
    /// `jpg`, `png`, `webp`, `avif`, the original's extension, or `json`.
    pub format: String,
    /// Width in pixels; 0 of what is no picture.
    pub width: u32,
    /// Height in pixels; 0 of what is no picture.
    pub height: u32,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: ContentHash,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Warnings::is_empty")]
    #[schema(required = false)]
    pub warnings: Warnings,
    /// The name of the file that has the same pixels in the same format: the original is smaller than both boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub same_as: Option<String>,
    /// Every place that holds it.
    pub stored: Vec<Stored>,
}

/// A place that holds a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// `directHost`, `s3` or `gcs`, as the claims call it.
    pub backend: String,
    /// `/files/...`, `/private/...`, `s3://bucket/key` or `gs://bucket/key`.
    pub location: String,
    /// Where a browser gets it: below the `public_url` of the server, or of the store as it was when the file was stored. Not there
    /// where that isn't set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
}

impl Stored {
    /// A place at this location, which no browser reaches by an address of its own.
    #[must_use]
    pub fn at(backend: impl Into<String>, location: impl Into<String>) -> Self {
        Self { backend: backend.into(), location: location.into(), url: None }
    }
}

/// Why a job failed, in words that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// An [`ErrorCode`]'s word. As text: records of other versions may hold words that this one hasn't.
    pub code: String,
    /// What was attempted, on what, and what came of it.
    pub detail: String,
}

impl JobError {
    /// An error of this kind, with what was attempted, on what, and what came of it.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code: code.as_str().to_owned(), detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{CallbackEvents, CallbackTarget, JobSpec, RecordVersion, SealedText, UnknownRecordVersion};
    use crate::job::job_record;

    #[test]
    fn only_known_record_versions_are_read_and_each_is_written_as_it_was_read() {
        for known in 1..=RecordVersion::CURRENT {
            let version: RecordVersion = serde_json::from_str(&known.to_string()).expect("it is known");
            assert_eq!(serde_json::to_string(&version).expect("it serializes"), known.to_string());
        }
        let newest = RecordVersion::CURRENT;
        for found in [0, newest + 1] {
            assert_eq!(RecordVersion::try_from(found), Err(UnknownRecordVersion { found, newest }));
        }
    }

    #[test]
    fn a_job_is_accepted_in_the_newest_version_that_all_nodes_read_and_that_can_say_it() {
        let newest = RecordVersion::CURRENT;
        let spec = job_record(1).spec;
        let version =
            |all_read, callback: Option<&CallbackTarget>| RecordVersion::among(all_read, callback, &spec).number();
        assert_eq!(version(Some(newest), None), newest);
        assert_eq!(version(Some(newest + 1), None), newest, "no newer than this one");
        // A node that hears nobody, and one among nodes that are too old to run beside it.
        for all_read in [Some(newest - 1), None, Some(0)] {
            assert_eq!(version(all_read, None), newest - 1, "{all_read:?}");
        }
        let url = Url::parse("https://app.example/").expect("a URL");
        let sealed_url = Some(SealedText("sealed".to_owned()));
        let sealed = CallbackTarget { url, sealed_url, sealed_headers: None, events: CallbackEvents::default() };
        assert_eq!(version(Some(1), Some(&sealed)), 2, "no version before seals it");
        for said in [
            JobSpec { unique: true, ..spec.clone() },
            JobSpec { private: true, ..spec.clone() },
            JobSpec { manifest: true, ..spec.clone() },
        ] {
            assert_eq!(RecordVersion::among(Some(1), None, &said).number(), 2, "no version before says it");
        }
    }
}
