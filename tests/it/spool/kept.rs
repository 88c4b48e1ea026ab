//! Originals of failed and cancelled jobs, and accepting one again.

use std::collections::BTreeSet;

use pixerve::job::{JobId, JobRecord, State};
use pixerve::spool::{EndedUpload, Spool, SpoolEntry, SpoolError};

use super::fixture::{KEEP_AFTER_END, SpoolFixture, TestResult, accept, lists, new_id, read_original};
use crate::harness::spool::entries;

every_spool! {
    originals_of_failed_and_cancelled_jobs_are_kept_until_they_are_removed,
    none_is_kept_where_the_settings_say_so,
    a_kept_original_is_found_with_its_manifest_and_so_is_one_that_has_not_left_yet,
    an_original_is_accepted_again_with_the_manifest_of_another_job,
    what_is_gone_is_not_accepted_again,
    all_that_there_is_of_jobs_is_removed_and_nothing_of_others,
}

/// The job ends, and as much time passes as its original needs to leave the accepted uploads.
async fn end(spool: &dyn Spool, id: JobId, state: State) -> TestResult {
    spool.job_ended(id, state).await?;
    let ended = EndedUpload { id, state, ago: KEEP_AFTER_END, owes_callback: false };
    let removal = spool.remove_ended(&[ended]).await;
    assert!(removal.failures.is_empty() && removal.removed == [id], "{removal:?}");
    Ok(())
}

/// Every kept original.
async fn kept(spool: &dyn Spool) -> Result<BTreeSet<JobId>, SpoolError> {
    let (mut kept, mut from) = (BTreeSet::new(), None);
    loop {
        let page = spool.kept(from).await?;
        assert_eq!(page.strange, Vec::<String>::new());
        kept.extend(page.uploads.iter().map(|upload| upload.id));
        from = page.next;
        if from.is_none() {
            return Ok(kept);
        }
    }
}

async fn original_of(spool: &dyn Spool, id: JobId) -> Result<Option<JobRecord>, SpoolError> {
    Ok(spool.original_of(id).await?.map(|entry| match entry {
        SpoolEntry::Whole(record) => *record,
        SpoolEntry::Damaged { place, why } => panic!("{place}: {why}"),
    }))
}

async fn originals_of_failed_and_cancelled_jobs_are_kept_until_they_are_removed(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let (cancelled, failed) = (accept(&*spool, b"one").await?.id, accept(&*spool, b"other").await?.id);
    let completed = accept(&*spool, b"third").await?.id;
    spool.journal(failed).await?;
    spool.write_made(failed, "a.jpg", "made".into()).await?;
    spool.attempt_ended(failed).await;
    for (id, state) in [(cancelled, State::Cancelled), (failed, State::Failed), (completed, State::Completed)] {
        end(&*spool, id, state).await?;
        // Twice is harmless.
        end(&*spool, id, state).await?;
    }
    assert!(entries(&*spool).await?.is_empty(), "the comparison finds nothing to queue");
    assert_eq!(kept(&*spool).await?, BTreeSet::from([cancelled, failed]));

    let spool = fixture.open()?;
    assert_eq!(kept(&*spool).await?, BTreeSet::from([cancelled, failed]), "after a restart, too");
    spool.remove_kept(&[cancelled, new_id()]).await?;
    spool.remove_kept(&[cancelled]).await?;
    assert_eq!(kept(&*spool).await?, BTreeSet::from([failed]));
    spool.remove_kept(&[failed]).await?;
    assert_eq!(kept(&*spool).await?, BTreeSet::new());
    assert_eq!(original_of(&*spool, failed).await?, None);
    Ok(())
}

async fn all_that_there_is_of_jobs_is_removed_and_nothing_of_others(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let mut ids = Vec::new();
    for bytes in [b"one", b"two", b"six", b"ten"] {
        ids.push(accept(&*spool, bytes).await?.id);
    }
    let [accepted, cancelled, other, other_cancelled] = *ids else { panic!("{ids:?}") };
    spool.write_made(accepted, "a.jpg", "made".into()).await?;
    for id in [cancelled, other_cancelled] {
        end(&*spool, id, State::Cancelled).await?;
    }
    // Twice is harmless, and so is what there is nothing of.
    for _ in 0..2 {
        spool.remove_all(&[accepted, cancelled, new_id()]).await?;
    }
    spool.remove_all(&[]).await?;
    let spool = fixture.open()?;
    for id in [accepted, cancelled] {
        assert_eq!(original_of(&*spool, id).await?, None);
        assert!(!lists(&*spool, id).await?);
    }
    assert_eq!(kept(&*spool).await?, BTreeSet::from([other_cancelled]));
    assert!(lists(&*spool, other).await? && original_of(&*spool, other).await?.is_some());
    Ok(())
}

async fn none_is_kept_where_the_settings_say_so(fixture: SpoolFixture) -> TestResult {
    let fixture = SpoolFixture { keeps_failed: false, ..fixture };
    let spool = fixture.open()?;
    for state in [State::Failed, State::Cancelled] {
        let id = accept(&*spool, b"one").await?.id;
        end(&*spool, id, state).await?;
        assert_eq!((kept(&*spool).await?, original_of(&*spool, id).await?), (BTreeSet::new(), None));
        assert!(!lists(&*spool, id).await?);
    }
    Ok(())
}

async fn a_kept_original_is_found_with_its_manifest_and_so_is_one_that_has_not_left_yet(
    fixture: SpoolFixture,
) -> TestResult {
    let spool = fixture.open()?;
    let record = accept(&*spool, b"some bytes").await?;
    assert_eq!(original_of(&*spool, record.id).await?, Some(record.clone()));
    end(&*spool, record.id, State::Failed).await?;
    assert_eq!(original_of(&*spool, record.id).await?, Some(record));
    assert_eq!(original_of(&*spool, new_id()).await?, None);
    Ok(())
}

async fn an_original_is_accepted_again_with_the_manifest_of_another_job(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let bytes = vec![7; 300_000];
    for is_kept in [false, true] {
        let old = accept(&*spool, &bytes).await?;
        if is_kept {
            end(&*spool, old.id, State::Cancelled).await?;
        }
        let again = JobRecord { id: new_id(), ..old.clone() };
        assert!(spool.accept_again(old.id, &again).await?);
        assert!(lists(&*spool, again.id).await?);
        assert_eq!(original_of(&*spool, again.id).await?, Some(again.clone()));
        assert_eq!(original_of(&*spool, old.id).await?, Some(old.clone()), "the other is as it was");
        // Each goes by itself.
        spool.remove_kept(&[old.id]).await?;
        spool.remove(old.id).await?;
        let spool = fixture.open()?;
        assert_eq!(read_original(&*spool, &again).await?, bytes);
    }
    Ok(())
}

async fn what_is_gone_is_not_accepted_again(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let old = accept(&*spool, b"some bytes").await?;
    spool.remove(old.id).await?;
    let again = JobRecord { id: new_id(), ..old.clone() };
    assert!(!spool.accept_again(old.id, &again).await?);
    assert!(!spool.holds(again.id).await?);
    Ok(())
}
