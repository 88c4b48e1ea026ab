//! A job record for unit tests.

use super::{
    ContentHash, HashKey, JobId, JobRecord, JobSpec, OnDuplicate, Original, Owner, Priority, RecordVersion,
    SourceFormat, Stem, SubDir,
};
use crate::clock::Timestamp;

/// The `n`-th job of one owner, which only keeps its original of one byte. It owes no callback.
pub(crate) fn job_record(n: u8) -> JobRecord {
    let owner = Owner { user: None, access_key: None, sub: "a".to_owned() };
    let sha256 = ContentHash::of(&[n]);
    JobRecord {
        version: RecordVersion::newest(),
        id: JobId::from_bytes([n; 16]),
        hash: HashKey::new(&sha256, &owner),
        owner,
        stem: Stem::of("photo.jpg"),
        original: Original { format: SourceFormat::Jpeg, sha256, bytes: 1, width: 1, height: 1 },
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
        job_data: serde_json::Value::Null,
        created_at: Timestamp::from_millis(0),
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
