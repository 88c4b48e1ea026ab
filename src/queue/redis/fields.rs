//! How a job lies in Redis: the fields of a hash. Those that scripts change or look at are plain numbers and words; the rest
//! is JSON, which no script reads.

use std::collections::HashMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unreadable;
use crate::clock::Timestamp;
use crate::job::{
    ContentHash, JobError, JobRecord, KeptAnswer, OnDuplicate, Owner, Priority, State, StoredFile, TenantKey,
    UnreadableRecord, UserKey,
};
use crate::queue::record::StoredJob;
use crate::queue::{Job, QueueError};

/// A hash as Redis answers it.
pub(super) type Fields = HashMap<String, Vec<u8>>;

/// Enough of a digest to tell owners and originals apart: in hexadecimal.
pub(super) const DIGEST_BYTES: usize = 16;

/// More than any record and its files come to.
const UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All fields that are written here; those of what is none are not there.
const WRITTEN: [&str; 15] = ["r", "er", "fi", "z", "ph", "st", "at", "cr", "me", "wt", "nb", "sa", "fa", "md", "so"];

/// What stands for an owner in keys.
pub(super) fn owner_key(owner: &Owner) -> String {
    hex::encode(&owner.digest()[..DIGEST_BYTES])
}

/// What stands for a user in keys.
pub(super) fn user_key(user: &UserKey) -> String {
    hex::encode(&user.as_bytes()[..DIGEST_BYTES])
}

/// What stands for a text of a caller's in keys.
pub(super) fn text_key(text: &str) -> String {
    hex::encode(&ContentHash::of(text.as_bytes()).as_bytes()[..DIGEST_BYTES])
}

/// What stands for an original in keys.
fn bytes_key(bytes: &ContentHash) -> String {
    hex::encode(&bytes.as_bytes()[..DIGEST_BYTES])
}

/// What scripts have to know of a job and what never changes: one field.
pub(super) fn constants(record: &JobRecord) -> String {
    let (user, owner) = (user_key(&record.owner.user_key()), owner_key(&record.owner));
    let tenant = match record.owner.tenant_key() {
        TenantKey::User(_) => format!("u{user}"),
        TenantKey::Owner(_) => format!("o{owner}"),
    };
    let lane = lane(record.spec.priority);
    let reference = record.reference.as_ref().map(|reference| text_key(reference.as_str())).unwrap_or_default();
    let fingerprint = match &record.on_duplicate {
        OnDuplicate::Refuse => String::new(),
        OnDuplicate::Queue(fingerprint) => fingerprint.0.to_string(),
    };
    let (bytes, created, hash) = (bytes_key(&record.original.sha256), record.created_at.as_millis(), &record.hash);
    let (created, format) = (created.to_string(), record.version.number().to_string());
    [lane, &user, &owner, &tenant, &bytes, &created, hash.as_str(), &reference, &fingerprint, &format].join("|")
}

/// What the JSON of a job's record has in it if it has files for the store of this access key, and else hasn't: nobody but us writes
/// a name without a backslash before its quotes.
pub(super) fn naming_store(access_key: &str) -> String {
    format!("\"access_key\":{}", Value::from(access_key))
}

/// What a lane is called.
pub(super) fn lane(priority: Priority) -> &'static str {
    match priority {
        Priority::Realtime => "0",
        Priority::Queued => "1",
    }
}

/// What a state is called.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Pending => "0",
        State::Processing => "1",
        State::Completed => "2",
        State::Failed => "3",
        State::Cancelled => "4",
    }
}

/// The state that is called so.
pub(super) fn state_of(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state_word(*state) == word)
}

/// A change of a job's fields.
#[derive(Debug, Default)]
pub(super) struct FieldChanges {
    /// Fields to set.
    pub(super) set: Vec<(&'static str, Vec<u8>)>,
    /// Fields to remove.
    pub(super) removed: Vec<&'static str>,
}

impl FieldChanges {
    /// From `before` to `after`. What a newer release said besides in the job's record, and this one doesn't know, stays.
    pub(super) fn between(before: &Fields, after: &StoredJob) -> Result<Self, QueueError> {
        let fields = match Extended::of(before)? {
            None => fields_of(after, &after.job.record)?,
            Some(extended) => fields_of(after, &extended.with(&after.job.record)?)?,
        };
        let is_gone = |name: &&str| before.contains_key(*name) && !fields.iter().any(|(field, _)| field == name);
        let removed = WRITTEN.into_iter().filter(is_gone).collect();
        let set = fields.into_iter().filter(|(name, value)| before.get(*name) != Some(value)).collect();
        Ok(Self { set, removed })
    }
}

/// A job's record that says more than this release knows of.
struct Extended {
    found: Value,
    /// What is known of it.
    known: Value,
}

impl Extended {
    /// That in these fields; none if all of it is known.
    fn of(fields: &Fields) -> Result<Option<Self>, QueueError> {
        let found: Value = match (fields.get("r"), fields.get("z")) {
            (Some(record), _) => parsed_record(record, "")?,
            (None, Some(ended)) => unpacked::<(Value, Value, Value)>(ended)?.0,
            (None, None) => return Ok(None),
        };
        let read = JobRecord::deserialize(&found).and_then(serde_json::to_value);
        let known = read.map_err(|error| unreadable("reading a job's record", error))?;
        Ok((found != known).then_some(Self { found, known }))
    }

