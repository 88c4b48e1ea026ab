//! What is counted of children.

use std::sync::Arc;

use super::SandboxError;
use crate::metrics::{CounterBy, Gauge, Registry, begin_at_zero};
use crate::pipeline::PipelineError;

/// How many children there are, and how they died. Clones are one.
#[derive(Clone, Debug)]
pub struct SandboxMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    children: Gauge,
    deaths: CounterBy<1>,
}

/// What ended a child that had not done its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeathCause {
    /// It was refused memory.
    Memory,
    /// It took too long, and was killed.
    Timeout,
    /// A signal that was not ours.
    Signal,
    /// It ended by itself, or broke its protocol.
    Exit,
}

impl DeathCause {
    const ALL: [Self; 4] = [Self::Memory, Self::Timeout, Self::Signal, Self::Exit];

    const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Timeout => "timeout",
            Self::Signal => "signal",
            Self::Exit => "exit",
        }
    }

    /// That of a child whose job came to this; none if it lived on, or was no child yet.
    pub(super) fn of(error: &SandboxError) -> Option<Self> {
        match error {
            SandboxError::Pixels(PipelineError::DecodeTimeout { .. }) => Some(Self::Timeout),
            SandboxError::Died { signal: true, .. } => Some(Self::Signal),
            SandboxError::Died { .. } | SandboxError::Protocol(_) => Some(Self::Exit),
            SandboxError::OutOfMemory { .. } => Some(Self::Memory),
            SandboxError::Pixels(_) | SandboxError::Io { .. } => None,
        }
    }
}

impl Default for SandboxMetrics {
    fn default() -> Self {
        let deaths = CounterBy::default();
        begin_at_zero(&deaths, DeathCause::ALL.map(|cause| [("cause", cause.word())]));
        Self(Arc::new(Families { children: Gauge::default(), deaths }))
    }
}

impl SandboxMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { children, deaths } = &*self.0;
        registry.register(
            "pixerve_sandbox_children",
            "Processes that make variants, or wait for a job",
            children.clone(),
        );
        registry.register(
            "pixerve_sandbox_deaths",
            "Such processes that ended before their job was done",
            deaths.clone(),
        );
    }

    /// Counts a child until the guard is dropped.
    pub(super) fn child(&self) -> ChildCount {
        self.0.children.inc();
        ChildCount(self.clone())
    }

    pub(super) fn died(&self, cause: DeathCause) {
        self.0.deaths.get_or_create(&[("cause", cause.word())]).inc();
    }
}

/// Keeps a child counted.
#[derive(Debug)]
pub(super) struct ChildCount(SandboxMetrics);

impl Drop for ChildCount {
    fn drop(&mut self) {
        self.0.0.children.dec();
    }
}
