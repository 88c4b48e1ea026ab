//! The child processes in which pictures are worked on: how well this system confines them.

use std::path::PathBuf;

use super::Check;
use crate::error_chain::ErrorChain;
use crate::pipeline::StepMetrics;
use crate::sandbox::{Sandbox, SandboxMode, SandboxSettings};

const NAME: &str = "sandbox";

/// Starts a child of `program`, which tries to break out.
pub async fn sandbox(settings: SandboxSettings, program: PathBuf) -> Check {
    let mode = settings.sandbox;
    if mode == SandboxMode::Off {
        let found = "it is off: strangers' pictures are decoded in the server's own process";
        return Check::warning(NAME, found, "set PIXERVE_WORKER_SANDBOX to on, if this is Linux");
    }
    match Sandbox::new(program, settings, StepMetrics::default()).probe().await.map(|confined| confined.gaps()) {
        Ok(None) => Check::ok(NAME, "a job's process reaches no file, no network, no program"),
        Ok(Some(gaps)) => {
            let remedy = "use a newer kernel, or a container runtime's seccomp profile that allows what is named; everything else still confines it";
            if mode == SandboxMode::Strict {
                return Check::failed(
                    NAME,
                    format!("{gaps}; the server doesn't start, as worker.sandbox is strict"),
                    remedy,
                );
            }
            Check::warning(NAME, gaps, remedy)
        }
        Err(error) => {
            let found = format!("a job's process can't be started: {}", ErrorChain(&error));
            Check::failed(
                NAME,
                found,
                "let this user start processes of this program (noexec mounts, limits of processes and memory)",
            )
        }
    }
}
