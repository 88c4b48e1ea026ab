//! Erasing: what is reached, what is told of it, and what survives kills and stores that are away. On one machine and on many
//! nodes, by one suite.

/// Runs every test named here on each kind of home.
macro_rules! every_home {
    ($($name:ident),* $(,)?) => {
        mod one_machine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::erasure::home::ErasureHome::one_machine().await).await;
            })*
        }
        mod many_nodes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::erasure::home::ErasureHome::many_nodes().await {
                    super::$name(home).await;
                }
            })*
        }
    };
}

mod buckets;
mod erased;
mod expired;
pub(crate) mod garbage;
pub(crate) mod home;
mod killed;
mod killed_garbage;
pub(crate) mod killed_nodes;
mod stores;
mod told;
