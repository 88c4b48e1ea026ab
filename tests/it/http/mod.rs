//! Every route, over a real connection: what it answers when all is well, and every way it refuses.

mod cancel;
mod connection;
mod cross_origin;
pub(crate) mod description;
mod docs;
mod drain;
mod error_codes;
pub(crate) mod events;
mod form;
mod health;
mod metrics;
mod pages;
mod places;
mod public_url;
mod rate;
mod records;
mod register;
mod routes;
mod slow;
mod upload;
mod upload_refused;
