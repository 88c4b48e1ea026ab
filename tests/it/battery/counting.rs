//! A hundred thousand jobs that wait, counted.

use super::figure;
use crate::queue::counting::counted;
use crate::queue::fixture::{QueueFixture, TestResult};

const JOBS: u32 = 100_000;

async fn count_many(fixture: &QueueFixture, place: &str) -> TestResult {
    let [of_few, of_many] = counted(fixture, JOBS).await?.map(|took| took.as_micros());
    figure("counting", format!("{place}: {of_many} us while {JOBS} jobs wait, {of_few} us while 100 do"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_hundred_thousand_that_wait_on_one_machine_are_counted_as_quickly_as_few() -> TestResult {
    count_many(&QueueFixture::sled()?, "one machine").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_hundred_thousand_that_wait_in_redis_are_counted_as_quickly_as_few() -> TestResult {
    match QueueFixture::redis()? {
        Some(fixture) => count_many(&fixture, "Redis").await,
        None => Ok(()),
    }
}
