//! Uploads on their way in, and how they are found again.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use pixerve::spool::SpoolEntry;

use super::fixture::{SpoolFixture, TestResult, accept, new_id, read_original, receive, record};
use crate::harness::app::{files_below, poll_delay};
use crate::harness::spool::entries;
use crate::writer::noise;

/// Uploads of which the bucket has more than one page.
const MANY: usize = 1_200;

every_spool! {
    what_was_accepted_is_listed_with_its_manifest_by_every_node,
    what_was_accepted_can_be_read_as_often_as_it_takes,
    what_was_not_accepted_leaves_nothing_behind,
    of_an_upload_that_a_dead_process_left_nothing_is_there_after_the_next_start,
    removing_twice_is_harmless,
    uploads_are_listed_in_pages_without_a_skip,
    usage_is_counted,
}

async fn what_was_accepted_is_listed_with_its_manifest_by_every_node(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let (one, two) = (accept(&*spool, b"some bytes").await?, accept(&*spool, b"other bytes").await?);
    for spool in [fixture.open()?, spool] {
        let mut found = Vec::new();
        for entry in entries(&*spool).await? {
            let SpoolEntry::Whole(record) = entry else { panic!("{entry:?}") };
            found.push(*record);
        }
        let mut accepted = [one.clone(), two.clone()];
        for records in [found.as_mut_slice(), &mut accepted] {
            records.sort_by_key(|record| record.id);
        }
        assert_eq!(found, accepted);
        assert!(spool.holds(one.id).await? && !spool.holds(new_id()).await?);
        assert!(spool.manifest(new_id()).await?.is_none());
    }
    Ok(())
}

async fn what_was_accepted_can_be_read_as_often_as_it_takes(fixture: SpoolFixture) -> TestResult {
    let bytes = noise(300_000);
    let record = accept(&*fixture.open()?, &bytes).await?;
    let spool = fixture.open()?;
    let paths = try_join_all((0..8).map(|_| spool.fetch(&record))).await?;
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), 1, "it is there once: {paths:?}");
    assert!(read_original(&*spool, &record).await? == bytes);
    spool.attempt_ended(record.id).await;
    assert!(read_original(&*spool, &record).await? == bytes, "the next attempt");
    Ok(())
}

async fn what_was_not_accepted_leaves_nothing_behind(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let before = files_below(fixture.dir.path());
    let half = spool.receive(new_id()).await?;
    let whole = receive(&*spool, new_id(), &noise(300_000)).await?;
    assert!(files_below(fixture.dir.path()).len() > before.len(), "they are on disk");
    drop((half, whole));
    while files_below(fixture.dir.path()) != before {
        poll_delay().await;
    }
    assert!(entries(&*spool).await?.is_empty());
    Ok(())
}

async fn of_an_upload_that_a_dead_process_left_nothing_is_there_after_the_next_start(
    fixture: SpoolFixture,
) -> TestResult {
    let spool = fixture.open()?;
    let before = files_below(fixture.dir.path()).len();
    std::mem::forget(receive(&*spool, new_id(), b"some bytes").await?);
    assert!(files_below(fixture.dir.path()).len() > before);
    drop(spool);
    let spool = fixture.open()?;
    assert_eq!(files_below(fixture.dir.path()).len(), before);
    assert!(entries(&*spool).await?.is_empty());
    Ok(())
}

async fn removing_twice_is_harmless(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let record = accept(&*spool, b"some bytes").await?;
    spool.remove(record.id).await?;
    spool.remove(record.id).await?;
    assert!(!spool.holds(record.id).await? && entries(&*spool).await?.is_empty());
    spool.attempt_ended(record.id).await;
    let error = spool.open_original(&record).await.expect_err("it is gone");
    // What that says of the job: on one machine it was lost, in a bucket it had ended.
    assert!(error.is_missing() != error.had_ended(), "{error:?}");
    assert_eq!(error.had_ended(), fixture.is_shared);
    Ok(())
}

async fn uploads_are_listed_in_pages_without_a_skip(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let ids: Vec<_> = (0..MANY).map(|_| new_id()).collect();
    for ids in ids.chunks(50) {
        try_join_all(ids.iter().map(async |id| receive(&*spool, *id, b"x").await?.accept(&record(*id, b"x")).await))
            .await?;
    }
    let (mut found, mut from, mut last) = (Vec::new(), None, false);
    while !last {
        let page = spool.uploads(from).await?;
        assert!(page.strange.is_empty(), "{:?}", page.strange);
        found.extend(page.uploads.into_iter().map(|upload| upload.id));
        from = page.next;
        last = from.is_none();
    }
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert!(found.len() == MANY && unique == ids.into_iter().collect(), "{} of {MANY}", found.len());
    Ok(())
}

async fn usage_is_counted(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    for _ in 0..3 {
        accept(&*spool, &noise(10_000)).await?;
    }
    entries(&*spool).await?;
    let usage = spool.usage().await?;
    assert!(usage.entries == 3 && (30_000..40_000).contains(&usage.bytes), "{usage:?}");
    Ok(())
}
