//! What an upload learnt about its original outlives the server.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::jpeg;
use crate::sandbox::FakeChild;

/// The error of a job whose original is no image any more once the server starts again, with this setting besides.
async fn error_after_restart(setting: (&str, &str)) -> String {
    let gate = tempfile::tempdir().expect("a directory");
    let gate = gate.path().join("open");
    // No child looks at an original: each waits, or dies of itself.
    let child = FakeChild::new(&format!("[ -e {} ] && exit 3; exec sleep 60", gate.display()));
    let mut app = TestApp::start_on(child.path(), &[("PIXERVE_QUEUE_CRASHES_MAX", "1")]).await;
    let accepted = app.accepted("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    let id = accepted["job_id"].as_str().expect("an id").to_owned();
    let original = app.data_dir().join("spool/jobs").join(id).join("original");
    app.stop(Duration::ZERO).await;
    let bytes = original.metadata().expect("it is there").len();
    let zeros = vec![0; usize::try_from(bytes).expect("small")];
    File::create(&original).and_then(|mut file| file.write_all(&zeros)).expect("written");
    File::create(&gate).expect("the gate opens");
    app.set(setting.0, setting.1);
    app.restart().await;
    let status: Value = app.ended(&accepted).await;
    assert_eq!(status["state"], "failed", "{status}");
    status["error"].as_str().expect("an error").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_inspects_the_original_again_only_if_limits_have_grown_since_the_upload() {
    let error = error_after_restart(("PIXERVE_WORKER_JOB_TIMEOUT", "200s")).await;
    assert!(error.contains("ended with status 3"), "a child was started: {error}");
    let error = error_after_restart(("PIXERVE_PIXELS_SOURCE_MAX", "110MP")).await;
    assert!(error.contains("not an image"), "the server looked at it: {error}");
}
