//! What a test needs of the machine besides Rust. On a desk a test whose tool is missing skips; in CI it fails.

use std::path::PathBuf;

/// A tool that a few tests need.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    /// `mount`, and the right to use it.
    Mount,
    /// An ext4 in an image file, and the loop device that it takes.
    Ext4,
    /// A kernel that can cut an ext4's power.
    PowerCut,
    /// `strace`, and the right to trace.
    Strace,
    /// The library that sets a process's wall clock.
    Faketime,
    /// `ip`, and the right to make network namespaces.
    Namespaces,
    Nginx,
    /// What verifies units.
    Systemd,
    /// Prometheus and its `promtool`.
    Prometheus,
    Redis,
    Valkey,
    Node,
    Php,
    /// Servers, and libraries for JavaScript and Python.
    TestServers,
    Chromium,
    /// What drives Chromium.
    Playwright,
    Ceph,
    /// The emulator of Google Cloud Storage that is written in Go.
    FakeGcs,
    /// Python with tifffile, and libtiff to judge.
    TiffWriter,
    /// podman, a Debian to begin images from, and the right to start containers.
    Podman,
    /// What makes the Debian package.
    CargoDeb,
    /// The schemas of Kubernetes.
    KubernetesValidate,
}

impl Tool {
    /// What can't be done without it, and the Debian package or command that brings it.
    fn lack(self) -> (&'static str, &'static str) {
        match self {
            Self::Mount => ("a tmpfs can't be mounted", "Debian package mount, as root"),
            Self::Ext4 => ("an ext4 image can't be mounted", "Debian packages e2fsprogs and mount, as root"),
            Self::PowerCut => ("an ext4's power can't be cut", "Debian package python3, as root, on Linux 6 or newer"),
            Self::Strace => ("system calls can't be traced", "Debian package strace, with the right to trace"),
            Self::Faketime => ("the clock can't be set", "Debian package libfaketime"),
            Self::Namespaces => ("no network can be made", "Debian package iproute2, as root"),
            Self::Nginx => ("there is no nginx", "Debian package nginx-light"),
            Self::Systemd => ("there is no systemd-analyze", "Debian package systemd"),
            Self::Prometheus => ("there is no Prometheus", "Debian package prometheus"),
            Self::Redis => ("there is no Redis", "Debian package redis-server"),
            Self::Valkey => ("there is no Valkey", "`.ci/test-servers.sh target/test-servers`"),
            Self::Node => ("there is no node", "Debian package nodejs"),
            Self::Php => ("there is no php", "Debian package php-cli"),
            Self::TestServers => ("libraries of apps are missing", "`.ci/test-servers.sh target/test-servers`"),
            Self::Chromium => ("there is no Chromium", "Debian package chromium"),
            Self::Ceph => ("there is no Ceph", "`.ci/real-stores.sh target/test-servers`"),
            Self::FakeGcs => ("there is no fake-gcs-server", "`.ci/real-stores.sh target/test-servers`"),
            Self::TiffWriter => ("nothing writes TIFFs", "`.ci/tiff-writer.sh target/test-servers`"),
            Self::Podman => {
                ("no container can be started", "`.ci/packaging.sh target/test-servers target/tools`, as root")
            }
            Self::CargoDeb => ("there is no cargo-deb", "`.ci/packaging.sh target/test-servers target/tools`"),
            Self::KubernetesValidate => {
                ("there is no kubernetes-validate", "`.ci/packaging.sh target/test-servers target/tools`")
            }
            Self::Playwright => ("nothing drives Chromium", "`.ci/browser.sh target/test-servers`"),
        }
    }
}

/// Passes `found` on. Where it is `None` the caller is to return: the terminal then says what was skipped and why.
///
/// # Panics
///
/// Where it is `None` and `CI=true` is set: a test that CI passes over proves nothing.
pub(crate) fn require<T>(tool: Tool, found: Option<T>) -> Option<T> {
    require_in(is_ci(), tool, found)
}

fn require_in<T>(is_ci: bool, tool: Tool, found: Option<T>) -> Option<T> {
    if found.is_none() {
        let (lack, remedy) = tool.lack();
        assert!(!is_ci, "{lack}, which fails a test in CI; needed: {remedy}");
        println!("skipped: {lack}; needed: {remedy}");
    }
    found
}

/// Where this program is, if anywhere in `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

#[test]
fn a_missing_tool_skips_a_test_outside_ci() {
    assert_eq!(require_in(false, Tool::Strace, None::<()>), None);
}

#[test]
#[should_panic(expected = "Debian package strace")]
fn a_missing_tool_fails_a_test_in_ci_and_names_its_package() {
    require_in(true, Tool::Strace, None::<()>);
}

#[test]
fn a_tool_that_is_there_is_used_everywhere() {
    assert_eq!([true, false].map(|is_ci| require_in(is_ci, Tool::Strace, Some(()))), [Some(()); 2]);
}
