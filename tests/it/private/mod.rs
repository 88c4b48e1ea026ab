//! Private files: who is served what, where they are, and what becomes of them. On one machine, on many nodes that share a directory,
//! and on many that share a bucket, by one suite.

/// Runs every test named here on each kind of home.
macro_rules! every_home {
    ($($name:ident),* $(,)?) => {
        mod one_machine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::private::home::PrivateHome::one_machine()).await;
            })*
        }
        mod shared_directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::private::home::PrivateHome::shared_directory().await {
                    super::$name(home).await;
                }
            })*
        }
        mod shared_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::private::home::PrivateHome::shared_bucket().await {
                    super::$name(home).await;
                }
            })*
        }
    };
}

mod erased;
pub(crate) mod home;
mod refused;
mod served;
mod start;
mod told;
mod who;
