//! A shell script that goes on beside the tests: it is told what to do line by line, and says when that is done.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use parking_lot::Mutex;

/// One that runs. It is told to end by the end of its input: when this is dropped, or the tests end in whatever way.
pub(super) struct Script(Mutex<Running>);

struct Running {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Script {
    /// Starts the script that `sh` is given.
    pub(super) fn start(sh: &mut Command) -> Self {
        let mut process = sh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Self(Mutex::new(Running { process, commands, answers }))
    }

    /// The next line that it says; empty if it has ended.
    pub(super) fn answer(&self) -> String {
        self.0.lock().answer()
    }

    /// Tells it to do something, and waits until it has said that it is done.
    pub(super) fn run(&self, line: &str) {
        let mut running = self.0.lock();
        writeln!(running.commands.as_mut().expect("not dropped"), "{line}").expect("it listens");
        assert_eq!(running.answer(), line);
    }
}

impl Running {
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let running = self.0.get_mut();
        drop(running.commands.take());
        let _ = running.process.wait();
    }
}
