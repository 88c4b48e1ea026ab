//! The spool: what every implementation promises, and what the bucket does on top.

/// Runs every test named here against every spool there is.
macro_rules! every_spool {
    ($($name:ident),* $(,)?) => {
        mod directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::spool::fixture::TestResult {
                super::$name(crate::spool::fixture::SpoolFixture::directory()?).await
            })*
        }
        #[cfg(all(feature = "s3", feature = "gcs"))]
        mod bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> crate::spool::fixture::TestResult {
                super::$name(crate::spool::fixture::SpoolFixture::bucket().await?).await
            })*
        }
    };
}

#[cfg(all(feature = "s3", feature = "gcs"))]
mod bucket;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod compared;
mod ended;
pub(crate) mod fixture;
mod journal;
mod kept;
mod made;
mod uploads;
#[cfg(all(feature = "s3", feature = "gcs"))]
mod worked_on;
