//! Children that die.

use serde_json::json;

use super::FakeChild;
use crate::harness::app::{TestApp, assert_problem, files_below, poll_delay, small_job, spooled};
use crate::harness::picture::{jpeg, png};
use crate::harness::token::Claims;

/// A child that kills itself if its job's original is a PNG, and is a good one otherwise.
fn dies_on_png() -> FakeChild {
    let real = env!("CARGO_BIN_EXE_pixerve");
    FakeChild::new(&format!(
        "input=$(mktemp); cat >\"$input\"; if grep -qa IHDR \"$input\"; then rm \"$input\"; kill -9 $$; fi
         {real} \"$@\" <\"$input\"; code=$?; rm \"$input\"; exit $code"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_child_fails_after_three_and_the_others_finish() {
    let child = dies_on_png();
    let app = TestApp::start_on(child.path(), &[]).await;
    let poison = app.accepted("me", small_job(), "a.png", png(40, 30, 1)).await;
    for seed in 0..5 {
        let status = app.done("me", small_job(), "a.jpg", jpeg(40, 30, seed)).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    let status = app.ended(&poison).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &3.into()), "{status}");
    let error = status["error"].as_str().expect("an error");
    assert!(error.contains("took its worker down 3 times") && error.contains("killed by signal 9"), "{error}");
    assert_eq!(files_below(&app.serve_dir()).len(), 5);
    // It leaves the spool once its end is durable.
    while !spooled(&app.data_dir()).is_empty() {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_needs_more_memory_than_it_may_have_is_refused_at_upload_and_others_are_not() {
    for setting in ["PIXERVE_WORKER_MEMORY_MAX", "PIXERVE_WORKER_MEMORY_BUDGET"] {
        let app = TestApp::start_with(&[(setting, "160MiB")]).await;
        // 20 MP of one colour: small on the wire, 60 MB in memory, and not so large that it would be reduced on the way.
        let token = Claims::of("me").job(small_job()).sign();
        let response = app.upload(&token, "a.png", png_of_one_colour(6000, 4000)).await;
        let problem = assert_problem(response, 422, "image_too_large").await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("MiB of memory") && detail.contains("160 MiB"), "{detail}");
        // Nothing is kept of it.
        while !files_below(&app.data_dir().join("spool")).is_empty() {
            poll_delay().await;
        }
        let status = app.done("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_accepted_under_larger_limits_is_made_under_smaller_ones() {
    let mut app = TestApp::start_with(&[("PIXERVE_PAUSED", "false"), ("PIXERVE_MAX_WORKERS", "1")]).await;
    // Something before it, so that it waits.
    let slow = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[500]] } } });
    app.accepted("me", slow, "slow.jpg", jpeg(500, 500, 1)).await;
    let accepted = app.accepted("me", small_job(), "a.png", png_of_one_colour(6000, 4000)).await;
    for (setting, value) in [
        ("PIXERVE_WORKER_MEMORY_MAX", "160MiB"),
        ("PIXERVE_WORKER_MEMORY_BUDGET", "160MiB"),
        ("PIXERVE_PIXELS_SOURCE_MAX", "1MP"),
        ("PIXERVE_PIXELS_SOURCE_WHOLE_MAX", "1MP"),
    ] {
        app.set(setting, value);
    }
    app.restart().await;
    let status = app.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_that_was_cut_short_on_disk_fails_its_job_at_once_as_truncated() {
    let dir = tempfile::tempdir().expect("a directory");
    let mended = dir.path().join("mended");
    let real = env!("CARGO_BIN_EXE_pixerve");
    let child = FakeChild::new(&format!("[ -e {} ] || exec sleep 60; exec {real} \"$@\"", mended.display()));
    let mut app = TestApp::start_on(child.path(), &[]).await;
    let bytes = png(400, 300, 1);
    let accepted = app.accepted("me", small_job(), "a.png", bytes.clone()).await;
    app.processing(&accepted).await;
    let id = accepted["job_id"].as_str().expect("an id");
    let original = app.data_dir().join("spool/jobs").join(id).join("original");
    let file = std::fs::OpenOptions::new().write(true).open(&original).expect("it is there");
    file.set_len(bytes.len() as u64 / 2).expect("cut");
    std::fs::File::create(&mended).expect("made");
    app.restart().await;
    let status = app.ended(&accepted).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &1.into()), "{status}");
    assert!(status["error"].as_str().is_some_and(|error| error.contains("truncated")), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_runs_out_of_memory_fails_its_job_at_once_and_says_what_to_do() {
    // The binary itself, under a limit on its address space that lets it start, but not hold such a picture.
    let real = env!("CARGO_BIN_EXE_pixerve");
    let child = FakeChild::new(&format!("ulimit -v 150000; exec {real} \"$@\""));
    let app = TestApp::start_on(child.path(), &[]).await;
    let status = app.done("me", small_job(), "a.png", png_of_one_colour(6000, 4000)).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &1.into()), "{status}");
    let error = status["error"].as_str().expect("an error");
    assert!(error.contains("MiB of memory") && error.contains("PIXERVE_WORKER_MEMORY_MAX"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_takes_too_long_to_decode_fails_at_once_and_its_worker_goes_on() {
    let real = env!("CARGO_BIN_EXE_pixerve");
    let child = FakeChild::new(&format!(
        "input=$(mktemp); cat >\"$input\"; if grep -qa IHDR \"$input\"; then rm \"$input\"; exec sleep 300; fi
         {real} \"$@\" <\"$input\"; code=$?; rm \"$input\"; exit $code"
    ));
    let settings = [("PIXERVE_WORKER_DECODE_TIMEOUT", "8s"), ("PIXERVE_MAX_WORKERS", "1")];
    let app = TestApp::start_on(child.path(), &settings).await;
    let status = app.done("me", small_job(), "a.png", png(40, 30, 1)).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &1.into()), "{status}");
    assert!(status["error"].as_str().is_some_and(|error| error.contains("decoding")), "{status}");
    let status = app.done("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
}

fn png_of_one_colour(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fastest);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![90; width as usize * height as usize * 3]).expect("pixels");
    writer.finish().expect("an end");
    file
}
