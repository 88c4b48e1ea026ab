//! The integration tests: one binary, a module a behaviour.

mod auth;
mod callback;
mod config;
mod files;
mod harness;
mod http;
mod pixels;
mod queue;
mod tour;
mod vault;
mod writer;
