//! The queue's database is damaged between two lives of a whole server: every accepted job completes from the spool,
//! and what is lost of ended ones is reported. The rows are those that sled itself gets wrong.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::promise::all_records;
use crate::battery::figure;
use crate::harness::app::{files_below, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::stores::s3_at;

const AT_ONCE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    /// By SIGTERM.
    Stopped,
    /// By SIGKILL.
    Killed,
}

/// What happens to the files.
#[derive(Clone, Copy, Debug)]
enum Damage {
    CutBy(u64),
    /// The same, and no snapshot is left that would tell.
    CutByWithoutSnapshot(u64),
    Emptied,
    Halved,
    SnapshotCut,
    SnapshotEmptied,
    SnapshotFlipped,
    StrayHalfSnapshot,
    ZeroedAt(u64),
    FirstBytesFlipped,
    ConfGarbage,
    ConfEmptied,
    ConfGone,
    AllGarbage,
}

const ROWS: [Damage; 21] = [
    Damage::CutBy(100),
    Damage::CutBy(64 << 10),
    Damage::CutBy(1 << 20),
    Damage::CutBy(2 << 20),
    Damage::CutBy(4 << 20),
    Damage::CutByWithoutSnapshot(100),
    Damage::CutByWithoutSnapshot(1 << 20),
    Damage::CutByWithoutSnapshot(2 << 20),
    Damage::CutByWithoutSnapshot(4 << 20),
    Damage::Emptied,
    Damage::Halved,
    Damage::SnapshotCut,
    Damage::SnapshotEmptied,
    Damage::SnapshotFlipped,
    Damage::StrayHalfSnapshot,
    Damage::ZeroedAt(4096),
    Damage::FirstBytesFlipped,
    Damage::ConfGarbage,
    Damage::ConfEmptied,
    Damage::ConfGone,
    Damage::AllGarbage,
];

impl Damage {
    fn inflict(self, database: &Path) {
        let log = database.join("db");
        let bytes = fs::metadata(&log).expect("sled's file").len();
        match self {
            Self::CutBy(missing) => set_len(&log, bytes.saturating_sub(missing)),
            Self::CutByWithoutSnapshot(missing) => {
                set_len(&log, bytes.saturating_sub(missing));
                for snapshot in snapshots(database) {
                    fs::remove_file(snapshot).expect("it goes");
                }
            }
            Self::Emptied => set_len(&log, 0),
            Self::Halved => set_len(&log, bytes / 2),
            Self::SnapshotCut => each(database, |snapshot, bytes| set_len(snapshot, bytes / 2)),
            Self::SnapshotEmptied => each(database, |snapshot, _| set_len(snapshot, 0)),
            Self::SnapshotFlipped => each(database, |snapshot, bytes| change(snapshot, bytes / 2, 16, |byte| !byte)),
            Self::StrayHalfSnapshot => put(&database.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half"),
            Self::ZeroedAt(at) => change(&log, at, 4096, |_| 0),
            Self::FirstBytesFlipped => change(&log, 0, 64, |byte| !byte),
            Self::ConfGarbage => put(&database.join("conf"), &[0xA5; 100]),
            Self::ConfEmptied => put(&database.join("conf"), b""),
            Self::ConfGone => fs::remove_file(database.join("conf")).expect("it goes"),
            Self::AllGarbage => change(&log, 0, bytes, |byte| byte.wrapping_mul(167).wrapping_add(13)),
        }
    }
}

fn set_len(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(bytes)).expect("it is cut");
}

fn put(path: &Path, bytes: &[u8]) {
    let open = OpenOptions::new().create(true).truncate(true).write(true).open(path);
    open.and_then(|mut file| file.write_all(bytes)).expect("it is written");
}

fn change(path: &Path, at: u64, bytes: u64, change: impl Fn(u8) -> u8) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("it opens");
    let mut part = Vec::new();
    file.seek(SeekFrom::Start(at)).expect("it has so many bytes");
    Read::by_ref(&mut file).take(bytes).read_to_end(&mut part).expect("it reads");
    for byte in &mut part {
        *byte = change(*byte);
    }
    file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&part)).expect("it writes");
}

fn snapshots(database: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(database).expect("it lists").flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap."))).collect()
}

fn each(database: &Path, damage: impl Fn(&Path, u64)) {
    for snapshot in snapshots(database) {
        damage(&snapshot, fs::metadata(&snapshot).expect("its size").len());
    }
}

/// What became of it.
#[derive(Default)]
struct Outcome {
    jobs: usize,
    histories_kept: usize,
    histories_reported_lost: usize,
}

