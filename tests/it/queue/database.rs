//! The embedded database: opened by one, and never silently empty.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pixerve::database::{Database, DatabaseError, OpenedDatabase};

type TestResult = Result<(), Box<dyn Error>>;

/// Two and a half segments: what matters only shows with more than one.
const RECORDS: u32 = 20_000;
const RECORD_BYTES: usize = 1_000;

struct Filled {
    _temp: tempfile::TempDir,
    dir: PathBuf,
}

#[derive(PartialEq)]
enum Left {
    Closed,
    Dropped,
}

fn filled(left: &Left) -> Result<Filled, Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let dir = temp.path().join("queue.db");
    let OpenedDatabase { database, set_aside } = Database::open(&dir)?;
    assert_eq!(set_aside, None);
    let tree = database.tree("jobs")?;
    for i in 0..RECORDS {
        tree.insert(i.to_be_bytes(), incompressible(i))?;
    }
    drop(tree);
    database.sync()?;
    if *left == Left::Closed {
        database.close()?;
    } else {
        drop(database);
    }
    Ok(Filled { _temp: temp, dir })
}

fn incompressible(seed: u32) -> Vec<u8> {
    let mut x = u64::from(seed) | 0x9E37_79B9_0000_0000;
    let step = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        x.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(RECORD_BYTES).collect()
}

fn count(database: &Database) -> Result<usize, Box<dyn Error>> {
    Ok(database.tree("jobs")?.iter().collect::<Result<Vec<_>, _>>()?.len())
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", dir.display()))
}

/// Damaged means: either every record is there, or someone is told and has the files as they were found.
fn assert_not_silently_empty(dir: &Path, file_bytes: u64) -> TestResult {
    let OpenedDatabase { database, set_aside } = Database::open(dir)?;
    let found = count(&database)?;
    match set_aside {
        None => assert_eq!(found, RECORDS as usize, "records are missing and it was not reported"),
        Some(set_aside) => {
            assert!(set_aside.path.is_dir(), "{set_aside:?}");
            assert_eq!(fs::metadata(set_aside.path.join("db"))?.len(), file_bytes, "{set_aside:?}");
        }
    }
    // Whatever it was, it works now, and the next opening finds nothing wrong.
    database.tree("jobs")?.insert("new", "record")?;
    database.close()?;
    let again = Database::open(dir)?;
    assert_eq!(again.set_aside, None);
    assert_eq!(again.database.tree("jobs")?.get("new")?.as_deref(), Some(b"record".as_slice()));
    Ok(())
}

fn cut(dir: &Path, missing: u64) -> Result<u64, Box<dyn Error>> {
    let file = OpenOptions::new().write(true).open(dir.join("db"))?;
    let left = file.metadata()?.len().saturating_sub(missing);
    file.set_len(left)?;
    Ok(left)
}

fn remove_snapshots(dir: &Path) -> TestResult {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[test]
fn records_survive_a_clean_stop_without_a_copy() -> TestResult {
    let filled = filled(&Left::Closed)?;
    let OpenedDatabase { database, set_aside } = Database::open(&filled.dir)?;
    assert_eq!(set_aside, None);
    assert_eq!(count(&database)?, RECORDS as usize);
    assert!(!beside(&filled.dir, "copy").exists());
    Ok(())
}

#[test]
fn one_copy_is_kept_after_unclean_stops() -> TestResult {
    let filled = filled(&Left::Dropped)?;
    for _ in 0..3 {
        let OpenedDatabase { database, set_aside } = Database::open(&filled.dir)?;
        assert_eq!(set_aside, None);
        assert_eq!(count(&database)?, RECORDS as usize);
    }
    let parent = filled.dir.parent().ok_or("no parent")?;
    let mut names: Vec<_> = fs::read_dir(parent)?.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["queue.db", "queue.db.copy", "queue.db.lock", "queue.db.synced", "queue.db.uuid"]);

    Database::open(&filled.dir)?.database.close()?;
    assert!(beside(&filled.dir, "copy").exists(), "that it closes doesn't say that it opens");
    Database::open(&filled.dir)?.database.close()?;
    assert!(!beside(&filled.dir, "copy").exists(), "a clean start needs it no more");
    Ok(())
}

