//! The ledger, by one suite for each place that it is kept in; and what a database on this machine survives.

#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod conformance;
mod sqlite;

use pixerve::clock::Timestamp;
use pixerve::job::{ContentHash, JobId, Owner};
use pixerve::ledger::{EntryFile, LedgerEntry, Place};

fn owner(sub: &str) -> Owner {
    Owner { user: None, access_key: None, sub: sub.to_owned() }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn job(number: u8) -> JobId {
    let mut bytes = [number; 16];
    bytes[0] = 1;
    JobId::from_bytes(bytes)
}

fn place(backend: &str, access_key: Option<&str>, location: &str) -> Place {
    Place { backend: backend.to_owned(), access_key: access_key.map(str::to_owned), location: location.to_owned() }
}

/// Two files, one of them in a store besides the serve directory.
fn entry(number: u8, owner: Owner, content: &[u8]) -> LedgerEntry {
    let content = ContentHash::of(content);
    let hash = pixerve::job::HashKey::new(&content, &owner);
    let [small, large] = [400, 800].map(|width| format!("{hash}_photo_0_{width}_.webp"));
    let direct = |name: &str| place("directHost", None, &format!("/files/tour/{name}"));
    let bucket = place("s3", Some("pxs_1"), &format!("s3://pictures/px/tour/{large}"));
    let files = vec![
        EntryFile { places: vec![direct(&small)], name: small, bytes: 1000 },
        EntryFile { places: vec![direct(&large), bucket], name: large, bytes: 2000 },
    ];
    LedgerEntry { job_id: job(number), owner, content, ended_at: at(5000), expires_at: None, files, recipient: None }
}
