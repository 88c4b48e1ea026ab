//! Crash: the server dies, or its disk fails, at a chosen moment; after the next start every job that was answered 200
//! is in exactly one terminal record, whole, called back, and nothing else is left.
//!
//! Here: an abort at every named step (`failpoints`), a kill at the n-th system call of a kind (`strace`), a loss of
//! power (`power`), damaged databases under a whole server (`damage`), clocks that are wrong (`clock`). Elsewhere:
//! kills at random moments (`kill.rs`), SIGTERM and a second server on the same data (`restart/process.rs`), jobs that
//! kill their child (`sandbox/deaths.rs`), a server's death that is attributed to a job (`restart/crashed.rs`), the database
//! room by itself (`queue/database.rs`).

mod clock;
mod damage;
mod failpoints;
mod power;
pub(super) mod promise;
mod stop;
mod strace;
