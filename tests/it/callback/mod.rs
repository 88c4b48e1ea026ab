//! Callbacks: who may be called, what is said, and what becomes of a try. The receivers are on loopback.

mod address;
mod deliver;
mod fake_queue;
mod harness;
mod hostile;
mod tls;
