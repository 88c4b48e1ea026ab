//! A job's pixels in a process of their own.
//!
//! Whoever uploads a picture chooses the bytes that decoders read. So they are decoded, resized and encoded in a child:
//! this very binary, without environment, files, network or the right to start programs ([`confine`]), with a cap on its
//! memory. It gets the request and the original through one pipe and sends the files back through another ([`protocol`]);
//! it knows no path, no name and no credential. A child that hangs is killed, one that dies takes one attempt of one job
//! with it. One that has done its job may get another one of the same owner ([`idle_children`]).

mod child;
mod confine;
mod error;
mod idle_children;
mod metrics;
mod parent;
mod probe;
mod protocol;
mod receive;
mod system_calls;

pub use child::{SUBCOMMAND, child_main};
pub use error::SandboxError;
pub use metrics::SandboxMetrics;
pub use parent::{Sandbox, SandboxSettings};

use serde::{Deserialize, Serialize};

/// Whether jobs run in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// In a child process, as confined as this system can; what it can't enforce is a warning at start.
    On,
    /// The same, but the server doesn't start if anything is missing, and every job gets a new child.
    Strict,
    /// In the server's own process.
    Off,
}

/// How well a child is confined: the layers that this kernel enforces, and what came of the child's tries to break out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Confinement {
    /// landlock is enforced in full.
    pub landlock: bool,
    /// seccomp is enforced.
    pub seccomp: bool,
    /// No file could be opened or made.
    pub files: bool,
    /// No socket could be opened.
    pub network: bool,
    /// No program could be started.
    pub programs: bool,
    /// Memory beyond the cap was refused, and a higher cap too.
    pub memory: bool,
    /// System calls that reach another process, or memory that the cap doesn't count, and were not refused.
    pub calls: Vec<String>,
}

impl Confinement {
    /// What is missing, as text for a log or an error; none if nothing is.
    #[must_use]
    pub fn gaps(&self) -> Option<String> {
        let holds = [
            (self.landlock, "landlock is missing (it takes Linux 6.12)"),
            (self.seccomp, "seccomp is missing"),
            (self.files, "it can open files"),
            (self.network, "it can open sockets"),
            (self.programs, "it can start programs"),
            (self.memory, "its memory has no cap"),
        ];
        let missing = holds.iter().filter(|(held, _)| !held).map(|(_, gap)| (*gap).to_owned());
        let gaps: Vec<String> = missing.chain(self.calls.iter().map(|call| format!("it can use {call}"))).collect();
        (!gaps.is_empty()).then(|| gaps.join(", "))
    }
}
