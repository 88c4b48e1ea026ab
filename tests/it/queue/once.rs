//! Tokens that are good for one upload.

use std::sync::Arc;

use pixerve::clock::Timestamp;
use pixerve::job::{JobRecord, OnceToken};
use pixerve::queue::Enqueued;

use super::fixture::{QueueFixture, SECOND, TestResult, claim, complete, enqueue, owner, purge, queued};

every_queue! {
    a_token_is_used_by_the_job_that_was_taken_in_with_it,
    concurrent_uploads_with_one_token_have_one_winner,
    a_job_that_comes_again_from_the_spool_is_not_refused_by_its_own_token,
    a_duplicate_uses_no_token_up,
    a_used_token_is_forgotten_once_nobody_takes_it_and_not_with_its_job,
}

fn with_token(jti: &str, good_until: Timestamp, record: JobRecord) -> JobRecord {
    JobRecord { once: Some(OnceToken::new(&record.owner, jti, good_until)), ..record }
}

async fn a_token_is_used_by_the_job_that_was_taken_in_with_it(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let until = fixture.now().after(60 * SECOND);
    let first = with_token("a", until, queued("me", 1));
    let digest = first.once.ok_or("a token")?.digest;
    assert_eq!(queue.user_of_token(&digest).await?, None);
    enqueue(&queue, &first).await?;
    assert_eq!(queue.enqueue(first.clone()).await?, Enqueued::Known, "it is the one that has used it");
    assert_eq!(queue.enqueue(with_token("a", until, queued("me", 2))).await?, Enqueued::TokenUsed(first.id));
    complete(&queue, &claim(&queue).await?).await?;
    assert_eq!(queue.enqueue(with_token("a", until, queued("me", 1))).await?, Enqueued::TokenUsed(first.id));
    assert_eq!(queue.user_of_token(&digest).await?, Some(first.id));
    enqueue(&queue, &with_token("b", until, queued("me", 1))).await?;
    enqueue(&queue, &with_token("a", until, queued("you", 1))).await?;
    Ok(())
}

async fn a_job_that_comes_again_from_the_spool_is_not_refused_by_its_own_token(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = with_token("a", fixture.now().after(60 * SECOND), queued("me", 1));
    enqueue(&queue, &record).await?;
    // As if its record had been lost: the token is used still.
    assert!(queue.drop_live(&record.id).await?);
    assert_eq!(queue.enqueue(record.clone()).await?, Enqueued::Created);
    let other = with_token("a", fixture.now().after(60 * SECOND), queued("me", 2));
    assert_eq!(queue.enqueue(other).await?, Enqueued::TokenUsed(record.id));
    Ok(())
}

async fn concurrent_uploads_with_one_token_have_one_winner(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let until = fixture.now().after(60 * SECOND);
    let mut uploads = tokio::task::JoinSet::new();
    for n in 0..32 {
        let (queue, upload) = (Arc::clone(&queue), with_token("a", until, queued("me", n)));
        uploads.spawn(async move { (upload.id, queue.enqueue(upload).await) });
    }
    let (mut winners, mut named) = (Vec::new(), Vec::new());
    for (id, outcome) in uploads.join_all().await {
        match outcome? {
            Enqueued::Created => winners.push(id),
            Enqueued::TokenUsed(by) => named.push(by),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(named.len() == 31 && named.iter().all(|id| *id == winners[0]));
    Ok(())
}

async fn a_duplicate_uses_no_token_up(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let until = fixture.now().after(60 * SECOND);
    enqueue(&queue, &queued("me", 1)).await?;
    assert!(matches!(queue.enqueue(with_token("a", until, queued("me", 1))).await?, Enqueued::Duplicate(_)));
    enqueue(&queue, &with_token("a", until, queued("me", 2))).await?;
    Ok(())
}

async fn a_used_token_is_forgotten_once_nobody_takes_it_and_not_with_its_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let of = |jti: &str, secs: u32| OnceToken::new(&owner("me"), jti, fixture.now().after(secs * SECOND));
    let tokens = [of("a", 10), of("b", 20)];
    for (n, token) in (0..).zip(tokens) {
        enqueue(&queue, &JobRecord { once: Some(token), ..queued("me", n) }).await?;
        complete(&queue, &claim(&queue).await?).await?;
    }
    fixture.clock.advance(9 * SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 2, "their records go");
    assert_eq!(queue.forget_used_tokens(10).await?, 0);
    for token in tokens {
        assert!(queue.user_of_token(&token.digest).await?.is_some(), "it is good still");
    }
    fixture.clock.advance(2 * SECOND);
    assert_eq!(queue.forget_used_tokens(10).await?, 1);
    let left = [queue.user_of_token(&tokens[0].digest).await?, queue.user_of_token(&tokens[1].digest).await?];
    assert!(left[0].is_none() && left[1].is_some(), "{left:?}");
    fixture.clock.advance(10 * SECOND);
    assert_eq!(queue.forget_used_tokens(10).await?, 1);
    assert_eq!(queue.user_of_token(&tokens[1].digest).await?, None);
    Ok(())
}
