//! What runs the image: taken by the programs that read it, or by their schemas.

use std::process::Command;

use serde_json::Value;

use super::podman::{Podman, in_debian};
use super::root;
use crate::harness::tool::{Tool, require};

/// Compose's own reader, which needs no engine for that.
const READ_COMPOSE: &str = "
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends docker-compose >&2
docker-compose --file /tree/deploy/compose.yaml config --format json
";

#[test]
#[ignore = "takes podman, and some seconds"]
fn compose_reads_its_file_and_each_file_that_it_mounts_is_there() {
    let Some(podman) = Podman::find() else { return };
    let files = tempfile::tempdir().expect("a directory");
    let read: Value = serde_json::from_str(&in_debian(&podman, &files, READ_COMPOSE)).expect("JSON");
    let services = read["services"].as_object().expect("services");
    assert_eq!(services.keys().collect::<Vec<_>>(), ["pixerve", "prometheus", "store"]);
    let pixerve = &services["pixerve"];
    assert_eq!(pixerve["read_only"], true);
    assert_eq!(pixerve["cap_drop"][0], "ALL");
    assert_eq!(pixerve["stop_grace_period"], "1m30s");
    let mounted = |service: &Value| -> Vec<String> {
        let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
        let binds = volumes.iter().filter(|volume| volume["type"] == "bind");
        binds.filter_map(|volume| Some(volume["source"].as_str()?.replacen("/tree", "", 1))).collect()
    };
    let sources: Vec<String> = services.values().flat_map(mounted).collect();
    assert_eq!(sources.len(), 2, "{sources:?}");
    for source in sources {
        assert!(root().join(source.trim_start_matches('/')).is_file(), "{source}");
    }
    let dockerfile = pixerve["build"]["dockerfile"].as_str().expect("a file");
    assert_eq!(pixerve["build"]["context"], "/tree");
    assert!(root().join(dockerfile).is_file(), "{dockerfile}");
}

#[test]
#[ignore = "takes kubernetes-validate"]
fn the_manifests_hold_to_kubernetes_schemas() {
    let tool = root().join("target/test-servers/kubernetes/bin/kubernetes-validate");
    let Some(validate) = require(Tool::KubernetesValidate, Some(tool).filter(|tool| tool.is_file())) else { return };
    let manifests = std::fs::read_dir(root().join("deploy/kubernetes")).expect("it is there");
    let manifests: Vec<_> = manifests.map(|entry| entry.expect("it can be read").path()).collect();
    // The oldest that is still looked after by most, and the newest of these schemas.
    for version in ["1.33", "1.37"] {
        let output = Command::new(&validate)
            .args(["--strict", "--kubernetes-version", version])
            .args(&manifests)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("passed for resource").count(), 3, "{said}");
    }
}
