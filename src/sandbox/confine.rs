//! What a child may not do, enforced before it reads a byte that a stranger chose.
//!
//! - landlock: no file, no directory, no TCP port, no signal to others;
//! - seccomp: only the system calls that computing takes, on itself alone ([`system_calls`](super::system_calls));
//! - no capabilities, though it be root's: what it is refused here, it can't grant itself;
//! - limits: no core dumps, no file can grow, few descriptors, and a cap on memory;
//! - it is killed when its parent dies.
//!
//! What a kernel lacks is left out; [`probe`](super::probe) finds that.

use std::io;
use std::ptr;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope as LandlockScope,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, SecureComputingMode, secure_computing_mode, set_capabilities};

use super::{Landlock, system_calls};

/// Descriptors: the three pipes, and some for what libraries open by themselves.
const DESCRIPTORS_MAX: u64 = 32;

/// Added to the nice value of the server.
const NICE_INCREMENT: i32 = 10;

/// Bytes of the main thread's stack, which the cap on memory doesn't count: what Linux gives by default.
const STACK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Address space beyond the cap on memory: for the binary, and for what allocators reserve for each thread without
/// touching it. It bounds the tables that the kernel keeps for what is mapped, to a 512th of it.
const ADDRESS_SPACE_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Confines this process, for good, by every layer that the kernel has.
pub(super) fn enter() -> io::Result<EnforcedLayers> {
    let was_filtered = secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter);
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // While every core encodes, the server still answers at once. Without it, it merely answers later.
    let _ = nice(NICE_INCREMENT);
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    limit(Resource::Stack, STACK_BYTES_MAX)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(|error| io::Error::other(format!("capabilities can't be given up: {error}")))?;
    // Whether to go without a layer that the kernel lacks is decided at the server's start, by what the probe says.
    let landlock = files_and_network().map_or(Landlock::Missing, |status| state(&status));
    // This runs on the main thread, whose stack grows down from somewhere above this.
    let on_stack = 0_u8;
    let stack_begin = (ptr::from_ref(&on_stack).addr() as u64).saturating_sub(STACK_BYTES_MAX);
    let seccomp = system_calls::allow_few(stack_begin).is_ok();
    Ok(EnforcedLayers { was_filtered, landlock, seccomp })
}

/// Which layers the kernel enforces.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnforcedLayers {
    /// Somebody else's filter of system calls was there before.
    pub(super) was_filtered: bool,
    pub(super) landlock: Landlock,
    pub(super) seccomp: bool,
}

/// Refuses memory beyond `bytes`: heaps, stacks and private mappings together.
pub(super) fn cap_memory(bytes: u64) -> io::Result<()> {
    limit(Resource::As, bytes.saturating_add(ADDRESS_SPACE_BYTES))?;
    limit(Resource::Data, bytes)
}

/// Lowers a limit for good; one that is lower already stays.
fn limit(resource: Resource, max: u64) -> io::Result<()> {
    let max = getrlimit(resource).maximum.map_or(max, |inherited| inherited.min(max));
    setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })
        .map_err(|error| io::Error::other(format!("the limit {resource:?} can't be lowered: {error}")))
}

fn files_and_network() -> Result<RestrictionStatus, landlock::RulesetError> {
    // Every kind of access is handled, and no rule allows any.
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(LandlockScope::from_all(ABI::V6))?
        .create()?
        .restrict_self()
}

fn state(status: &RestrictionStatus) -> Landlock {
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Landlock::Full,
        (_, LandlockStatus::Available { .. }) => Landlock::Partial,
        (_, LandlockStatus::NotEnabled) => Landlock::SwitchedOff,
        (_, LandlockStatus::NotImplemented) => Landlock::Missing,
    }
}
