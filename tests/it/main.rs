//! The integration tests: one binary, a module a behaviour.

mod auth;
mod battery;
mod callback;
mod config;
mod end_to_end;
mod files;
mod harness;
mod http;
mod kill;
mod layers;
mod pixels;
mod queue;
mod register;
mod restart;
mod sandbox;
mod tour;
mod writer;
