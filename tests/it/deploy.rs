//! What `deploy` says of the program is true of it: without any tool. `battery::packaging` makes and runs what is described there.

use std::path::{Path, PathBuf};
use std::process::Command;

use pixerve::config::{Config, Sources};

const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const KUBERNETES: &str = include_str!("../../deploy/kubernetes/pixerve.yaml");
const NODES: &str = include_str!("../../deploy/kubernetes-nodes/pixerve.yaml");
const SERVICE: &str = include_str!("../../deploy/pixerve.service");
const SETTINGS: &str = include_str!("../../deploy/debian/pixerve.toml");
const README: &str = include_str!("../../README.md");
const CARGO_TOML: &str = include_str!("../../Cargo.toml");
const MAKEFILE: &str = include_str!("../../Makefile");
const ENV_EXAMPLE: &str = include_str!("../../.env.example");

#[test]
fn the_manifests_name_this_version_and_the_oldest_compiler_that_builds_it() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(DOCKERFILE.contains(&format!("ARG VERSION={version}\n")));
    let images = |text: &str| text.matches("pixerve:").count();
    assert!(COMPOSE.contains(&format!("image: pixerve:{version}\n")));
    assert_eq!(
        images(COMPOSE),
        COMPOSE.matches(&format!("pixerve:{version}\n")).count() + 1,
        "and the service's own name"
    );
    for kubernetes in [KUBERNETES, NODES] {
        assert!(kubernetes.contains(&format!("/pixerve:{version}\n")));
        assert_eq!(
            kubernetes.matches("/pixerve:").count(),
            kubernetes.matches(&format!("/pixerve:{version}\n")).count()
        );
    }
    for name in ["pixerve:", "pixerve_"] {
        let named = README.match_indices(name).map(|(at, _)| &README[at + name.len()..]);
        let versions: Vec<_> = named.filter(|text| text.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert!(!versions.is_empty() && versions.iter().all(|text| text.starts_with(version)), "{name} in README.md");
    }
    assert!(DOCKERFILE.contains(concat!("ARG RUST=", env!("CARGO_PKG_RUST_VERSION"), "\n")));
}

#[test]
fn the_package_has_a_page_of_the_manual_for_each_command_and_completions() {
    let dir = tempfile::tempdir().expect("a directory");
    let manual = dir.path().join("manual");
    let mut written = Command::new("sh");
    written
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg(".ci/manual.sh")
        .arg(env!("CARGO_BIN_EXE_pixerve"))
        .arg(&manual);
    assert!(written.status().expect("sh runs").success());
    for file in ["pixerve.1", "pixerve-gc.1", "pixerve-erase.1", "pixerve.bash", "_pixerve", "pixerve.fish"] {
        let bytes = std::fs::read(manual.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!bytes.is_empty(), "{file}");
    }
    for asset in ["*.1", "pixerve.bash", "_pixerve", "pixerve.fish"] {
        assert!(CARGO_TOML.contains(&format!("[\"target/release/manual/{asset}\", ")), "{asset}");
    }
    assert!(MAKEFILE.contains("sh .ci/manual.sh target/release/pixerve target/release/manual\n"));
}

#[test]
fn every_variable_that_is_set_in_deploy_is_a_setting() {
    let mut count = 0;
    for text in [DOCKERFILE, COMPOSE, KUBERNETES, NODES, SERVICE, SETTINGS] {
        // Comments name some that are none, such as what Kubernetes would set.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        for name in words.filter(|word| word.starts_with("PIXERVE_")) {
            assert!(ENV_EXAMPLE.contains(&format!("{name}=")), "{name}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn the_packages_settings_are_right_and_keep_everything_in_one_directory() {
    let file = Some((PathBuf::from("pixerve.toml"), SETTINGS.to_owned()));
    let (config, warnings) = Config::load(Sources { file, ..Sources::default() }).expect("they are right");
    assert!(warnings.is_empty());
    assert!(config.addr.ip().is_loopback());
    for path in [&config.data_dir, &config.serve_dir, &config.private_dir, &config.auth.jwt_file] {
        assert_eq!(path.parent(), Some(Path::new("/var/lib/pixerve")), "{}", path.display());
    }
    assert!(SERVICE.contains("WorkingDirectory=/var/lib/pixerve\n") && SERVICE.contains("StateDirectory=pixerve\n"));
}