/// A server with ended jobs, one in work and some waiting; then damage, then a start.
async fn survive(damage: Damage, left: Left) -> Outcome {
    let home = Home::new(&[
        ("PIXERVE_MAX_WORKERS", "1"),
        ("PIXERVE_STORES_BACKOFF_MIN", "300s"),
        ("PIXERVE_STORES_BACKOFF_MAX", "300s"),
        ("PIXERVE_SERVER_DRAIN_TIMEOUT", "100ms"),
    ]);
    // Lives before: sled's file only grows to its full length at its second opening.
    home.start().await.kill();
    let mut server = home.start().await;
    let addr = reserve_port();
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("held");
    absent.stop().await;
    let mut ended = Vec::new();
    for seed in 0..2 {
        ended.push(server.done("me", small_job(), "a.jpg", jpeg(20, 20, seed)).await);
    }
    let key = server.register(registration).await;
    let job =
        json!({ "directHost": true, "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[16], [8]] } } });
    let mut accepted = Vec::new();
    for seed in 10..13 {
        accepted.push(server.accepted("me", job.clone(), "a.jpg", jpeg(20, 20, seed)).await);
    }
    server.processing(&accepted[0]).await;
    match left {
        Left::Killed => server.kill(),
        Left::Stopped => {
            server.terminate();
            assert!(server.exited().await.success(), "{}", home.terminal());
        }
    }

    damage.inflict(&home.data_dir().join("ConvertQueue.db"));
    let s3 = s3_at(addr, &["held"]).await;
    let server = home.start().await;
    for accepted in &accepted {
        let status = server.ended(accepted).await;
        assert_eq!((&status["state"], &status["job_id"]), (&json!("completed"), &accepted["job_id"]), "{damage:?}");
        for name in accepted["expected_files"].as_array().expect("names").iter().filter_map(Value::as_str) {
            let direct = server.file(&format!("/files/{name}")).await;
            assert_eq!(s3.object("held", name).await.map(|object| object.bytes), Some(direct), "{damage:?} {name}");
        }
    }
    let records = all_records(&server).await;
    for accepted in &accepted {
        let of_job = records.iter().filter(|record| record["job_id"] == accepted["job_id"]).count();
        assert_eq!(of_job, 1, "{damage:?}");
    }
    while !files_below(&home.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }

    let mut outcome = Outcome { jobs: accepted.len(), ..Outcome::default() };
    let log = home.log();
    let is_reported = log.contains("queue database was damaged and has been set aside");
    for status in &ended {
        let id = status["job_id"].as_str().expect("an id");
        let now = server.request(Method::GET, &format!("/status?job_id={id}")).send().await.expect("an answer");
        if now.status() == 200 {
            assert_eq!(now.json::<Value>().await.expect("JSON")["files"], status["files"], "{damage:?}");
            outcome.histories_kept += 1;
        } else {
            assert!(is_reported, "{damage:?} after it was {left:?}: history is lost and not reported\n{log}");
            outcome.histories_reported_lost += 1;
        }
    }
    let aside = fs::read_dir(home.data_dir()).expect("it lists").flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-")).count();
    assert_eq!(aside > 0, is_reported, "{damage:?}: what is set aside is named");
    outcome
}

async fn walk(rows: impl Iterator<Item = (Damage, Left)>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut servers = JoinSet::new();
    for (damage, left) in rows {
        let places = Arc::clone(&places);
        servers.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            survive(damage, left).await
        });
    }
    let (mut rows, mut all) = (0, Outcome::default());
    while let Some(survived) = servers.join_next().await {
        let outcome = survived.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        rows += 1;
        all.jobs += outcome.jobs;
        all.histories_kept += outcome.histories_kept;
        all.histories_reported_lost += outcome.histories_reported_lost;
    }
    let Outcome { jobs, histories_kept, histories_reported_lost } = all;
    figure(
        "crash",
        format!(
            "{rows} damaged databases: {jobs} of {jobs} unfinished jobs completed; of the ended ones {histories_kept} \
             were still known, {histories_reported_lost} reported as lost"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_jobs_complete_and_lost_history_is_reported_whatever_happens_to_the_database() {
    let rows = [Damage::CutBy(4 << 20), Damage::SnapshotFlipped, Damage::ZeroedAt(4096), Damage::ConfGarbage];
    walk(rows.into_iter().map(|damage| (damage, Left::Killed))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn accepted_jobs_complete_and_lost_history_is_reported_in_every_row() {
    walk(ROWS.into_iter().flat_map(|damage| [(damage, Left::Killed), (damage, Left::Stopped)])).await;
}
