//! The integration tests: one binary, a module a behaviour.

mod callback;
mod config;
mod files;
mod harness;
mod http;
mod pixels;
mod queue;
mod vault;
mod writer;
