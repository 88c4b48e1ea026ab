//! Every route, over a real connection: what it answers when all is well, and every way it refuses.

mod cancel;
mod connection;
mod cross_origin;
mod deliveries;
pub(crate) mod description;
mod docs;
mod drain;
mod error_codes;
pub(crate) mod events;
mod form;
mod health;
mod metrics;
pub(crate) mod once;
mod pages;
mod places;
mod public_url;
mod rate;
mod records;
mod redirect;
mod reference;
mod register;
mod routes;
mod slow;
mod try_page;
mod upload;
mod upload_refused;
mod waiting;
