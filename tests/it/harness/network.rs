//! Two machines of a test's own on a network of their own, whose links can be cut, and an address that goes from one to the
//! other. They are network namespaces; making them takes root.

use std::net::Ipv4Addr;
use std::process::Command;

use super::script::Script;
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
    script: Script,
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
        let prefix_text = format!("{first}.{second}.{third}");
        let script = Script::start(Command::new("sh").args([
            "-c",
            include_str!("network.sh"),
            "network.sh",
            &name,
            &prefix_text,
        ]));
        (script.answer() == "made").then(|| Self { name, prefix, script })
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
        self.script.run(&format!("{command} {}", machine.letter()));
    }
}
