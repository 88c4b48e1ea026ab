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

/// How far landlock is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// All that is asked of it.
    Full,
    /// What an older kernel has of it.
    Partial,
    /// The kernel has it, and was started without.
    SwitchedOff,
    /// It can't be reached.
    Missing,
}

/// How well a child is confined: the layers that this kernel enforces, and what came of the child's tries to break out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Confinement {
    /// A filter of system calls was there before the child's own: a container runtime's, most often. What layers are missing
    /// may be missing in that.
    pub was_filtered: bool,
    /// How far landlock is enforced.
    pub landlock: Landlock,
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
            (self.files, "it can open files"),
            (self.network, "it can open sockets"),
            (self.programs, "it can start programs"),
            (self.memory, "its memory has no cap"),
        ];
        let missing = holds.iter().filter(|(held, _)| !held).map(|(_, gap)| (*gap).to_owned());
        let calls = self.calls.iter().map(|call| format!("it can use {call}"));
        let gaps: Vec<String> = self.missing_layers().map(str::to_owned).chain(missing).chain(calls).collect();
        (!gaps.is_empty()).then(|| gaps.join(", "))
    }

    fn missing_layers(&self) -> impl Iterator<Item = &'static str> {
        let landlock = match (self.landlock, self.was_filtered) {
            (Landlock::Full, _) => None,
            (Landlock::Partial, _) => Some("landlock is not complete in this kernel (it takes Linux 6.12)"),
            (Landlock::SwitchedOff, _) => Some("landlock is switched off in this kernel (lsm= at its start)"),
            (Landlock::Missing, false) => Some("landlock is missing (it takes Linux 6.12)"),
            (Landlock::Missing, true) => Some(
                "landlock can't be reached (it takes Linux 6.12, and the seccomp profile that this server was started under, \
                 most often a container runtime's, has to allow landlock_create_ruleset and landlock_restrict_self)",
            ),
        };
        let seccomp = match (self.seccomp, self.was_filtered) {
            (true, _) => None,
            (false, false) => Some("seccomp is missing"),
            (false, true) => Some(
                "seccomp can't be used (the seccomp profile that this server was started under, most often a container \
                 runtime's, has to allow seccomp)",
            ),
        };
        [landlock, seccomp].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All is well but for what is said here.
    fn gaps(was_filtered: bool, landlock: Landlock, seccomp: bool) -> Option<String> {
        let [files, network, programs, memory] = [true; 4];
        let calls = Vec::new();
        Confinement { was_filtered, landlock, seccomp, files, network, programs, memory, calls }.gaps()
    }

    #[test]
    fn a_layer_that_is_missing_under_anothers_filter_is_laid_to_both_it_and_the_kernel() {
        assert_eq!(gaps(true, Landlock::Full, true), None);
        let missing = |was_filtered| gaps(was_filtered, Landlock::Missing, true).expect("a gap");
        assert!(missing(true).contains("Linux 6.12") && missing(true).contains("landlock_restrict_self"));
        assert!(missing(false).contains("Linux 6.12") && !missing(false).contains("profile"));
        for landlock in [Landlock::Partial, Landlock::SwitchedOff] {
            let gap = gaps(true, landlock, true).expect("a gap");
            assert!(gap.contains("kernel") && !gap.contains("profile"), "the kernel has answered: {gap}");
        }
        assert!(gaps(true, Landlock::Full, false).expect("a gap").contains("has to allow seccomp"));
    }
}
