//! One suite for everything that keeps sealed records or secrets.

use std::collections::HashMap;

use pixerve::job::SealedText;
use pixerve::register::{
    KnownVersions, MemoryRecords, MemorySecrets, RecordChanges, SealedRecords, SealedSecrets, SecretFiles, SledRecords,
};

/// Records of which a list in a bucket has more than one page.
const MANY: usize = 1_010;

fn text(text: &str) -> SealedText {
    SealedText(text.to_owned())
}

/// Takes changes in, as the register does: the texts by access key.
async fn take_in(records: &dyn SealedRecords, seen: &mut KnownVersions, texts: &mut HashMap<String, String>) {
    let changes = records.changes(seen).await.expect("read");
    for record in changes.written {
        seen.insert(record.access_key.clone(), record.version);
        texts.insert(record.access_key, record.text.0);
    }
    for access_key in changes.removed {
        assert!(seen.remove(&access_key).is_some(), "{access_key} was never there");
        texts.remove(&access_key);
    }
}

/// All that is promised, of an empty store.
pub(crate) async fn keeps_its_promises(records: &dyn SealedRecords) {
    let (mut seen, mut texts) = (KnownVersions::new(), HashMap::new());
    assert_eq!(records.changes(&seen).await.expect("read"), RecordChanges::default());
    records.remove("pxu_none").await.expect("harmless");

    for (access_key, content) in [("pxu_a", "one"), ("pxs_b", "two"), ("pxs_c", "three")] {
        records.put(access_key, &text(content)).await.expect("put");
    }
    take_in(records, &mut seen, &mut texts).await;
    let all = |expected: &[(&str, &str)]| -> HashMap<String, String> {
        expected.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(texts, all(&[("pxu_a", "one"), ("pxs_b", "two"), ("pxs_c", "three")]));

    // As soon after as can be, and of the same length: that it is another text is seen all the same.
    let version = records.put("pxu_a", &text("1st")).await.expect("put");
    records.remove("pxs_b").await.expect("removed");
    take_in(records, &mut seen, &mut texts).await;
    assert_eq!(texts, all(&[("pxu_a", "1st"), ("pxs_c", "three")]));
    assert_eq!(seen["pxu_a"].hash, version.hash, "a write and a list call one text by one version");

    // Whoever has seen nothing hears of what there is, and never of what was removed.
    let (mut seen, mut texts) = (KnownVersions::new(), HashMap::new());
    take_in(records, &mut seen, &mut texts).await;
    assert_eq!(texts, all(&[("pxu_a", "1st"), ("pxs_c", "three")]));

    for n in 0..MANY {
        records.put(&format!("pxs_many{n:04}"), &text(&n.to_string())).await.expect("put");
    }
    take_in(records, &mut seen, &mut texts).await;
    assert_eq!(texts.len(), 2 + MANY);
    for n in 0..MANY {
        records.remove(&format!("pxs_many{n:04}")).await.expect("removed");
    }
    take_in(records, &mut seen, &mut texts).await;
    assert_eq!(texts, all(&[("pxu_a", "1st"), ("pxs_c", "three")]));
}

/// The same for secrets.
pub(crate) async fn keeps_secrets(secrets: &dyn SealedSecrets) {
    assert_eq!(secrets.get("callback").await.expect("read"), None);
    secrets.create("callback", &text("first")).await.expect("made");
    secrets.create("callback", &text("second")).await.expect("it stays");
    assert_eq!(secrets.get("callback").await.expect("read"), Some(text("first")));
    secrets.put("callback", &text("third")).await.expect("replaced");
    assert_eq!(secrets.get("callback").await.expect("read"), Some(text("third")));
    assert_eq!(secrets.get("installation").await.expect("read"), None);
    assert!(secrets.place("callback").contains("callback"), "{}", secrets.place("callback"));
}

#[tokio::test]
async fn memory_keeps_records() {
    keeps_its_promises(&MemoryRecords::default()).await;
}

#[tokio::test]
async fn a_database_keeps_records_over_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let records = SledRecords::open(data.path()).expect("opened").records;
    keeps_its_promises(&records).await;
    let before = records.changes(&KnownVersions::new()).await.expect("read");
    records.close().await.expect("closed");
    drop(records);
    let records = SledRecords::open(data.path()).expect("opened").records;
    assert_eq!(records.changes(&KnownVersions::new()).await.expect("read"), before);
}

#[tokio::test]
async fn memory_and_files_keep_secrets() {
    let data = tempfile::tempdir().expect("a directory");
    keeps_secrets(&MemorySecrets::default()).await;
    keeps_secrets(&SecretFiles::new(data.path())).await;
}
