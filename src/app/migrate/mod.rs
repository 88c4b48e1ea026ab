//! `pixerve migrate`: everything that one machine keeps, to where many nodes keep it, or back.
//!
//! Both homes are marked before anything is copied, and no server starts on a marked one ([`home_mark`](super::home_mark)). Each step
//! leaves alone what is there already, so that a run that was killed anywhere is simply run again. Nothing is taken out of the home that
//! is left: when all is in the other, and durable there, the mark of the one says that it is left, and that of the other goes.

mod error;
#[cfg(feature = "s3")]
mod home;
#[cfg(feature = "s3")]
mod jobs;
mod moved;
#[cfg(feature = "s3")]
mod served;
#[cfg(feature = "s3")]
mod steps;
#[cfg(feature = "s3")]
mod survey;

pub use self::error::MigrateError;
pub use self::moved::Migrated;
#[cfg(feature = "s3")]
use self::moved::Progress;
#[cfg(feature = "s3")]
pub use self::steps::migrate;
#[cfg(feature = "s3")]
use self::steps::{AT_ONCE, tried};
use super::home_mark::Destination;

/// What to move, and how.
#[derive(Clone, Copy, Debug)]
pub struct MigrateOptions {
    /// Where to.
    pub to: Destination,
    /// Only say what there is, and whether it can be moved.
    pub dry_run: bool,
}

/// Refuses: a build that speaks to no bucket knows no home of many nodes.
///
/// # Errors
/// Always.
#[cfg(not(feature = "s3"))]
#[expect(clippy::unused_async, reason = "as where it does something")]
pub async fn migrate(_: &crate::config::Config, _: MigrateOptions) -> Result<Migrated, MigrateError> {
    Err(MigrateError::NotBuiltIn)
}
