//! Ceph with its S3 gateway: a real store, which checks signatures, policies and quotas by code of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::app::poll_delay;
use super::stores::S3Client;
use super::tool::{Tool, require};

/// A monitor, a disk in memory, and the gateway. They end when this is dropped, or the tests end in whatever way.
pub(crate) struct Ceph {
    script: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    gateway: Pid,
    port: u16,
    _dir: TempDir,
}

impl Ceph {
    /// Starts it all, which takes some 10 s; none where it isn't installed.
    pub(crate) async fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/ceph");
        let root = require(Tool::Ceph, root.join("usr/bin/radosgw").is_file().then_some(root))?;
        let dir = tempfile::tempdir().expect("a directory");
        let [monitor, port] = free_ports();
        let mut script = Command::new("sh")
            .args(["-c", include_str!("ceph.sh"), "ceph.sh"])
            .args([root.as_path(), dir.path()])
            .args([monitor.to_string(), port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let commands = script.stdin.take();
        let answers = BufReader::new(script.stdout.take().expect("piped"));
        let mut ceph = Self { script, commands, answers, gateway: Pid::INIT, port, _dir: dir };
        ceph.start_gateway().await;
        Some(ceph)
    }

    /// Starts the gateway, and waits until it answers.
    pub(crate) async fn start_gateway(&mut self) {
        let pid = self.say("gateway");
        self.gateway = pid.parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("no gateway: {pid:?}"));
        while reqwest::Client::new().get(self.endpoint()).send().await.is_err() {
            poll_delay().await;
        }
    }

    /// Sends the gateway a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.gateway, signal).expect("it runs");
    }

    /// Makes a user of this name; `quota` is how many objects a bucket of it may have.
    pub(crate) fn create_user(&mut self, name: &str, quota: Option<u32>) -> S3Client {
        let secret = format!("ceph-canary-secret-{name}");
        self.admin(&format!(
            "user create --uid={name} --display-name={name} --access-key=key-{name} --secret-key={secret}"
        ));
        if let Some(objects) = quota {
            self.admin(&format!("quota set --quota-scope=bucket --uid={name} --max-objects={objects}"));
            self.admin(&format!("quota enable --quota-scope=bucket --uid={name}"));
        }
        S3Client::new(self.endpoint().parse().expect("URL"), &format!("key-{name}"), &secret)
    }

    fn admin(&mut self, command: &str) {
        assert_eq!(self.say(&format!("radosgw-admin {command}")), "done", "{command}");
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn say(&mut self, line: &str) -> String {
        let commands = self.commands.as_mut().expect("not dropped");
        writeln!(commands, "{line}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        // The end of its input is its own.
        drop(self.commands.take());
        let _ = self.script.wait();
    }
}

/// Ports that nobody listened on a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
