//! What runs beside the requests until the server stops. A task that ends before, or panics, is noticed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::error_chain::ErrorChain;

/// Why the server can't go on: one of its parts has ended.
#[derive(Debug, thiserror::Error)]
#[error("the {task} {how}, though the server was not stopping; this is a bug in Pixerve")]
pub struct TaskFailure {
    task: &'static str,
    how: String,
}

impl TaskFailure {
    /// Of a worker.
    pub(super) fn of_worker(how: String) -> Self {
        Self { task: "worker", how }
    }
}

/// Tasks of the server that end only when they are told to.
pub(super) struct BackgroundTasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

impl BackgroundTasks {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), stop: CancellationToken::new() }
    }

    /// Starts the task that `run` makes of the token which tells it to end.
    pub(super) fn spawn<F>(&mut self, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = self.tasks.spawn(run(self.stop.clone()));
        self.names.insert(task.id(), name);
    }

    /// Returns when one of them has ended.
    pub(super) async fn failed(&mut self) -> TaskFailure {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.failure(ended),
            None => std::future::pending().await,
        }
    }

    /// Tells all of them to end, without waiting.
    pub(super) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Tells all of them to end, and waits for that, `at_most` so long. What hasn't ended then is dropped.
    pub(super) async fn stop(mut self, at_most: Duration) {
        if !self.stop_within(at_most).await {
            error!(timeout_s = at_most.as_secs(), "background tasks did not end in time");
        }
    }

    /// Tells all of them to end, and waits for that, `at_most` so long: whether all have.
    pub(super) async fn stop_within(&mut self, at_most: Duration) -> bool {
        self.stop.cancel();
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                if let Err(panic) = ended {
                    let task = self.names.get(&panic.id()).copied().unwrap_or("background task");
                    error!(task, error = %ErrorChain(&panic), "background task failed");
                }
            }
        };
        timeout(at_most, all_ended).await.is_ok()
    }

    fn failure(&self, ended: Result<(Id, ()), JoinError>) -> TaskFailure {
        let (id, how) = match ended {
            Ok((id, ())) => (id, "ended".to_owned()),
            Err(error) => (error.id(), format!("failed: {}", ErrorChain(&error))),
        };
        TaskFailure { task: self.names.get(&id).copied().unwrap_or("background task"), how }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_named_and_one_that_runs_is_not() {
        let mut tasks = BackgroundTasks::new();
        tasks.spawn("patient one", |stop| async move { stop.cancelled().await });
        assert!(futures_util::poll!(Box::pin(tasks.failed())).is_pending());
        tasks.spawn("short one", |_| async {});
        assert_eq!(tasks.failed().await.task, "short one");
        tasks.spawn("broken one", |_| async { panic!("as a test may") });
        let failure = tasks.failed().await;
        assert_eq!(failure.task, "broken one");
        assert!(failure.how.contains("as a test may"), "{failure}");
        tasks.stop(Duration::from_mins(1)).await;
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_not_waited_for_longer_than_that() {
        let mut tasks = BackgroundTasks::new();
        tasks.spawn("deaf one", |_| std::future::pending());
        tasks.stop(Duration::from_millis(1)).await;
    }
}
