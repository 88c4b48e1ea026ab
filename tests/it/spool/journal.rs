//! What jobs note.

use pixerve::clock::Timestamp;
use pixerve::job::{ContentHash, Placeholder, Stored, Warning, Warnings};
use pixerve::spool::{Durability, JournalEntries, MadeFile, StoredLine};

use super::fixture::{SpoolFixture, TestResult, accept, new_id};

every_spool! {
    a_line_survives_another_node_opening_the_job,
    what_is_made_is_told_from_what_is_stored,
    a_job_without_a_journal_has_noted_nothing,
}

pub(super) fn made(name: &str, bytes: &[u8]) -> MadeFile {
    MadeFile {
        name: name.to_owned(),
        format: "jpg".to_owned(),
        width: 1,
        height: 2,
        bytes: bytes.len() as u64,
        sha256: ContentHash::of(bytes),
        warnings: Warnings::from([Warning::Truncated]),
        same_as: None,
    }
}

fn stored(name: &str, backend: &str) -> StoredLine {
    let stored = Stored::at(backend, format!("{backend}/{name}"));
    StoredLine { file: made(name, name.as_bytes()), stored }
}

async fn a_line_survives_another_node_opening_the_job(fixture: SpoolFixture) -> TestResult {
    let (here, there) = (fixture.open()?, fixture.open()?);
    let record = accept(&*here, b"some bytes").await?;
    let journal = here.journal(record.id).await?;
    assert_eq!(*journal.earlier(), JournalEntries::default());
    journal.append_stored(stored("one", "s3")).await?;
    let next = there.journal(record.id).await?;
    assert_eq!(next.earlier().stored, [stored("one", "s3")]);
    next.append_stored(stored("one", "gcs")).await?;
    let expected = [stored("one", "s3"), stored("one", "gcs")];
    for spool in [here, there, fixture.open()?] {
        assert_eq!(spool.journal_entries(record.id).await?.stored, expected);
    }
    Ok(())
}

async fn what_is_made_is_told_from_what_is_stored(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let id = accept(&*spool, b"some bytes").await?.id;
    let journal = spool.journal(id).await?;
    journal.append_made(made("one", b"one")).await?;
    let placeholder = Placeholder::new(&[7; 21], [1, 2, 3]);
    journal.append_placeholder(placeholder.clone(), Durability::Soon).await?;
    journal.append_all_made(Timestamp::from_millis(7)).await?;
    journal.append_stored(stored("one", "s3")).await?;
    journal.append_all_made(Timestamp::from_millis(9)).await?;
    spool.attempt_ended(id).await;
    let expected = JournalEntries {
        stored: vec![stored("one", "s3")],
        made: vec![made("one", b"one")],
        all_made_at: Some(Timestamp::from_millis(7)),
        placeholder: Some(placeholder),
    };
    assert_eq!(spool.journal_entries(id).await?, expected, "the first end of making counts");
    assert_eq!(*fixture.open()?.journal(id).await?.earlier(), expected);
    Ok(())
}

async fn a_job_without_a_journal_has_noted_nothing(fixture: SpoolFixture) -> TestResult {
    assert_eq!(fixture.open()?.journal_entries(new_id()).await?, JournalEntries::default());
    Ok(())
}
