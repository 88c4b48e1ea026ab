//! Requests that may be repeated, while they are under way.

use crate::job::{IdempotencyKey, JobId, KeptAnswer};

/// The right to do what a request asks for, while nobody else does: until it is ended, or not renewed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLease {
    /// The request's key.
    pub key: IdempotencyKey,
    /// Tells it from every other request with this key.
    pub token: u64,
}

/// What is known of a request that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BegunRequest {
    /// It is to be done.
    Begun {
        /// It is under way from now on.
        lease: RequestLease,
        /// The job that an earlier request with this key was about to become, of which nobody knows how it ended: the spool says
        /// whether there is one.
        earlier: Option<JobId>,
    },
    /// Another one with this key is under way.
    InFlight,
    /// It has been answered.
    Answered(KeptAnswer),
}

/// What is left of a request that ends without an answer that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFate {
    /// Nothing: it was refused.
    Free,
    /// The job that it was about to become: it may be one.
    Unknown,
}
