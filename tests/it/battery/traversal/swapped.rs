//! A directory that is a link every other moment.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use super::super::figure;
use crate::harness::app::{TestApp, files_below};
use crate::harness::picture::png;

/// Swaps `dir` for a link to `outside` and back until it is told to stop: how often it did.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Swapper {
    fn start(dir: PathBuf, outside: PathBuf) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, swaps) = (Arc::clone(&stop), Arc::clone(&swaps));
            let (aside, link) = (dir.with_extension("aside"), dir.with_extension("link"));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // Any of these may lose against the server, which makes the directory anew when it is gone.
                    let _ = symlink(&outside, &link);
                    let _ = fs::rename(&dir, &aside);
                    let _ = fs::rename(&link, &dir);
                    std::thread::yield_now();
                    let _ = fs::remove_file(&dir);
                    let _ = fs::rename(&aside, &dir);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, swaps, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.swaps.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_swapped_for_a_link_while_reading_shows_nothing_from_outside() {
    let app = TestApp::start().await;
    let picture = png(16, 16, 1);
    let job = json!({ "directHost": true, "keepOriginal": true, "subDir": "dir" });
    let done = app.done("me", job, "a.png", picture.clone()).await;
    let location = done["files"][0]["stored"][0]["location"].as_str().expect("a location");
    let outside = app.serve_dir().with_file_name("outside");
    fs::create_dir(&outside).expect("made");
    let name = location.rsplit('/').next().expect("a name");
    // Of the same name, so that only the link tells them apart.
    let decoy = png(16, 16, 2);
    fs::copy(app.serve_dir().join("dir").join(name), outside.join("copy")).expect("copied");
    {
        use std::io::Write;
        fs::File::create(outside.join(name)).expect("made").write_all(&decoy).expect("written");
    }
    let swapper = Swapper::start(app.serve_dir().join("dir"), outside);
    let (mut whole, mut missing) = (0, 0);
    // So long as both have been seen, and often.
    while whole + missing < 20_000 && (whole + missing < 500 || whole < 50 || missing < 50) {
        let response = app.get(location).await;
        match response.status().as_u16() {
            200 => {
                assert!(response.bytes().await.expect("a body") == picture, "that is another file");
                whole += 1;
            }
            404 => missing += 1,
            other => panic!("{other}"),
        }
    }
    let swaps = swapper.stop();
    figure(
        "traversal",
        format!(
            "{} reads over {swaps} swaps for a link: {whole} whole, {missing} not found, 0 from outside",
            whole + missing
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_swapped_for_a_link_while_writing_lets_nothing_out() {
    let app = TestApp::start_with(&[("PIXERVE_QUEUE_ATTEMPTS_MAX", "2")]).await;
    let outside = app.serve_dir().with_file_name("outside");
    fs::create_dir(&outside).expect("made");
    let swapper = Swapper::start(app.serve_dir().join("dir"), outside.clone());
    let jobs = (0..12).map(|seed| {
        let job = json!({ "directHost": true, "keepOriginal": true, "subDir": "dir", "formats": { "jpg": { "sizes": [[8]] } } });
        app.done("me", job, "a.png", png(16, 16, seed))
    });
    let ends = futures_util::future::join_all(jobs).await;
    let completed = ends.iter().filter(|end| end["state"] == "completed").count();
    let failed = ends.iter().filter(|end| end["state"] == "failed").count();
    assert_eq!(completed + failed, ends.len(), "{ends:?}");
    let swaps = swapper.stop();
    assert_eq!(files_below(&outside), Vec::<String>::new(), "over {swaps} swaps");
    figure(
        "traversal",
        format!("12 jobs over {swaps} swaps for a link: {completed} completed, {failed} failed, 0 files outside"),
    );
}