    /// The record as it is now, and what it says besides.
    fn with(&self, now: &JobRecord) -> Result<Value, QueueError> {
        let mut now = serde_json::to_value(now).map_err(|error| unreadable("writing a record", error))?;
        keep_unknown(&self.found, &self.known, &mut now);
        Ok(now)
    }
}

/// Adds what is `found` and isn't `known` to what it says `now`, in all objects that are still there.
fn keep_unknown(found: &Value, known: &Value, now: &mut Value) {
    let (Some(found), Some(known), Some(now)) = (found.as_object(), known.as_object(), now.as_object_mut()) else {
        return;
    };
    for (name, found) in found {
        match (known.get(name), now.get_mut(name)) {
            (Some(known), Some(now)) => keep_unknown(found, known, now),
            (None, None) => {
                now.insert(name.clone(), found.clone());
            }
            // It was taken away, or has come anew.
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

/// The fields of a job, whose record is given as it is to be written.
fn fields_of(stored: &StoredJob, record: &impl Serialize) -> Result<Vec<(&'static str, Vec<u8>)>, QueueError> {
    let job = &stored.job;
    let mut fields: Vec<(&'static str, Vec<u8>)> = vec![
        ("st", state_word(job.state).into()),
        ("at", job.attempts.to_string().into()),
        ("cr", job.crashes.to_string().into()),
        ("me", job.record.memory.unwrap_or(0).to_string().into()),
    ];
    if job.state.is_terminal() {
        // It is kept for long, and looked at seldom.
        fields.push(("z", packed(&(record, &job.error, &job.files))?));
    } else {
        fields.push(("r", json(record)?));
        if let Some(error) = &job.error {
            fields.push(("er", json(error)?));
        }
        if !job.files.is_empty() {
            fields.push(("fi", json(&job.files)?));
        }
    }
    if let Some(placeholder) = &job.placeholder {
        fields.push(("ph", json(placeholder)?));
    }
    let times = [("nb", job.not_before), ("sa", job.started_at), ("fa", job.finished_at)];
    for (name, time) in times {
        fields.extend(time.map(|time| (name, time.as_millis().to_string().into())));
    }
    if stored.wait_ms > 0 {
        fields.push(("wt", stored.wait_ms.to_string().into()));
    }
    let marks = [("md", stored.is_made), ("so", stored.is_called_off)];
    fields.extend(marks.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, b"1".into())));
    Ok(fields)
}

/// JSON, deflated.
pub(super) fn packed(value: &impl Serialize) -> Result<Vec<u8>, QueueError> {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
    packer
        .write_all(&json(value)?)
        .and_then(|()| packer.finish())
        .map_err(|error| unreadable("writing a record", error))
}

fn unpacked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, QueueError> {
    parsed_record(&inflated(bytes)?, "/0")
}

/// What an answer to a request was [`packed`] from.
pub(super) fn unpacked_answer(bytes: &[u8]) -> Result<KeptAnswer, QueueError> {
    serde_json::from_slice(&inflated(bytes)?).map_err(|error| unreadable("reading an answer to a request", error))
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, QueueError> {
    let mut text = Vec::new();
    let inflated = DeflateDecoder::new(bytes).take(UNPACKED_BYTES_MAX).read_to_end(&mut text);
    let damaged = |_| UnreadableRecord::Malformed { line: 1, column: text.len() };
    inflated.map_err(damaged).map_err(|error| unreadable("unpacking a record", error))?;
    Ok(text)
}

/// JSON that holds a job's record at this pointer.
fn parsed_record<T: DeserializeOwned>(text: &[u8], record_at: &str) -> Result<T, QueueError> {
    serde_json::from_slice(text)
        .map_err(|error| unreadable("reading a job's record", UnreadableRecord::of(text, record_at, &error)))
}

/// JSON of what has one.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, QueueError> {
    serde_json::to_vec(value).map_err(|error| unreadable("writing a record", error))
}

/// A job of these fields; none if there are none.
pub(super) fn job(fields: &Fields) -> Result<Option<StoredJob>, QueueError> {
    let (record, error, files): (JobRecord, Option<JobError>, Vec<StoredFile>) =
        match (fields.get("r"), fields.get("z")) {
            (Some(record), _) => {
                (parsed_record(record, "")?, parsed(fields, "er")?, parsed(fields, "fi")?.unwrap_or_default())
            }
            (None, Some(ended)) => unpacked(ended)?,
            (None, None) => return Ok(None),
        };
    let word = fields.get("st").and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
    let state = state_of(word).ok_or_else(|| QueueError::Unavailable {
        what: format!("reading a job's record failed: it is in state {word:?}"),
        source: None,
    })?;
    let time = |name| fields.get(name).map(|_| Timestamp::from_millis(number(fields, name)));
    let small = |name| u32::try_from(number(fields, name)).unwrap_or(u32::MAX);
    let job = Job {
        record,
        state,
        seq: number(fields, "sq"),
        attempts: small("at"),
        crashes: small("cr"),
        not_before: time("nb"),
        started_at: time("sa"),
        finished_at: time("fa"),
        error,
        files,
        placeholder: parsed(fields, "ph")?,
        changes: number(fields, "ch"),
        retried_as: fields.get("ra").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()),
    };
    let (token, wait_ms) = (number(fields, "tk"), number(fields, "wt"));
    let [is_made, is_called_off] = ["md", "so"].map(|mark| fields.contains_key(mark));
    Ok(Some(StoredJob { job, token, wait_ms, is_called_off, is_made }))
}

/// The number in a field, 0 if it isn't there.
pub(super) fn number(fields: &Fields, name: &str) -> u64 {
    fields.get(name).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

fn parsed<T: DeserializeOwned>(fields: &Fields, name: &str) -> Result<Option<T>, QueueError> {
    fields.get(name).map(|json| parsed_record(json, "")).transpose()
}