#[test]
fn a_second_opening_is_refused() -> TestResult {
    let filled = filled(&Left::Closed)?;
    let first = Database::open(&filled.dir)?;
    let second = Database::open(&filled.dir);
    assert!(matches!(second, Err(DatabaseError::AlreadyRunning { .. })), "{second:?}");
    assert_eq!(count(&first.database)?, RECORDS as usize, "the first is unharmed");
    drop(first);
    Database::open(&filled.dir)?;
    Ok(())
}

#[test]
fn a_truncated_file_is_never_silently_empty() -> TestResult {
    for (missing, with_snapshots) in
        [(4 << 20, true), (4 << 20, false), (9 << 20, false), (9 << 20, true), (17 << 20, false)]
    {
        let filled = filled(&Left::Closed)?;
        let left = cut(&filled.dir, missing)?;
        if !with_snapshots {
            remove_snapshots(&filled.dir)?;
        }
        assert_not_silently_empty(&filled.dir, left)?;
    }
    Ok(())
}

#[test]
fn a_file_lost_after_a_kill_is_set_aside() -> TestResult {
    let filled = filled(&Left::Dropped)?;
    let left = cut(&filled.dir, u64::MAX)?;
    remove_snapshots(&filled.dir)?;
    let opened = Database::open(&filled.dir)?;
    let set_aside = opened.set_aside.ok_or("an emptied file passed for a database")?;
    assert_eq!(fs::metadata(set_aside.path.join("db"))?.len(), left);
    assert_eq!(count(&opened.database)?, 0);
    Ok(())
}

#[test]
fn an_emptied_file_is_set_aside() -> TestResult {
    let filled = filled(&Left::Closed)?;
    let left = cut(&filled.dir, u64::MAX)?;
    assert_not_silently_empty(&filled.dir, left)
}

#[test]
fn flipped_bits_in_the_header_are_noticed() -> TestResult {
    let filled = filled(&Left::Dropped)?;
    let mut file = OpenOptions::new().write(true).open(filled.dir.join("db"))?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&[0xA5; 64])?;
    let bytes = file.metadata()?.len();
    assert_not_silently_empty(&filled.dir, bytes)
}

#[test]
fn a_damaged_snapshot_is_noticed() -> TestResult {
    let filled = filled(&Left::Dropped)?;
    let bytes = fs::metadata(filled.dir.join("db"))?.len();
    for entry in fs::read_dir(&filled.dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            OpenOptions::new().write(true).open(path)?.set_len(0)?;
        }
    }
    assert_not_silently_empty(&filled.dir, bytes)
}

#[test]
fn a_stray_half_written_snapshot_is_removed() -> TestResult {
    let filled = filled(&Left::Dropped)?;
    let stray = filled.dir.join("snap.FFFFFFFFFFFFFFFF.generating");
    OpenOptions::new().create_new(true).write(true).open(&stray)?.write_all(b"half")?;
    let opened = Database::open(&filled.dir)?;
    assert_eq!(opened.set_aside, None);
    assert_eq!(count(&opened.database)?, RECORDS as usize);
    assert!(!stray.exists());
    Ok(())
}

#[test]
fn a_directory_that_vanished_is_reported() -> TestResult {
    let filled = filled(&Left::Closed)?;
    fs::remove_dir_all(&filled.dir)?;
    let opened = Database::open(&filled.dir)?;
    assert_eq!(opened.set_aside.map(|set_aside| set_aside.path), Some(filled.dir.clone()));
    Ok(())
}

#[test]
fn another_database_in_its_place_is_set_aside() -> TestResult {
    let (ours, other) = (filled(&Left::Closed)?, filled(&Left::Closed)?);
    fs::remove_dir_all(&ours.dir)?;
    fs::rename(&other.dir, &ours.dir)?;
    let opened = Database::open(&ours.dir)?;
    let set_aside = opened.set_aside.ok_or("a stranger's database was taken for ours")?;
    assert!(set_aside.why.contains("not the database"), "{}", set_aside.why);
    Ok(())
}
