use std::io::Write as _;

use tempfile::TempDir;

use super::super::{Received, SpoolEntry, StoredLine};
use super::*;
use crate::clock::Timestamp;
use crate::job::{ContentHash, HashKey, Original, Stored, Warning, Warnings, job_record};

fn record(id: JobId, received: &Received) -> JobRecord {
    let record = job_record(1);
    let (sha256, bytes) = (received.sha256, received.bytes);
    let hash = HashKey::new(&sha256, &record.owner);
    JobRecord { id, hash, original: Original { sha256, bytes, ..record.original }, ..record }
}

async fn receive(spool: &DirectorySpool, id: JobId, chunks: &[&'static [u8]]) -> Received {
    let mut upload = spool.receive(id).await.expect("room");
    for chunk in chunks {
        upload.write(Bytes::from_static(chunk)).await.expect("written");
    }
    upload.finish().await.expect("finished")
}

async fn accept(spool: &DirectorySpool, id: JobId) -> JobRecord {
    let received = receive(spool, id, &[b"some ", b"bytes"]).await;
    let record = record(id, &received);
    received.accept(&record).await.expect("accepted");
    record
}

async fn entries(spool: &DirectorySpool) -> Vec<SpoolEntry> {
    let mut entries = Vec::new();
    for upload in spool.uploads(None).await.expect("listed").uploads {
        entries.extend(spool.manifest(upload.id).await.expect("read"));
    }
    entries
}

fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
}

fn new_id() -> JobId {
    JobId::new(Timestamp::from_millis(1_767_225_600_000))
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let accepted = accept(&spool, new_id()).await;
    assert_eq!(accepted.original.sha256, ContentHash::of(b"some bytes"));
    assert_eq!(accepted.original.bytes, 10);

    let spool = DirectorySpool::open(data.path()).expect("opens again");
    let entries = entries(&spool).await;
    let [SpoolEntry::Whole(found)] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(**found, accepted);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut spool.open_original(&accepted).await.expect("opened"), &mut bytes).expect("read");
    assert_eq!(bytes, b"some bytes");
}

#[tokio::test]
async fn what_was_not_accepted_leaves_nothing_behind() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let half = spool.receive(new_id()).await.expect("room");
    let whole = receive(&spool, new_id(), &[b"x"]).await;
    tokio::task::spawn_blocking(move || drop((half, whole))).await.expect("dropped");
    // Deleting happens on a thread of its own: the runtime's blocking pool runs it before this.
    for _ in 0..1000 {
        if files(data.path()) == 0 {
            break;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.expect("a turn");
    }
    assert_eq!(files(data.path()), 0);
    assert!(entries(&spool).await.is_empty());
}

#[tokio::test]
async fn uploads_that_a_crash_cut_off_are_swept_at_the_next_start() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    std::mem::forget(receive(&spool, new_id(), &[b"x"]).await);
    assert_eq!(files(data.path()), 1);
    DirectorySpool::open(data.path()).expect("opens again");
    assert_eq!(files(data.path()), 0);
}

#[tokio::test]
async fn removing_twice_is_harmless() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let accepted = accept(&spool, new_id()).await;
    spool.remove(accepted.id).await.expect("removed");
    spool.remove(accepted.id).await.expect("harmless");
    assert_eq!(files(data.path()), 0);
    assert!(spool.open_original(&accepted).await.expect_err("gone").is_missing());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the damage")]
async fn a_damaged_entry_is_named_and_left_where_it_is() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let (torn, cut) = (accept(&spool, new_id()).await, accept(&spool, new_id()).await);
    fs::write(spool.job_dir(torn.id).join(MANIFEST), b"{\"id\":").expect("torn");
    fs::write(spool.job_dir(cut.id).join(ORIGINAL), b"some").expect("cut");
    let entries = entries(&spool).await;
    assert!(entries.len() == 2 && entries.iter().all(|e| matches!(e, SpoolEntry::Damaged { .. })), "{entries:?}");
    assert!(spool.job_dir(torn.id).join(ORIGINAL).exists());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the damage")]
async fn a_journal_drops_a_torn_line_and_continues() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let id = accept(&spool, new_id()).await.id;
    let line = |name: &str| StoredLine {
        file: made_file(name, name.as_bytes()),
        stored: Stored::at("directHost", format!("/files/{name}")),
    };
    let stored = async || spool.journal(id).await.expect("opens").earlier().stored.clone();
    spool.journal(id).await.expect("opens").append_stored(line("first")).await.expect("written");
    let path = spool.job_dir(id).join(JOURNAL);
    let mut torn = fs::read(&path).expect("read");
    torn.extend_from_slice(b"{\"name\":\"half a li");
    fs::write(&path, torn).expect("torn");

    assert_eq!(stored().await, [line("first")]);
    spool.journal(id).await.expect("opens").append_stored(line("second")).await.expect("written");
    assert_eq!(stored().await, [line("first"), line("second")]);
}

fn made_file(name: &str, bytes: &[u8]) -> MadeFile {
    let sha256 = ContentHash::of(bytes);
    let (bytes, warnings) = (bytes.len() as u64, Warnings::from([Warning::Truncated]));
    MadeFile {
        name: name.into(),
        format: "jpg".into(),
        width: 1,
        height: 2,
        bytes,
        sha256,
        warnings,
        same_as: Some("other".into()),
    }
}

#[tokio::test]
async fn a_journal_tells_what_is_made_from_what_is_stored_and_passes_over_what_it_does_not_know() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let id = accept(&spool, new_id()).await.id;
    let (file, moment) = (made_file("a", b"a"), Timestamp::from_millis(7));
    let journal = spool.journal(id).await.expect("opens");
    journal.append_made(file.clone()).await.expect("written");
    journal.append_all_made(moment).await.expect("written");
    let path = spool.job_dir(id).join(JOURNAL);
    fs::OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut journal| journal.write_all(b"{\"of_a_later\":\"version\"}\n"))
        .expect("written");
    journal.append_all_made(Timestamp::from_millis(9)).await.expect("written");
    let stored = StoredLine { file: file.clone(), stored: Stored::at("s3", "s3://b/a") };
    journal.append_stored(stored.clone()).await.expect("written");
    let expected =
        JournalEntries { stored: vec![stored], made: vec![file], all_made_at: Some(moment), placeholder: None };
    assert_eq!(*spool.journal(id).await.expect("opens").earlier(), expected, "the first end of making counts");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the damage")]
async fn a_variant_in_the_spool_is_whole_or_not_there_and_goes_with_its_job() {
    let data = TempDir::new().expect("a directory");
    let spool = DirectorySpool::open(data.path()).expect("opens");
    let id = accept(&spool, new_id()).await.id;
    let (whole, cut, gone) = (made_file("whole", b"1234"), made_file("cut", b"1234"), made_file("gone", b"1234"));
    for name in ["whole", "cut"] {
        spool.write_made(id, name, Bytes::from_static(b"older")).await.expect("written");
        spool.write_made(id, name, Bytes::from_static(b"1234")).await.expect("replaced");
    }
    fs::write(spool.made(id, "cut"), b"12").expect("cut");
    let found = spool.whole_made(id, vec![whole.clone(), cut, gone]).await.expect("looked at");
    assert_eq!(found, [whole]);
    spool.remove_made(id, "whole").await.expect("removed");
    spool.remove_made(id, "whole").await.expect("harmless");
    assert_eq!(fs::read_dir(spool.job_dir(id).join(MADE)).expect("a directory").count(), 1);
    spool.remove(id).await.expect("removed");
    assert_eq!(files(data.path()), 0);
}
