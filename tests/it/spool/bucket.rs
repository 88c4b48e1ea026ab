//! What is the bucket's alone.

use std::sync::Arc;

use pixerve::job::{JobRecord, State};
use pixerve::spool::SpoolEntry;

use super::fixture::shared::{Shared, open, scratch};
use super::fixture::{SpoolFixture, TestResult, accept, new_id, read_original, receive, record};
use crate::bucket::bucket_of;
use crate::harness::app::{files_below, poll_delay};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::spool::entries;
use crate::harness::stores::S3Client;
use crate::writer::noise;

fn shared(fixture: &SpoolFixture) -> &Shared {
    fixture.shared.as_ref().expect("it is in a bucket")
}

/// The key of an accepted upload, below the prefix.
fn key(record: &JobRecord) -> String {
    let id = record.id.to_string();
    format!("spool/{}/{id}", &id[id.len() - 2..])
}

/// Puts what `change` makes of the object of an upload in its place.
async fn change(fixture: &SpoolFixture, record: &JobRecord, change: impl FnOnce(&mut Vec<u8>)) -> TestResult {
    let bucket = shared(fixture).bucket();
    let mut bytes = bucket.get(&key(record), u64::MAX).await?.to_vec();
    change(&mut bytes);
    bucket.put(&key(record), bytes.into()).await?;
    Ok(())
}

#[tokio::test]
async fn an_upload_is_one_object_and_nothing_of_it_stays_on_the_node() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let spool = fixture.open()?;
    let before = files_below(&scratch(fixture.dir.path()));
    // The second one goes in parts.
    for size in [10_000, 20 * 1024 * 1024] {
        let bytes = noise(size);
        let record = accept(&*spool, &bytes).await?;
        assert_eq!(shared(&fixture).server.keys("pixerve").await, [format!("px/test/{}", key(&record))]);
        while files_below(&scratch(fixture.dir.path())) != before {
            poll_delay().await;
        }
        assert!(read_original(&*spool, &record).await? == bytes);
        assert!(files_below(&scratch(fixture.dir.path())) != before, "an attempt works on it");
        spool.attempt_ended(record.id).await;
        while files_below(&scratch(fixture.dir.path())) != before {
            poll_delay().await;
        }
        spool.remove(record.id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn bytes_that_changed_in_the_bucket_are_found_out_before_an_attempt_sees_them() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let spool = fixture.open()?;
    let record = accept(&*spool, &noise(300_000)).await?;
    for damage in [
        (|bytes| *bytes.last_mut().expect("not empty") ^= 1) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(100_000),
        |bytes| bytes.truncate(20),
        |bytes| bytes.push(0),
        |bytes| bytes[0] = b'?',
    ] {
        let whole = shared(&fixture).bucket().get(&key(&record), u64::MAX).await?;
        change(&fixture, &record, damage).await?;
        let error = spool.fetch(&record).await.expect_err("not what was accepted");
        assert!(!error.is_missing() && !error.had_ended() && !error.is_shortage(), "{error:?}");
        assert!(error.to_string().contains(&record.id.to_string()), "{error}");
        shared(&fixture).bucket().put(&key(&record), whole).await?;
    }
    assert_eq!(read_original(&*spool, &record).await?.len(), 300_000, "tried again, it is whole");
    Ok(())
}

#[tokio::test]
async fn a_damaged_object_is_reported_and_left() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let spool = fixture.open()?;
    let mut damaged = Vec::new();
    for damage in [
        (|bytes| bytes.truncate(20)) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes[3] = b'?',
        |bytes| bytes[11] = 9,
        |bytes| bytes[70] = b'?',
    ] {
        let record = accept(&*spool, &noise(5_000)).await?;
        change(&fixture, &record, damage).await?;
        damaged.push(key(&record));
    }
    let (one, other) = (accept(&*spool, b"one").await?, accept(&*spool, b"other").await?);
    let exchanged = shared(&fixture).bucket();
    exchanged.copy(&key(&one), &key(&other)).await?;
    damaged.push(key(&other));
    exchanged.put("spool/strange", "x".into()).await?;

    let (mut found, mut whole) = (Vec::new(), 0);
    for entry in entries(&*spool).await? {
        match entry {
            SpoolEntry::Damaged { place, why } => {
                assert!(!why.is_empty());
                found.push(place);
            }
            SpoolEntry::Whole(_) => whole += 1,
        }
    }
    found.sort();
    damaged.sort();
    assert_eq!((found, whole), (damaged.clone(), 1));
    assert_eq!(spool.uploads(None).await?.strange, ["spool/strange"]);
    let keys = shared(&fixture).server.keys("pixerve").await;
    assert!(damaged.iter().all(|key| keys.contains(&format!("px/test/{key}"))), "{keys:?}");
    Ok(())
}

#[tokio::test]
async fn an_upload_whose_put_fails_or_is_torn_is_not_there() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let server = &shared(&fixture).server;
    let proxy = FaultProxy::start(server.endpoint.socket_addrs(|| None)?[0]).await;
    let through = S3Client::new(proxy.endpoint().parse()?, &server.access_key, &server.secret);
    let bucket = Arc::new(bucket_of(&through, "pixerve"));
    let spool = open(&through, bucket, &scratch(fixture.dir.path()), Arc::new(shared(&fixture).lines.clone()))?;
    let before = files_below(&scratch(fixture.dir.path()));
    for (size, fault) in [
        (300_000, (|| Fault::Reset) as fn() -> Fault),
        (300_000, || Fault::ResetRequestAfter(1_000)),
        (300_000, || Fault::LoseReply),
        (300_000, || Fault::s3_error(503, "SlowDown")),
        (20 * 1024 * 1024, || Fault::ResetRequestAfter(1_000)),
    ] {
        let bytes = noise(size);
        let id = new_id();
        let received = receive(&spool, id, &bytes).await?;
        proxy.script(move |asked| if asked.method == "PUT" { fault() } else { Fault::Pass });
        let error = received.accept(&record(id, &bytes)).await.expect_err("not whole");
        assert!(error.is_of_bucket() && error.is_shortage() && !error.had_ended(), "{error:?}");
        proxy.script(|_| Fault::Pass);
        assert_eq!(server.keys("pixerve").await, Vec::<String>::new());
        while files_below(&scratch(fixture.dir.path())) != before {
            poll_delay().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_away_is_a_shortage_and_says_nothing_of_a_job() -> TestResult {
    let mut fixture = SpoolFixture::bucket().await?;
    let spool = fixture.open()?;
    let accepted = accept(&*spool, b"some bytes").await?;
    let received = receive(&*spool, new_id(), b"other bytes").await?;
    fixture.shared.take().expect("it is in a bucket").server.stop().await;
    let errors = [
        spool.fetch(&accepted).await.map(drop).expect_err("away"),
        spool.holds(accepted.id).await.map(drop).expect_err("away"),
        spool.uploads(None).await.map(drop).expect_err("away"),
        spool.manifest(accepted.id).await.map(drop).expect_err("away"),
        spool.job_ended(accepted.id, State::Cancelled).await.expect_err("away"),
        received.accept(&record(new_id(), b"other bytes")).await.expect_err("away"),
    ];
    for error in errors {
        assert!(error.is_shortage() && error.is_of_bucket(), "{error:?}");
        assert!(!error.is_missing() && !error.had_ended() && !error.is_full(), "{error:?}");
    }
    Ok(())
}
