//! When an original leaves the spool.

use std::time::Duration;

use pixerve::job::{JobId, State};
use pixerve::spool::{EndedUpload, Removal, Spool};

use super::fixture::{KEEP_AFTER_END, SpoolFixture, TestResult, accept, lists};

every_spool! {
    the_original_of_a_cancelled_job_is_never_queued_again,
    the_original_of_an_ended_job_leaves_once_nothing_may_need_it,
    what_is_not_there_any_more_has_left,
}

fn ended(id: JobId, state: State, ago: Duration, owes_callback: bool) -> EndedUpload {
    EndedUpload { id, state, ago, owes_callback }
}

async fn remove(spool: &dyn Spool, upload: EndedUpload) -> Vec<JobId> {
    let Removal { removed, failures } = spool.remove_ended(&[upload]).await;
    assert!(failures.is_empty(), "{failures:?}");
    removed
}

async fn the_original_of_a_cancelled_job_is_never_queued_again(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let id = accept(&*spool, b"some bytes").await?.id;
    spool.job_ended(id, State::Cancelled).await?;
    assert!(!lists(&*spool, id).await? && !spool.holds(id).await?);
    spool.job_ended(id, State::Cancelled).await?;
    Ok(())
}

async fn the_original_of_an_ended_job_leaves_once_nothing_may_need_it(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    for state in [State::Completed, State::Failed] {
        let id = accept(&*spool, b"some bytes").await?.id;
        spool.job_ended(id, state).await?;
        assert_eq!(lists(&*spool, id).await?, fixture.is_shared, "{state}");
        if fixture.is_shared {
            let soon = KEEP_AFTER_END.saturating_sub(Duration::from_secs(1));
            for not_yet in [ended(id, state, soon, false), ended(id, state, 2 * KEEP_AFTER_END, true)] {
                assert_eq!(remove(&*spool, not_yet).await, [], "{not_yet:?}");
                assert!(lists(&*spool, id).await?, "{not_yet:?}");
            }
        }
        assert_eq!(remove(&*spool, ended(id, state, KEEP_AFTER_END, false)).await, [id]);
        assert!(!lists(&*spool, id).await?, "{state}");
    }
    Ok(())
}

async fn what_is_not_there_any_more_has_left(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    for state in [State::Completed, State::Failed, State::Cancelled] {
        let upload = ended(super::fixture::new_id(), state, KEEP_AFTER_END, false);
        assert_eq!(remove(&*spool, upload).await, [upload.id], "{state}");
    }
    assert!(spool.remove_ended(&[]).await.removed.is_empty());
    Ok(())
}
