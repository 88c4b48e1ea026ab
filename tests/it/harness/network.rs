//! Two machines of a test's own on a network of their own, whose links can be cut, and an address that goes from one to the
//! other. They are network namespaces; making them takes root.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use parking_lot::Mutex;

use super::tool::{Tool, program, require};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    A,
    B,
}

impl Machine {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The network. It is gone, with what runs on its machines, when this is dropped, or the tests end in whatever way.
pub(crate) struct Network {
    name: String,
    /// The last byte of its addresses is left out.
    prefix: [u8; 3],
    script: Mutex<Script>,
}

/// The shell that made it.
struct Script {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Network {
    /// A network of which machine A has the address that moves; none where namespaces can't be made.
    pub(crate) fn start() -> Option<Self> {
        require(Tool::Namespaces, program("ip").and_then(|_| Self::make()))
    }

    fn make() -> Option<Self> {
        let [one, two, three, four] = getrandom::u32().expect("randomness").to_be_bytes();
        // Links have short names. The addresses are those that are set aside for measurements: nobody else has them.
        let (name, prefix) = (format!("px{one:02x}{two:02x}{three:02x}"), [198, 18 + (three & 1), four]);
        let [first, second, third] = prefix;
        let mut process = Command::new("sh")
            .args(["-c", include_str!("network.sh"), "network.sh", &name, &format!("{first}.{second}.{third}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let network = Self { name, prefix, script: Mutex::new(Script { process, commands, answers }) };
        (network.answer() == "made").then_some(network)
    }

    /// The address of a machine's own.
    pub(crate) fn address(&self, machine: Machine) -> Ipv4Addr {
        self.host(match machine {
            Machine::A => 2,
            Machine::B => 3,
        })
    }

    /// The address that one of them has.
    pub(crate) fn moving_address(&self) -> Ipv4Addr {
        self.host(10)
    }

    fn host(&self, last: u8) -> Ipv4Addr {
        let [first, second, third] = self.prefix;
        Ipv4Addr::new(first, second, third, last)
    }

    /// What a program is to be run by on a machine: it becomes that program.
    pub(crate) fn on(&self, machine: Machine) -> Vec<String> {
        ["ip", "netns", "exec", &format!("{}{}", self.name, machine.letter())].map(str::to_owned).into()
    }

    /// Cuts a machine's link: what is sent to it or by it is lost without a word.
    pub(crate) fn cut(&self, machine: Machine) {
        self.say("cut", machine);
    }

    /// Mends it.
    pub(crate) fn mend(&self, machine: Machine) {
        self.say("mend", machine);
    }

    /// Gives the address that moves to this machine, which the other one had, whatever their links are.
    pub(crate) fn move_address(&self, to: Machine) {
        self.say("move", to);
    }

    fn say(&self, command: &str, machine: Machine) {
        let line = format!("{command} {}", machine.letter());
        writeln!(self.script.lock().commands.as_mut().expect("not dropped"), "{line}").expect("it listens");
        assert_eq!(self.answer(), line);
    }

    fn answer(&self) -> String {
        let mut answer = String::new();
        self.script.lock().answers.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let script = self.script.get_mut();
        // The end of its input is its own.
        drop(script.commands.take());
        let _ = script.process.wait();
    }
}
