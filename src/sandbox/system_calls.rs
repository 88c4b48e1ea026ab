//! The system calls that a child may make, and with which arguments: none of them reaches another process, or memory that
//! the cap doesn't count. Everything else answers EPERM.

use std::collections::BTreeMap;

use rustix::process::getpid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Which calls of one number are let through: those whose arguments meet all conditions of any rule; without rules, all.
type Rules = Vec<SeccompRule>;

/// Confines this process, for good, to few system calls. `stack_begin` is the lowest address that the main thread's stack
/// may grow to.
pub(super) fn allow_few(stack_begin: u64) -> Result<(), seccompiler::Error> {
    let target = std::env::consts::ARCH.try_into()?;
    let mut allowed: BTreeMap<i64, Rules> = ALLOWED_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    allowed.extend(calls_on_itself(stack_begin)?);
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

/// Calls that could do more than computing takes, held to that by their arguments.
fn calls_on_itself(stack_begin: u64) -> Result<[(i64, Rules); 8], seccompiler::Error> {
    let itself = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    // Of memory, the limit counts what is private, can be written, and is no stack.
    let private = masked(3, libc::MAP_TYPE | libc::MAP_GROWSDOWN, libc::MAP_PRIVATE)?;
    // Memory that is a stack stays one when it is moved or grows.
    let no_stack = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Lt, stack_begin)?;
    // The code is all there when strangers' bytes come.
    let no_code = masked(2, libc::PROT_EXEC, 0)?;
    Ok([
        (libc::SYS_mmap, vec![SeccompRule::new(vec![private, no_code.clone()])?]),
        (libc::SYS_mprotect, vec![SeccompRule::new(vec![no_code])?]),
        (libc::SYS_mremap, vec![SeccompRule::new(vec![no_stack])?]),
        (libc::SYS_madvise, any_of(2, ADVICE)?),
        // Threads may be started, processes and namespaces not.
        (libc::SYS_clone, vec![SeccompRule::new(vec![masked(0, THREAD | NO_THREAD, THREAD)?])?]),
        // 0 is the caller.
        (libc::SYS_prlimit64, any_of(0, &[0])?),
        // How a process aborts.
        (libc::SYS_tgkill, any_of(0, &[itself])?),
        (libc::SYS_prctl, any_of(0, PRCTL_OPTIONS)?),
    ])
}

/// The argument of this index has, among the bits of `mask`, those of `value`.
fn masked(index: u8, mask: i32, value: i32) -> Result<SeccompCondition, seccompiler::Error> {
    let [mask, value] = [mask, value].map(|bits| u64::from(bits.cast_unsigned()));
    Ok(SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)?)
}

/// The argument of this index is one of `values`. The kernel reads 32 bits of each that is asked about here.
fn any_of(index: u8, values: &[u64]) -> Result<Rules, seccompiler::Error> {
    let is = |value: &u64| {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    values.iter().map(is).collect()
}

/// What makes a thread of a new task.
const THREAD: i32 = libc::CLONE_THREAD | libc::CLONE_VM;

/// What no thread is started with.
const NO_THREAD: i32 = libc::CLONE_PARENT
    | libc::CLONE_PTRACE
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// What allocators and libc say of memory: that it is free, how large its pages should be, and where a stack ends.
const ADVICE: &[u64] = &[
    libc::MADV_WILLNEED as u64,
    libc::MADV_DONTNEED as u64,
    libc::MADV_FREE as u64,
    libc::MADV_HUGEPAGE as u64,
    libc::MADV_NOHUGEPAGE as u64,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
];

/// Since Linux 6.13; the libc crate has no name for them yet.
const MADV_GUARD_INSTALL: u64 = 102;
const MADV_GUARD_REMOVE: u64 = 103;

/// Names of threads, and of memory.
const PRCTL_OPTIONS: &[u64] = &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64];

/// What computing takes, whatever the arguments: memory, locks, the clock, the pipes that are open already, and the end.
const ALLOWED_CALLS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
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
