//! A job's pixels in a process of their own.
//!
//! Whoever uploads a picture chooses the bytes that decoders read. So they are decoded, resized and encoded in a child:
//! this very binary, without environment, files, network or the right to start programs ([`confine`]), with a cap on its
//! memory. It gets the original and the order through one pipe and hands the files back through another ([`protocol`]); it
//! knows no path, no name and no credential. A child that hangs is killed, one that dies takes one attempt of one job with
//! it. One that has done its job may get another one of the same owner ([`kept`]).

mod child;
mod confine;
mod kept;
mod protocol;
mod run;

pub use child::{SUBCOMMAND, child_main};
pub use run::{CageError, Sandbox, SandboxSettings, Task};

use serde::{Deserialize, Serialize};

/// Whether jobs run in a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// In a child process, as confined as this system can; what it can't is a warning at start.
    #[default]
    On,
    /// The same, but what is missing keeps the server from starting, and no child works for two jobs.
    Strict,
    /// In the server's own process.
    Off,
}

/// How well a child is confined: the layers that this kernel took, and what came of the child's tries to break out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Confinement {
    /// landlock holds in full.
    pub landlock: bool,
    /// seccomp holds.
    pub seccomp: bool,
    /// No file could be opened or made.
    pub files: bool,
    /// No socket could be opened.
    pub network: bool,
    /// No program could be started.
    pub programs: bool,
    /// Memory beyond the cap was refused.
    pub memory: bool,
}

impl Confinement {
    /// What is missing, for people; none if nothing is.
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
        let gaps: Vec<&str> = holds.iter().filter(|(held, _)| !held).map(|(_, gap)| *gap).collect();
        (!gaps.is_empty()).then(|| gaps.join(", "))
    }
}
