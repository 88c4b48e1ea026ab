//! Records of jobs, without an upload that makes them.

use pixerve::clock::Timestamp;
use pixerve::job::{
    ContentHash, HashKey, JobId, JobRecord, JobSpec, OnDuplicate, Original, Owner, Priority, RecordVersion,
    SourceFormat, Stem, SubDir,
};

/// Whoever signs with a key of `jwt.json` as this `sub`.
pub(crate) fn owner(sub: &str) -> Owner {
    Owner { user: None, access_key: None, sub: sub.to_owned() }
}

/// A queued job that only keeps its original, a JPEG of 20 by 10 pixels with this hash and so many bytes. It owes no callback.
pub(crate) fn job_record(
    id: JobId,
    owner: Owner,
    (sha256, bytes): (ContentHash, u64),
    created_at: Timestamp,
) -> JobRecord {
    JobRecord {
        version: RecordVersion::newest(),
        id,
        hash: HashKey::new(&sha256, &owner),
        owner,
        stem: Stem::of("photo.jpg"),
        original: Original { format: SourceFormat::Jpeg, sha256, bytes, width: 20, height: 10 },
        spec: JobSpec {
            priority: Priority::Queued,
            keep_original: true,
            direct_host: true,
            private: false,
            unique: false,
            storage: Vec::new(),
            sub_dir: SubDir::default(),
            variants: Vec::new(),
            placeholder: true,
            manifest: false,
            expires_after: None,
        },
        callback: None,
        job_data: serde_json::json!({ "keepOriginal": true, "directHost": true }),
        created_at,
        memory: None,
        inspection: None,
        reference: None,
        once: None,
        on_duplicate: OnDuplicate::Refuse,
        idempotency: None,
        retry_of: None,
        reprocess_of: None,
        trace: None,
    }
}
