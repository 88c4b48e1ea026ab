//! The image: how it is made, what is in it, and that what was uploaded to it outlives its containers.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};

use super::podman::{Podman, Volumes};
use crate::battery::figure;
use crate::harness::picture::jpeg;

/// Unpacked.
const IMAGE_BYTES_MAX: u64 = 150_000_000;

const JOBS: u32 = 12;

/// What a child finds of its own confinement on this machine, outside of any container.
fn confinement() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_pixerve")).args(["render-child", "probe"]).output().expect("it runs");
    serde_json::from_slice(&output.stdout[4..]).expect("JSON behind its length")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes podman, and a minute"]
async fn an_image_is_small_runs_as_nobody_and_holds_one_program_and_no_shell() {
    let Some(podman) = Podman::find() else { return };
    let image = podman.image().await;
    let found: Value = serde_json::from_str(&podman.said(&["image", "inspect", image])).expect("JSON");
    let bytes = found[0]["Size"].as_u64().expect("a size");
    assert!(bytes < IMAGE_BYTES_MAX, "{bytes}");
    let config = &found[0]["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Volumes"], json!({ "/data": {}, "/serve": {} }));
    assert_eq!(found[0]["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/pixerve", "health"]), "{found}");
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "MIT");

    let mounted = podman.said(&["image", "mount", image]);
    let listed =
        Command::new("find").current_dir(mounted.trim()).args([".", "-type", "f", "-printf", "%m %P\n"]).output();
    let listed = String::from_utf8(listed.expect("it runs").stdout).expect("names");
    podman.said(&["image", "unmount", image]);
    // Libraries are executable too.
    let programs: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(mode, path)| {
            mode.contains(['1', '3', '5', '7']) && !path.contains("/lib") && !path.starts_with("lib")
        })
        .map(|(_, path)| path)
        .collect();
    assert_eq!(programs, BTreeSet::from(["usr/bin/pixerve"]), "{listed}");
    assert!(listed.contains("etc/ssl/certs/ca-certificates.crt"), "{listed}");
    assert!(listed.contains("usr/share/doc/libc6/copyright"), "{listed}");
    figure("packaging", format!("image of {} MB unpacked, with this build's binary", bytes / 1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes podman, and a minute"]
async fn nothing_uploaded_is_lost_when_a_container_is_killed_and_another_takes_its_volumes() {
    let Some(podman) = Podman::find() else { return };
    let volumes = Volumes::new(&podman);
    let first = volumes.start(&["--memory", "1g"]).await;
    first.ready().await;
    assert!(first.log().contains(r#""memory_budget_bytes":536870912"#), "half of 1 GiB: {}", first.log());
    assert!(first.exec(&["pixerve", "health"]).status.success());
    assert!(first.podman(&["healthcheck", "run"]).status.success());
    assert!(!first.exec(&["/bin/sh", "-c", "true"]).status.success(), "it has no shell");
    let job = json!({ "directHost": true, "keepOriginal": true, "formats": { "avif": { "sizes": [[600], [300]] } } });
    let mut accepted = Vec::new();
    for n in 0..JOBS {
        let picture = jpeg(800, 600, n);
        let answer = first.accepted("me", job.clone(), &format!("{n}.jpg"), picture.clone()).await;
        accepted.push((answer, picture));
    }
    first.kill();
    drop(first);

    let second = volumes.start(&[]).await;
    second.ready().await;
    let mut files = 0;
    for (answer, picture) in &accepted {
        let status = second.ended(answer).await;
        assert_eq!(status["state"], "completed", "{status}\n{}", second.log());
        for stored in status["files"].as_array().expect("files") {
            let bytes = second.file(stored["stored"][0]["location"].as_str().expect("a location")).await;
            let is_original = stored["kind"] == "original";
            assert!(if is_original { bytes == *picture } else { !bytes.is_empty() }, "{stored}");
            files += 1;
        }
    }
    assert_eq!(files, JOBS * 3);
    second.podman(&["stop", "--time", "90"]);
    assert_eq!(second.exit_code(), "0", "{}", second.log());
    figure("packaging", format!("{JOBS} uploads, kill -9 of the container, {files} files from another one"));
}

/// A profile that lets everything through but these calls.
fn profile(refused: &[&str]) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes podman, and a minute"]
async fn what_a_runtimes_seccomp_profile_takes_from_the_sandbox_is_said_at_start_or_refused() {
    let Some(podman) = Podman::find() else { return };
    let not_confined = "child processes of jobs are not fully confined";
    // The runtime's own profile takes nothing: what a job's process lacks then it lacks without a container too.
    let volumes = Volumes::new(&podman);
    let container = volumes.start(&[]).await;
    container.ready().await;
    let lacks_nothing = confinement()["landlock"] == "full";
    assert_eq!(!container.log().contains(not_confined), lacks_nothing, "{}", container.log());
    drop(container);

    let dir = tempfile::tempdir().expect("a directory");
    let landlock = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
    for (refused, named) in [(&landlock[..], "landlock_create_ruleset"), (&["seccomp"][..], "has to allow seccomp")] {
        let path = dir.path().join("profile.json");
        serde_json::to_writer(File::create(&path).expect("it is made"), &profile(refused)).expect("it is written");
        let profile = format!("seccomp={}", path.display());

        let lenient = volumes.start(&["--security-opt", &profile]).await;
        lenient.ready().await;
        let log = lenient.log();
        let line = log.lines().find(|line| line.contains(not_confined)).unwrap_or_else(|| panic!("not said:\n{log}"));
        assert!(line.contains(named) && line.contains("profile"), "{line}");
        drop(lenient);

        let strict = ["--security-opt", &profile, "--env", "PIXERVE_WORKER_SANDBOX=strict"];
        let strict = volumes.start(&strict).await;
        assert_eq!(strict.exit_code(), "2", "{}", strict.log());
        assert!(strict.log().contains(named) && strict.log().contains("PIXERVE_WORKER_SANDBOX"), "{}", strict.log());
    }
}
