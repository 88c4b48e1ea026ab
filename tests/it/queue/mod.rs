//! The queue: what every implementation promises, and what the durable one does on top.

/// Runs every test named here against every queue there is.
macro_rules! every_queue {
    ($($name:ident),* $(,)?) => {
        every_local_queue! { $($name),* }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::queue::fixture::TestResult {
                match crate::queue::fixture::QueueFixture::redis()? {
                    Some(fixture) => super::$name(fixture).await,
                    None => Ok(()),
                }
            })*
        }
        mod valkey {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::queue::fixture::TestResult {
                match crate::queue::fixture::QueueFixture::valkey()? {
                    Some(fixture) => super::$name(fixture).await,
                    None => Ok(()),
                }
            })*
        }
    };
}

/// The same for what only those on one machine promise.
macro_rules! every_local_queue {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::queue::fixture::TestResult {
                super::$name(crate::queue::fixture::QueueFixture::memory()?).await
            })*
        }
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::queue::fixture::TestResult {
                super::$name(crate::queue::fixture::QueueFixture::sled()?).await
            })*
        }
    };
}

mod cancel;
pub(crate) mod counting;
mod database;
mod dedupe;
mod delivery;
mod durable;
mod erase;
pub(crate) mod fixture;
mod idempotency;
mod known;
mod lease;
mod list;
mod once;
mod order;
mod places;
mod random;
mod reference;
mod settle;
mod shared;
mod transfer;
mod waiting;
