//! What every store that may hold our bucket does.

use std::time::Duration;

use bytes::Bytes;
use pixerve::bucket::{Bucket, BucketError};
use pixerve::job::ContentHash;

use super::bucket_of;
use crate::harness::stores;
use crate::writer::noise;

/// Objects of which a list has more than one page.
const MANY: usize = 1_200;

/// All that is promised, in an empty bucket.
pub(crate) async fn keeps_its_promises(bucket: &Bucket) {
    puts_and_gets(bucket).await;
    puts_a_head_and_a_file(bucket).await;
    copies_and_deletes(bucket).await;
    lists_by_pages_without_a_skip(bucket).await;
}

async fn puts_and_gets(bucket: &Bucket) {
    for bytes in [&b""[..], b"some bytes", b"other bytes"] {
        bucket.put("a/small", Bytes::copy_from_slice(bytes)).await.expect("put");
        assert_eq!(bucket.get("a/small", 11).await.expect("got"), bytes);
        let info = bucket.head("a/small").await.expect("asked").expect("there");
        assert_eq!(info.bytes, bytes.len() as u64);
        assert!(info.age < Duration::from_mins(1), "{info:?}");
    }
    assert_eq!(bucket.get_range("a/small", 6..8).await.expect("got"), (Bytes::from_static(b"by"), 11));
    assert_eq!(bucket.get_range("a/small", 6..99).await.expect("got"), (Bytes::from_static(b"bytes"), 11));
    assert!(matches!(bucket.get("a/small", 10).await, Err(BucketError::Other { .. })), "larger than asked for");
    let missing = [
        bucket.get("a/none", 10).await.expect_err("missing"),
        bucket.get_range("a/none", 0..1).await.expect_err("missing"),
        bucket.copy("a/none", "a/copy").await.expect_err("missing"),
    ];
    for error in missing {
        assert!(error.is_missing() && !error.may_pass() && error.to_string().contains("px/test/a/none"), "{error}");
    }
    assert_eq!(bucket.head("a/none").await.expect("asked"), None);
}

async fn puts_a_head_and_a_file(bucket: &Bucket) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("original");
    for size in [100_000, 17 * 1024 * 1024 + 1] {
        let bytes = noise(size);
        std::fs::File::create(&path).and_then(|mut f| std::io::Write::write_all(&mut f, &bytes)).expect("written");
        let (head, length, sha256) = (Bytes::from_static(b"head"), size as u64, ContentHash::of(&bytes));
        bucket.put_with_file("b/object", head.clone(), &path, length, sha256).await.expect("put");
        let mut reader = bucket.open("b/object").await.expect("opened");
        assert_eq!(reader.info.bytes, 4 + length);
        let mut found = Vec::new();
        while let Some(chunk) = reader.chunk().await.expect("it comes") {
            found.extend_from_slice(&chunk);
        }
        assert!(found == [&b"head"[..], &bytes].concat(), "{size} bytes come back as they were");

        let other = ContentHash::of(b"something else");
        let error = bucket.put_with_file("b/torn", head, &path, length, other).await.expect_err("not as promised");
        assert!(matches!(error, BucketError::File { .. }), "{error}");
        assert_eq!(bucket.head("b/torn").await.expect("asked"), None, "nothing of it is there");
    }
}

async fn copies_and_deletes(bucket: &Bucket) {
    bucket.put("c/one", Bytes::from_static(b"one")).await.expect("put");
    bucket.copy("c/one", "c/two").await.expect("copied");
    assert_eq!(bucket.get("c/two", 3).await.expect("got"), "one");
    bucket.delete("c/one").await.expect("deleted");
    bucket.delete("c/one").await.expect("harmless");
    assert_eq!(bucket.head("c/one").await.expect("asked"), None);
    bucket.delete_all(&["c/none".to_owned(), "c/two".to_owned()]).await.expect("deleted, those that are there");
    assert_eq!(bucket.head("c/two").await.expect("asked"), None);
    bucket.delete_all(&[]).await.expect("nothing to do");
}

async fn lists_by_pages_without_a_skip(bucket: &Bucket) {
    let keys: Vec<String> = (0..MANY).map(|n| format!("d/{:02x}/{n:04}", n % 7)).collect();
    futures_util::future::join_all(keys.chunks(100).map(async |keys| {
        for key in keys {
            bucket.put(key, Bytes::from_static(b"x")).await.expect("put");
        }
    }))
    .await;
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = bucket.list("d/", after.as_deref()).await.expect("listed");
        pages += 1;
        for object in page.objects {
            assert_eq!(object.info.bytes, 1, "{object:?}");
            assert!(object.info.age < Duration::from_mins(2), "{object:?}");
            found.push(object.key);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut sorted = keys.clone();
    sorted.sort();
    assert!(found == sorted && pages > 1, "{} of {MANY} in {pages} pages", found.len());
    bucket.delete_all(&keys).await.expect("deleted");
    assert!(bucket.list("d/", None).await.expect("listed").objects.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_s3_holds_our_bucket() {
    let server = stores::s3().await;
    server.create_bucket("pixerve");
    keeps_its_promises(&bucket_of(&server, "pixerve")).await;
    let mut left = server.keys("pixerve").await;
    left.retain(|key| !key.starts_with("px/test/"));
    assert!(left.is_empty(), "outside of the prefix: {left:?}");
}
