//! The commands that talk to a server, run as a person or a script runs them: what they print, and how they end.

#[cfg(all(feature = "s3", feature = "gcs"))]
mod backup;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod doctor;
mod erase;
mod flaky;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod gc;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod jobs;
mod manual;
mod readme;
mod stub;
mod upload;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::process::Home;

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed with `--json`: nothing but objects, one a line.
    fn objects(&self) -> Vec<Value> {
        let object = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        let objects: Vec<Value> = self.stdout.lines().map(object).collect();
        assert!(objects.iter().all(Value::is_object), "{self:#?}");
        objects
    }
}

/// Runs `pixerve` in the directory of `home`, with its settings and the keys of its server.
async fn run(home: &Home, arguments: &[&str]) -> Ran {
    run_with(home, arguments, &[], b"").await
}

/// The same with further variables, and something on the standard input.
async fn run_with(home: &Home, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Ran {
    let mut command = home.command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_vec();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("it starts");
        // A command that reads no input may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(&input);
        child.wait_with_output().expect("it ends")
    });
    Ran::of(output.await.expect("no panic"))
}

/// Runs it on a terminal, where this is typed; how it ended.
async fn on_terminal(home: &Home, arguments: &str, typed: &str) -> Option<i32> {
    // It gives what it runs a terminal, and its exit code.
    let mut script = Command::new("/usr/bin/script");
    let pixerve = home.command(&[]);
    let line = format!("{} {arguments}", pixerve.get_program().display());
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(home.root()).env_clear();
    script.envs(pixerve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("PIXERVE_TOKEN", "a.good.token").env("SHELL", "/bin/sh").env("TERM", "xterm");
    script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let typed = typed.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = script.spawn().expect("bsdutils has it");
        let mut terminal = child.stdin.take().expect("piped");
        terminal.write_all(typed.as_bytes()).expect("typed");
        child.wait().expect("it ends")
    });
    ended.await.expect("no panic").code()
}

/// A file in the directory that commands are run in.
#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
fn put(home: &Home, name: &str, bytes: &[u8]) {
    let path = home.root().join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// A small job in `job.json`.
fn put_job(home: &Home) {
    let job = json!({ "directHost": true, "subDir": "cli", "formats": { "jpg": { "sizes": [[32]] } } });
    put(home, "job.json", job.to_string().as_bytes());
}
