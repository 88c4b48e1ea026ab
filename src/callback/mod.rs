//! Tells the caller: takes ended jobs out of the queue's outbox and posts them to the job's `completionCallback`, at
//! least once, always under the same id.
//!
//! The URL comes from a stranger, so it is treated as an attempt to reach what only this machine can reach: every
//! address it stands for is checked ([`address`]) at the moment of connecting ([`resolve`]), and nothing is followed.

pub mod address;
mod content;
pub mod delivery;
mod described;
mod erased;
mod metrics;
pub mod outbox;
mod owed_events;
pub mod payload;
pub mod resolve;
pub mod settings;
pub mod signature;

pub use address::AddressPolicy;
pub use content::CallbackContent;
pub use delivery::{OpenCallback, WebhookClient};
pub use described::described;
pub use erased::{ErasedOutbox, OpenErased};
pub use metrics::CallbackMetrics;
pub use outbox::Outbox;
pub use owed_events::OwedEventsMonitor;
pub use resolve::{Resolver, SystemResolver};
pub use settings::CallbackSettings;
pub use signature::SigningSecrets;
