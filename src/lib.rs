#![doc = include_str!("ARCHITECTURE.md")]

// Floor 0: plain data.
pub mod clock;
pub(crate) mod durable;
pub mod error_chain;
pub mod failpoint;
pub mod job;
pub(crate) mod page;
pub mod retry;
pub mod setting;
pub mod tls;
pub mod version;

// Floor 1: what every room stands on.
pub mod auth;
pub mod bucket;
pub mod database;
pub mod disks;
pub mod events;
pub mod manifest;
pub mod metrics;
pub mod redis_client;
pub mod telemetry;

// Floor 2: the rooms that hold things.
pub mod active_jobs;
pub mod encoder;
pub mod ledger;
pub mod nodes;
pub mod queue;
pub mod register;
pub mod spool;
pub mod writer;

// Floor 3: pixels, and the end of jobs that nobody wants any more.
pub mod canceller;
pub mod pipeline;

// Floor 4: pixels in a process of their own.
pub mod sandbox;

// Floor 5: whether all is well.
pub mod doctor;

// Floor 6: what is done.
pub mod callback;
pub mod routes;
pub mod worker;

// Floor 7: the settings of all rooms.
pub mod config;

// Floor 8: putting it together, and talking to it.
pub mod app;
pub mod cli;
