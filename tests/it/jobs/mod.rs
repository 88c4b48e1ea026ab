//! Jobs under control: listed, tried again, run again. On one machine and on many nodes, by one suite.

/// Runs every test named here on each kind of home.
macro_rules! every_home {
    ($($name:ident),* $(,)?) => {
        mod one_machine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::jobs::home::JobsHome::one_machine()).await;
            })*
        }
        mod many_nodes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::jobs::home::JobsHome::many_nodes().await {
                    super::$name(home).await;
                }
            })*
        }
    };
}

mod home;
mod list;
mod presets;
mod register;
mod reprocess;
mod retry;
mod scopes;
