//! The queue's database is lost between two runs: what was accepted is not.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

use super::Held;

fn database(held: &Held) -> PathBuf {
    held.app.data_dir().join("ConvertQueue.db")
}

/// Whether a damaged database was kept for a person to look at.
fn is_set_aside(held: &Held) -> bool {
    let entries = fs::read_dir(held.app.data_dir()).expect("it lists");
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("ConvertQueue.db.damaged"))
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_jobs_complete_though_the_database_is_gone() {
    let mut held = Held::start(4).await;
    held.app.stop(Duration::ZERO).await;
    fs::remove_dir_all(database(&held)).expect("it is there");
    let s3 = held.store().await;
    held.app.restart().await;
    held.assert_all_complete(&s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_jobs_complete_though_the_whole_database_and_its_companions_are_gone() {
    let mut held = Held::start(2).await;
    held.app.stop(Duration::ZERO).await;
    for entry in fs::read_dir(held.app.data_dir()).expect("it lists").flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        match name.to_string_lossy().starts_with("ConvertQueue.db") {
            true if path.is_dir() => fs::remove_dir_all(path).expect("it goes"),
            true => fs::remove_file(path).expect("it goes"),
            false => {}
        }
    }
    let s3 = held.store().await;
    held.app.restart().await;
    held.assert_all_complete(&s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_jobs_complete_though_the_database_was_cut_short() {
    for left in [0, 100, 5_000] {
        let mut held = Held::start(2).await;
        held.app.stop(Duration::ZERO).await;
        let file = OpenOptions::new().write(true).open(database(&held).join("db")).expect("sled's file");
        file.set_len(left).expect("it is cut");
        let s3 = held.store().await;
        held.app.restart().await;
        held.assert_all_complete(&s3).await;
        assert!(is_set_aside(&held), "cut to {left} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_jobs_complete_though_the_database_is_garbage() {
    let mut held = Held::start(2).await;
    held.app.stop(Duration::ZERO).await;
    let path = database(&held).join("db");
    let bytes = fs::metadata(&path).expect("sled's file").len();
    let garbage: Vec<u8> = (0..bytes).map(|i| u8::try_from(i.wrapping_mul(167) % 251).expect("a byte")).collect();
    std::io::Write::write_all(&mut fs::File::create(&path).expect("it opens"), &garbage).expect("it is written");
    let s3 = held.store().await;
    held.app.restart().await;
    held.assert_all_complete(&s3).await;
    assert!(is_set_aside(&held));
}
