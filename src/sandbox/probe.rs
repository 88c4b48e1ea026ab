//! Tries, in a child that is confined, everything that must not work there.
#![expect(unsafe_code, reason = "whoever controls a child makes bare system calls; so does this, in one function")]

use std::io;
use std::process::{Command, Stdio};
use std::ptr;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Confinement;
use super::confine::{EnforcedLayers, cap_memory};

/// Tries it all. The process is of no other use afterwards.
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
    let grew = cap_memory(64 * mebibyte).is_err()
        || Vec::<u64>::new().try_reserve_exact(16 * 1024 * 1024).is_ok()
        || setrlimit(Resource::Data, Rlimit { current: None, maximum: None }).is_ok();
    let on_stack = 0_u8;
    let calls =
        calls(ptr::from_ref(&on_stack).addr()).into_iter().filter(|(_, call, arguments)| !is_refused(*call, arguments));
    Confinement {
        was_filtered: layers.was_filtered,
        landlock: layers.landlock,
        seccomp: layers.seccomp,
        files: !opened,
        network: !connected,
        programs: !started,
        memory: !grew,
        calls: calls.map(|(name, ..)| name.to_owned()).collect(),
    }
}

/// Calls that reach another process, or memory that the cap doesn't count: what each would be, its number and its
/// arguments. They are such that nothing comes of them where they are let through: the kernel itself finds no such process,
/// nothing at an odd address, no such option, and says so in other words.
fn calls(on_stack: usize) -> [Attempt; 15] {
    let page = 4096;
    let map = |protection: i32, flags: i32| {
        [
            0,
            page,
            protection.cast_unsigned() as usize,
            (flags | libc::MAP_ANONYMOUS).cast_unsigned() as usize,
            usize::MAX,
        ]
    };
    let (read, write, exec) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    [
        ("prlimit64 on others", libc::SYS_prlimit64, [NOBODY, 0, 0, 0, 0]),
        ("kill", libc::SYS_kill, [NOBODY, 0, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [NOBODY, 0, 0, 0, 0]),
        ("tgkill on others", libc::SYS_tgkill, [NOBODY, NOBODY, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [NOBODY, 0, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [NOBODY, 0, 0, 0, 0]),
        ("setpriority", libc::SYS_setpriority, [0, NOBODY, 0, 0, 0]),
        ("mmap of shared memory", libc::SYS_mmap, map(read | write, libc::MAP_SHARED)),
        ("mmap of a stack", libc::SYS_mmap, map(read | write, libc::MAP_PRIVATE | libc::MAP_GROWSDOWN)),
        ("mmap of code", libc::SYS_mmap, map(read | exec, libc::MAP_PRIVATE)),
        ("mprotect to code", libc::SYS_mprotect, [0, 0, (read | exec).cast_unsigned() as usize, 0, 0]),
        ("mremap of its stack", libc::SYS_mremap, [on_stack | 1, 0, 0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [0, 0, 0, 0, 0]),
        (
            "prctl on what kills it",
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG.cast_unsigned() as usize, usize::MAX, 0, 0, 0],
        ),
        ("madvise that shares pages", libc::SYS_madvise, [0, 0, libc::MADV_MERGEABLE.cast_unsigned() as usize, 0, 0]),
    ]
}

/// A process's id, but above all that Linux gives.
const NOBODY: usize = i32::MAX as usize;

/// What it is, its number, its arguments.
type Attempt = (&'static str, i64, [usize; 5]);

/// Whether the call is kept from the kernel, or refused by it as not permitted.
fn is_refused(call: i64, with: &[usize; 5]) -> bool {
    // SAFETY: of the calls above none reads or writes this process's memory, and what they would map lies elsewhere.
    let result = unsafe { libc::syscall(call, with[0], with[1], with[2], with[3], with[4], 0_usize) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
