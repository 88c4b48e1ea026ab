//! What a child may not do, enforced before it reads a byte that a stranger chose.
//!
//! - landlock: no file, no directory, no TCP port, no signal to others;
//! - seccomp: only the system calls that computing takes; everything else answers EPERM;
//! - limits: no core dumps, no file can grow, few descriptors, and a cap on private memory;
//! - it is killed when its parent dies.
//!
//! What a kernel lacks is left out; [`probe`] finds that.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope as LandlockScope,
};
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::Confinement;

/// Descriptors: the three pipes, and some for what libraries open by themselves.
const DESCRIPTORS_MAX: u64 = 32;

/// Added to the nice value of the server.
const NICE_INCREMENT: i32 = 10;

/// Confines this process, for good, by every layer that the kernel has.
pub(super) fn enter() -> io::Result<EnforcedLayers> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // While every core encodes, the server still answers at once. Without it, it merely answers later.
    let _ = nice(NICE_INCREMENT);
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    // Whether to go without a layer that the kernel lacks is decided at the server's start, by what the probe says.
    let landlock = files_and_network().is_ok_and(|status| status == RulesetStatus::FullyEnforced);
    let seccomp = system_calls().is_ok();
    Ok(EnforcedLayers { landlock, seccomp })
}

/// Which layers the kernel enforces.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnforcedLayers {
    landlock: bool,
    seccomp: bool,
}

/// Refuses memory beyond `bytes`: heaps, stacks and private mappings together.
pub(super) fn cap_memory(bytes: u64) -> io::Result<()> {
    limit(Resource::Data, bytes)
}

fn limit(resource: Resource, max: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })?)
}

fn files_and_network() -> Result<RulesetStatus, landlock::RulesetError> {
    // Every kind of access is handled, and no rule allows any.
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(LandlockScope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn system_calls() -> Result<(), seccompiler::Error> {
    let target = std::env::consts::ARCH.try_into()?;
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    // Threads may be started, processes not.
    let thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(THREAD), THREAD)?;
    allowed.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    // The flags of clone3 are in memory, which no filter can read. Told ENOSYS, as by an older kernel, libc falls back on
    // clone. An errno of its own takes a filter of its own.
    allowed.insert(libc::SYS_clone3, Vec::new());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for filter in [
        SeccompFilter::new(clone3, SeccompAction::Allow, fail_with(libc::ENOSYS), target)?,
        SeccompFilter::new(allowed, fail_with(libc::EPERM), SeccompAction::Allow, target)?,
    ] {
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

fn fail_with(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.unsigned_abs())
}

const THREAD: u64 = libc::CLONE_THREAD as u64;

/// What computing takes: memory, threads and their locks, the clock, the pipes that are open already, and the end.
const ALLOWED_CALLS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_prctl,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Tries everything that must not work.
pub(super) fn probe(layers: EnforcedLayers) -> Confinement {
    let opened = std::fs::File::open("/proc/self/exe").is_ok()
        || std::fs::read_dir("/").is_ok()
        || std::fs::File::create(std::env::temp_dir().join("pixerve-probe")).is_ok();
    let connected = std::net::TcpListener::bind(("127.0.0.1", 0)).is_ok()
        || std::net::UdpSocket::bind(("127.0.0.1", 0)).is_ok()
        || std::os::unix::net::UnixStream::pair().is_ok();
    let started = Command::new("/proc/self/exe").arg("--version").stdout(Stdio::null()).status().is_ok();
    // Reserving is enough, since the limit counts what is mapped, touched or not.
    let mebibyte = 1024 * 1024;
    let grew = cap_memory(64 * mebibyte).is_err() || Vec::<u64>::new().try_reserve_exact(16 * 1024 * 1024).is_ok();
    let EnforcedLayers { landlock, seccomp } = layers;
    Confinement { landlock, seccomp, files: !opened, network: !connected, programs: !started, memory: !grew }
}
