//! What the ledger of one machine survives, and what it never does silently.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use pixerve::job::{ContentHash, HashKey, JobId, Owner};
use pixerve::ledger::{
    EntryFile, LEDGER_DATABASE, Ledger, LedgerEntry, LedgerError, LedgerPageRequest, OpenedLedger, Place, SqliteLedger,
};
use sha2::{Digest, Sha256};

use super::{at, entry, job, owner};

fn open(data: &Path) -> OpenedLedger {
    SqliteLedger::open(data).expect("opens")
}

/// A closed ledger with so many entries.
async fn made(data: &Path, entries: u8) {
    let ledger = open(data).ledger;
    for number in 0..entries {
        ledger.record(&entry(number, owner("a"), &[number])).await.expect("recorded");
    }
    ledger.close().await.expect("closed");
}

async fn count(ledger: &SqliteLedger) -> usize {
    ledger.all(&LedgerPageRequest::first(1000)).await.expect("read").entries.len()
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart_and_for_its_owner_alone() {
    let data = tempfile::tempdir().expect("temporary directory");
    made(data.path(), 3).await;
    let OpenedLedger { ledger, set_aside } = open(data.path());
    assert!(set_aside.is_none() && count(&ledger).await == 3);
    for file in fs::read_dir(data.path()).expect("listed") {
        let file = file.expect("entry");
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_first() {
    let data = tempfile::tempdir().expect("temporary directory");
    let _first = open(data.path());
    let error = SqliteLedger::open(data.path()).expect_err("it is in use");
    assert!(matches!(error, LedgerError::AlreadyRunning { .. }), "{error}");
}

#[tokio::test]
async fn what_is_damaged_is_set_aside_as_it_was_and_never_deleted() {
    for (damage, zeros_at) in [("no database", 0), ("a page of its schema", 100)] {
        let data = tempfile::tempdir().expect("temporary directory");
        made(data.path(), 3).await;
        let path = data.path().join(LEDGER_DATABASE);
        let file = OpenOptions::new().write(true).open(&path).expect("opened");
        file.write_all_at(&[0xa5; 3000], zeros_at).expect("damaged");
        let damaged = fs::read(&path).expect("read");
        let OpenedLedger { ledger, set_aside } = open(data.path());
        let set_aside = set_aside.expect(damage);
        assert!(fs::read(&set_aside.path).expect("kept") == damaged, "{damage}: {}", set_aside.why);
        assert_eq!(count(&ledger).await, 0, "{damage}");
        ledger.record(&entry(9, owner("a"), b"x")).await.expect("recorded");
        ledger.close().await.expect("closed");
        let OpenedLedger { ledger, set_aside } = open(data.path());
        assert!(set_aside.is_none() && count(&ledger).await == 1, "{damage}: it is told once");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_or_taken_away_is_not_taken_for_empty() {
    for cut in [true, false] {
        let data = tempfile::tempdir().expect("temporary directory");
        made(data.path(), 100).await;
        let path = data.path().join(LEDGER_DATABASE);
        if cut {
            let bytes = path.metadata().expect("there").size();
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(bytes / 2)).expect("cut");
        } else {
            fs::remove_file(&path).expect("removed");
        }
        let OpenedLedger { ledger, set_aside } = open(data.path());
        assert!(set_aside.is_some(), "cut: {cut}");
        ledger.record(&entry(9, owner("a"), b"x")).await.expect("recorded");
    }
}

#[tokio::test]
async fn a_ledger_that_lacks_its_latest_commits_says_so_and_goes_on_with_the_rest() {
    let data = tempfile::tempdir().expect("temporary directory");
    made(data.path(), 1).await;
    let path = data.path().join(LEDGER_DATABASE);
    let older = fs::read(&path).expect("read");
    made(data.path(), 3).await;
    fs::File::create(&path).and_then(|file| file.write_all_at(&older, 0)).expect("put back");
    let OpenedLedger { ledger, set_aside } = open(data.path());
    let why = set_aside.expect("it is told").why;
    assert!(why.contains("lacks its latest commits") && count(&ledger).await == 1, "{why}");
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_left_alone() {
    let data = tempfile::tempdir().expect("temporary directory");
    made(data.path(), 1).await;
    let path = data.path().join(LEDGER_DATABASE);
    // `user_version`, big-endian, in SQLite's header.
    let file = OpenOptions::new().write(true).open(&path).expect("opened");
    file.write_all_at(&2_u32.to_be_bytes(), 60).expect("changed");
    let error = SqliteLedger::open(data.path()).expect_err("refused");
    assert!(matches!(error, LedgerError::TooNew { found: 2, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn after_a_purge_no_file_has_what_was_removed() {
    const CANARY: &str = "canary-subject-31415";
    let data = tempfile::tempdir().expect("temporary directory");
    let ledger = open(data.path()).ledger;
    for number in 0..200 {
        let sub = if number % 2 == 0 { CANARY } else { "another" };
        ledger.record(&entry(number, owner(sub), &[number])).await.expect("recorded");
    }
    let hits = || {
        let files = fs::read_dir(data.path()).expect("listed").map(|file| file.expect("entry").path());
        let has_canary = |path: &Path| {
            let bytes = fs::read(path).expect("read");
            memchr::memmem::find(&bytes, CANARY.as_bytes()).is_some()
        };
        files.filter(|path| has_canary(path)).count()
    };
    assert!(hits() > 0, "it is there to be removed");
    let removed: Vec<JobId> = (0..200).step_by(2).map(job).collect();
    ledger.remove(&removed).await.expect("removed");
    ledger.purge().await.expect("purged");
    assert_eq!(hits(), 0);
    assert_eq!(count(&ledger).await, 100);
}

#[tokio::test]
async fn what_is_written_at_once_shares_its_commits() {
    let data = tempfile::tempdir().expect("temporary directory");
    let ledger = std::sync::Arc::new(open(data.path()).ledger);
    let commits = || {
        let bytes = fs::read(data.path().join(format!("{LEDGER_DATABASE}.synced"))).expect("read");
        i64::from_be_bytes(bytes.try_into().expect("eight bytes"))
    };
    let writes = (0..200).map(|number| {
        let ledger = std::sync::Arc::clone(&ledger);
        tokio::spawn(async move { ledger.record(&entry(number, owner("a"), &[number])).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.expect("no panic").expect("recorded");
    }
    assert!((1..200).contains(&commits()), "{}", commits());
    assert_eq!(count(&ledger).await, 200);
}

/// Six variants in the serve directory, half of them in a bucket too: of job `number`, whose owner is one of 10,000.
fn large(number: u64) -> LedgerEntry {
    let noise = Sha256::digest(number.to_be_bytes());
    let mut id = [0; 16];
    id[..6].copy_from_slice(&(1_790_000_000_000 + number * 37).to_be_bytes()[2..]);
    id[6..].copy_from_slice(&noise[..10]);
    let owner_number = u64::from_be_bytes(noise[10..18].try_into().expect("eight bytes")) % 10_000;
    let owner = owner(&format!("customer-{owner_number:06}"));
    let content = ContentHash::of(&noise);
    let hash = HashKey::new(&content, &owner);
    let files = [1600_u64, 800, 400].into_iter().flat_map(|width| ["webp", "jpg"].map(|extension| (width, extension)));
    let files = files.map(|(width, extension)| {
        let name = format!("{hash}_IMG-{:08}-{:06}_0_{width}_.{extension}", number % 100_000_000, number % 999_983);
        let direct = Place { backend: "directHost".into(), access_key: None, location: format!("/files/tour/{name}") };
        let bucket = (owner_number % 2 == 0).then(|| Place {
            backend: "s3".into(),
            access_key: Some("pxs_6d9f4c2ab1e84d0c".into()),
            location: format!("s3://pictures-of-the-shop/px/tour/{name}"),
        });
        EntryFile { name, bytes: 100_000 + width, places: [direct].into_iter().chain(bucket).collect() }
    });
    LedgerEntry {
        job_id: JobId::from_bytes(id),
        files: files.collect(),
        owner,
        content,
        ended_at: at(number),
        expires_at: Some(at(1_800_000_000_000 + number)),
        recipient: None,
    }
}

/// `cargo test --release --test it -- --ignored --nocapture ten_million_jobs`
#[tokio::test]
#[ignore = "takes half an hour and 3 GB"]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
async fn ten_million_jobs_take_less_than_4_gb_and_open_at_once() {
    const JOBS: u64 = 10_000_000;
    const COMMITS: u32 = 200;
    let temporary = tempfile::tempdir().expect("temporary directory");
    let data = temporary.path();
    let ledger = open(data).ledger;
    let began = Instant::now();
    for first in (0..JOBS).step_by(500) {
        let entries: Vec<_> = (first..first + 500).map(large).collect();
        for recorded in futures_util::future::join_all(entries.iter().map(|entry| ledger.record(entry))).await {
            recorded.expect("recorded");
        }
    }
    println!("recorded in {:?}", began.elapsed());
    // As a kill leaves it, its log and all.
    let copy = tempfile::tempdir_in(data).expect("temporary directory");
    for suffix in ["", "-wal", ".uuid", ".synced"] {
        let name = format!("{LEDGER_DATABASE}{suffix}");
        fs::copy(data.join(&name), copy.path().join(&name)).expect("copied");
    }
    ledger.close().await.expect("closed");
    let bytes: u64 = ["", "-wal"]
        .iter()
        .filter_map(|suffix| File::open(copy.path().join(format!("{LEDGER_DATABASE}{suffix}"))).ok())
        .map(|file| file.metadata().expect("metadata").len())
        .sum();
    println!("{bytes} bytes");
    assert!(bytes < 4_000_000_000, "{bytes}");

    let began = Instant::now();
    let OpenedLedger { ledger, set_aside } = open(copy.path());
    println!("opened in {:?}", began.elapsed());
    assert!(set_aside.is_none() && began.elapsed().as_secs() < 2, "{:?}", began.elapsed());

    let began = Instant::now();
    let mut page = LedgerPageRequest::first(200);
    let mut found = 0;
    loop {
        let read = ledger.of_subject(None, "customer-000042", &page).await.expect("read");
        for entry in &read.entries {
            assert_eq!(ledger.of_hash(&entry.hash()).await.expect("read").len(), 1);
        }
        found += read.entries.len();
        page.after = read.next;
        if page.after.is_none() {
            break;
        }
    }
    println!("{found} jobs of a subject, each with all of its hash, in {:?}", began.elapsed());
    assert!((800..1200).contains(&found) && began.elapsed().as_secs() < 5, "{found} in {:?}", began.elapsed());

    let owner = Owner { user: None, access_key: None, sub: "customer-000043".into() };
    let began = Instant::now();
    for number in 0..COMMITS {
        let entry = LedgerEntry { owner: owner.clone(), ..large(JOBS + u64::from(number)) };
        ledger.record(&entry).await.expect("recorded");
    }
    println!("a commit of one takes {:?}", began.elapsed() / COMMITS);
}
