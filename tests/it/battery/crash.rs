//! Death at every step: failpoints, signals, system calls, power.
