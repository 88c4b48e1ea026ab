//! Why a child made no variants, or not all of them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tokio::io::AsyncReadExt;
use tokio::process::Child;

use crate::pipeline::PipelineError;

/// Bytes of a child's stderr that are read.
const STDERR_BYTES_MAX: u64 = 4096;

/// What Rust's standard library prints before it aborts for want of memory. Tests run a child into that, so that a change
/// of these words would be noticed.
const OUT_OF_MEMORY: &str = "memory allocation of ";

const SIGABRT: i32 = 6;

/// Why a child made no variants, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The variants can't be made; the child said so.
    #[error(transparent)]
    Pixels(#[from] PipelineError),
    /// The child died.
    #[error("the process that made its variants {how}{stderr}")]
    Died {
        /// As in `was killed by signal 9`.
        how: String,
        /// Whether it was by a signal.
        signal: bool,
        /// The last line that it printed, behind a colon; empty if there is none.
        stderr: String,
    },
    /// The child was refused memory.
    #[error(
        "making its variants took more than the {mib} MiB of memory that this job was given; ask for smaller or fewer \
         sizes, or tell whoever runs this server, who can raise PIXERVE_WORKER_MEMORY_MAX"
    )]
    OutOfMemory {
        /// Its memory limit.
        mib: u64,
    },
    /// The child sent what the protocol or its request doesn't allow.
    #[error("the process that made its variants broke its protocol: {0}")]
    Protocol(String),
    /// No child can be started, or the original can't be read.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl SandboxError {
    /// Names the step when an I/O call fails.
    pub(super) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// The original can't be read.
    pub(crate) fn unreadable(source: io::Error) -> Self {
        Self::Io { what: "the original can't be read", source }
    }
}

/// Waits for a child that has closed its output, and says how it ended.
pub(super) async fn exit_error(child: &mut Child, memory_max: u64) -> SandboxError {
    let text = stderr_of(child).await;
    let ran_out = text.lines().any(|line| line.contains(OUT_OF_MEMORY));
    let last_line = last_line(&text);
    match child.wait().await {
        Ok(status) if ran_out && status.signal() == Some(SIGABRT) => {
            SandboxError::OutOfMemory { mib: memory_max.div_ceil(1024 * 1024) }
        }
        Ok(status) => SandboxError::Died {
            how: describe(status),
            signal: status.signal().is_some(),
            stderr: last_line.map(|line| format!(": {line}")).unwrap_or_default(),
        },
        Err(source) => SandboxError::Io { what: "the process that made its variants can't be waited for", source },
    }
}

/// What a child printed before it closed its output.
pub(super) async fn stderr_of(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(STDERR_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last line of it that says anything.
pub(super) fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".to_owned(),
    }
}
