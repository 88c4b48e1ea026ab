//! The migration: a directory of pictures, by a script in Python that is killed in the middle.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Workshop;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::stores::dead_store;
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, require};

const PICTURES: usize = 12;
/// One is cut off.
const JOBS: usize = PICTURES + 1;

/// The script, and the directory that it migrates: pictures in two directories, one of them cut off, and a text.
fn migration(workshop: &Workshop, python: &Path) -> Command {
    workshop.put("migrate.py", include_str!("migrate.py"));
    for n in 0..PICTURES {
        let below = if n % 2 == 0 { "rooms" } else { "garden, and more" };
        workshop.put(&format!("old/{below}/{n}.jpg"), jpeg(300, 200, u32::try_from(n).expect("small")));
    }
    workshop.put("old/notes.txt", "no picture");
    workshop.put("old/rooms/cut.jpg", &jpeg(900, 600, 99)[..20_000]);
    let mut command = workshop.run(python);
    command.args(["migrate.py", "old"]).stdin(Stdio::null());
    command
}

/// A token of the app's user, for this customer.
fn shop(workshop: &Workshop, sub: &str) -> Claims {
    let keys = std::fs::read(workshop.path("shop.json")).expect("it is registered");
    let keys: Value = serde_json::from_slice(&keys).expect("JSON");
    let key = |name: &str| keys[name].as_str().expect("text").to_owned();
    Claims::of(sub).by(&key("access_key"), &key("secret"))
}

/// As many jobs of the app's user as it may have, which end when they are cancelled.
async fn fill(workshop: &Workshop, room: usize) -> Vec<Value> {
    let store = workshop.server.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": store }, "keepOriginal": true });
    let mut jobs = Vec::new();
    for seed in 0..room {
        let picture = jpeg(30, 20, u32::try_from(seed).expect("small"));
        let answer = workshop.server.upload(&shop(workshop, "busy").job(job.clone()).sign(), "a.jpg", picture).await;
        assert_eq!(answer.status(), 200);
        jobs.push(answer.json().await.expect("JSON"));
    }
    jobs
}

fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/venv/bin/python");
    let has_libraries = Command::new(&python).args(["-c", "import jwt, requests"]).output();
    require(Tool::TestServers, Some(python).filter(|_| has_libraries.is_ok_and(|ended| ended.status.success())))
}

/// The lines of its table: the name, the state, and where files are or what was wrong.
fn rows(printed: &[u8]) -> Vec<[String; 3]> {
    let printed = std::str::from_utf8(printed).expect("UTF-8");
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("ref,state,places"), "{printed}");
    let row = |line: &str| {
        // Only the name may have a comma, and then it is quoted.
        let (name, rest) = match line.strip_prefix('"').and_then(|quoted| quoted.split_once("\",")) {
            Some(quoted) => quoted,
            None => line.split_once(',').expect("a name"),
        };
        let (state, places) = rest.split_once(',').expect("a state");
        [name, state, places].map(str::to_owned)
    };
    lines.map(row).collect()
}

/// The names of all jobs that there have been, by the owner's records.
async fn jobs(workshop: &Workshop) -> Vec<String> {
    let mut names = Vec::new();
    for (path, list) in [("/success/list?limit=100", "success"), ("/failures/list?limit=100", "failures")] {
        let request = workshop.server.request(Method::GET, path).bearer_auth(Claims::of("me").admin().sign());
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let jobs = answer.as_object().expect("an object").values().find_map(Value::as_array);
        let jobs = jobs.unwrap_or_else(|| panic!("{list}: {answer}"));
        names.extend(jobs.iter().map(|job| job["ref"].as_str().expect("a ref").to_owned()));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_killed_goes_on_where_it_was_and_makes_nothing_twice() {
    let Some(python) = python() else { return };
    let room = JOBS + 1;
    let workshop = Workshop::open_with(&[("PIXERVE_QUEUE_OWNER_DEPTH_MAX", &room.to_string())]).await;
    let busy = fill(&workshop, room).await;
    let mut first =
        migration(&workshop, &python).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut told = BufReader::new(first.stderr.take().expect("piped")).lines();
    // It is told to come back later, and does when there is room.
    let started = Instant::now();
    while !workshop.home.log().contains("too_many_jobs") {
        assert!(started.elapsed() < WAIT_MAX, "nothing was refused:\n{}", workshop.home.log());
        poll_delay().await;
    }
    for job in busy {
        let path = format!("/cancel?job_id={}", job["job_id"].as_str().expect("an id"));
        let request = workshop.server.request(Method::DELETE, &path).bearer_auth(shop(&workshop, "busy").sign());
        assert_eq!(request.send().await.expect("an answer").status(), 204);
    }
    for n in 0..PICTURES / 2 {
        let line = told.next().unwrap_or_else(|| panic!("it ended after {n}")).expect("text");
        assert!(line.contains(" is "), "{line}");
    }
    first.kill().expect("it runs");
    first.wait().expect("it ends");

    let second = migration(&workshop, &python).output().expect("it runs");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let rows_of_second = rows(&second.stdout);
    let third = migration(&workshop, &python).output().expect("it runs");
    let sorted = |rows: &[[String; 3]]| rows.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&rows(&third.stdout)), sorted(&rows_of_second), "nothing is left to do");

    let (mut done, mut others) = (BTreeSet::new(), Vec::new());
    for [name, state, places] in rows_of_second {
        if state != "completed" {
            others.push((name, state, places));
            continue;
        }
        let places: Vec<_> = places.split(' ').collect();
        assert_eq!(places.len(), 3, "{name}: two variants and the original");
        for place in places {
            assert!(!workshop.server.file(place).await.is_empty());
            done.insert(place.to_owned());
        }
    }
    assert_eq!(done.len(), 3 * PICTURES);
    // And the original of the one that is cut off, which was stored before anybody could know.
    assert_eq!(files_below(&workshop.home.serve_dir().join("migrated")).len(), 3 * PICTURES + 1);
    others.sort();
    let [(text, refused, why), (cut, failed, wrong)] = &others[..] else { panic!("{others:?}") };
    assert_eq!([text, refused, cut, failed], ["notes.txt", "refused", "rooms/cut.jpg", "failed"]);
    assert!(why.contains("not an image") && wrong.contains("truncated"), "{why}; {wrong}");

    let mut jobs = jobs(&workshop).await;
    jobs.sort();
    let names: BTreeSet<_> = jobs.iter().cloned().collect();
    assert_eq!((jobs.len(), names.len()), (JOBS, JOBS), "a job each: {jobs:?}");
}
