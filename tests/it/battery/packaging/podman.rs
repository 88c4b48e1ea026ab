//! podman, with images and containers of its own, and what a test starts by it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::{Resource, getrlimit};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{root, stripped_binary};
use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::process::reserve_port;
use crate::harness::token::SECRET;
use crate::harness::tool::{Tool, program, require};

/// The name of the image that tests use.
const IMAGE: &str = "localhost/pixerve:test";

/// podman, apart from what else is podman's on this machine.
#[derive(Clone, Debug)]
pub(super) struct Podman {
    program: PathBuf,
    images: PathBuf,
}

impl Podman {
    /// None where `.ci/packaging.sh` has prepared none.
    pub(super) fn find() -> Option<Self> {
        let images = root().join("target/test-servers/podman");
        let found = program("podman").filter(|_| images.is_dir() && rustix::process::getuid().is_root());
        Some(Self { program: require(Tool::Podman, found)?, images })
    }

    pub(super) fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.images).args(["--runroot", "/run/pixerve-podman", "--runtime", "runc"]);
        command.args(arguments).output().expect("it runs")
    }

    /// What it prints, which must succeed.
    pub(super) fn said(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {}:\n{said}{errors}", arguments.join(" "));
        said
    }

    /// What the image in `deploy/Dockerfile` begins from.
    pub(super) fn debian() -> String {
        let dockerfile = std::fs::read_to_string(root().join("deploy/Dockerfile")).expect("it is there");
        dockerfile.lines().find_map(|line| line.strip_prefix("ARG DEBIAN=")).expect("an image").to_owned()
    }

    /// The image with the binary of these tests; built once.
    pub(super) async fn image(&self) -> &'static str {
        static BUILT: OnceCell<()> = OnceCell::const_new();
        let podman = self.clone();
        BUILT.get_or_init(|| async { spawn_blocking(move || podman.build()).await.expect("it is built") }).await;
        IMAGE
    }

    fn build(&self) {
        let prebuilt = tempfile::tempdir().expect("a directory");
        stripped_binary(&prebuilt.path().join("pixerve"));
        let stage = format!("build={}", prebuilt.path().display());
        let tree = root().display().to_string();
        let dockerfile = root().join("deploy/Dockerfile").display().to_string();
        let mut arguments = vec!["build", "--format", "docker", "--network", "host", "--build-context", &stage];
        let limits = limits();
        arguments.extend(limits.iter().map(String::as_str));
        arguments.extend(["--file", &dockerfile, "--tag", IMAGE, &tree]);
        self.said(&arguments);
    }
}

/// podman would raise the limits of a container above those of this process, which not everybody may.
pub(super) fn limits() -> [String; 2] {
    [("nofile", Resource::Nofile), ("nproc", Resource::Nproc)].map(|(name, resource)| {
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX).min(4096);
        format!("--ulimit={name}={most}:{most}")
    })
}

/// Two volumes and a port: what stays when a container goes.
pub(super) struct Volumes {
    podman: Podman,
    addr: SocketAddr,
    data: String,
    serve: String,
}

impl Volumes {
    pub(super) fn new(podman: &Podman) -> Self {
        let id = hex::encode(getrandom::u64().expect("randomness").to_be_bytes());
        let (data, serve) = (format!("data-{id}"), format!("serve-{id}"));
        Self { podman: podman.clone(), addr: reserve_port(), data, serve }
    }

    /// Starts a container as a careful operator would: its root can't be written, and it has no capability.
    pub(super) async fn start(&self, further: &[&str]) -> Container {
        let image = self.podman.image().await;
        let addr = format!("PIXERVE_ADDR={}", self.addr);
        let secret = format!("PIXERVE_JWT_SECRET={SECRET}");
        let volumes = [format!("{}:/data", self.data), format!("{}:/serve", self.serve)];
        let limits = limits();
        let mut arguments = vec!["run", "--detach", "--network", "host", "--read-only", "--read-only-tmpfs=false"];
        arguments.extend(["--cap-drop", "all", "--security-opt", "no-new-privileges"]);
        arguments.extend(limits.iter().map(String::as_str));
        arguments.extend(["--env", &addr, "--env", &secret, "--volume", &volumes[0], "--volume", &volumes[1]]);
        arguments.extend(further);
        arguments.push(image);
        let id = self.podman.said(&arguments).trim().to_owned();
        let mut api = Api::default();
        api.at(self.addr);
        Container { podman: self.podman.clone(), id, api }
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.podman.output(&["volume", "rm", "--force", &self.data, &self.serve]);
    }
}

/// A container and, by `Deref`, a client of the server in it. Gone when dropped.
pub(super) struct Container {
    podman: Podman,
    id: String,
    api: Api,
}

impl Container {
    /// Waits until the server in it is ready.
    pub(super) async fn ready(&self) {
        let started = Instant::now();
        while !self.request(reqwest::Method::GET, "/health").send().await.is_ok_and(|answer| answer.status() == 200) {
            assert!(started.elapsed() < WAIT_MAX, "it doesn't start:\n{}", self.log());
            poll_delay().await;
        }
    }

    /// Runs a command of the image in it.
    pub(super) fn exec(&self, command: &[&str]) -> Output {
        self.podman.output(&[&["exec", &self.id], command].concat())
    }

    /// Everything the server has logged.
    pub(super) fn log(&self) -> String {
        let output = self.podman.output(&["logs", &self.id]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// SIGKILL to all that runs in it.
    pub(super) fn kill(&self) {
        self.podman.said(&["kill", "--signal", "KILL", &self.id]);
        self.podman.said(&["wait", &self.id]);
    }

    /// Waits until it has ended by itself: its exit code.
    pub(super) fn exit_code(&self) -> String {
        self.podman.said(&["wait", &self.id]).trim().to_owned()
    }

    pub(super) fn podman(&self, command: &[&str]) -> Output {
        self.podman.output(&[command, &[&self.id]].concat())
    }
}

impl Deref for Container {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.podman.output(&["rm", "--force", "--time", "0", &self.id]);
    }
}

/// What a script prints that runs in a Debian of its own, which is gone afterwards; it sees the tree under /tree and `files`
/// under /files.
pub(super) fn in_debian(podman: &Podman, files: &TempDir, script: &str) -> String {
    let tree = format!("{}:/tree:ro", root().display());
    let files = format!("{}:/files", files.path().display());
    let (limits, debian) = (limits(), Podman::debian());
    let mut arguments = vec!["run", "--rm", "--network", "host", "--volume", &tree, "--volume", &files];
    arguments.extend(limits.iter().map(String::as_str));
    arguments.extend([&debian, "sh", "-eux", "-c", script]);
    podman.said(&arguments)
}
