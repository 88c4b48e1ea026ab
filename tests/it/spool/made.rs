//! Variants between being made and being in every store.

use std::fs::File;

use bytes::Bytes;

use super::fixture::{SpoolFixture, TestResult, accept};
use super::journal::made;

every_spool! {
    a_variant_is_whole_or_not_there,
    variants_of_an_attempt_that_is_over_stay_where_the_next_one_is_and_only_there,
}

async fn a_variant_is_whole_or_not_there(fixture: SpoolFixture) -> TestResult {
    let spool = fixture.open()?;
    let id = accept(&*spool, b"some bytes").await?.id;
    let (whole, cut, gone) = (made("whole", b"1234"), made("cut", b"1234"), made("gone", b"1234"));
    for name in ["whole", "cut"] {
        spool.write_made(id, name, Bytes::from_static(b"older")).await?;
        spool.write_made(id, name, Bytes::from_static(b"1234")).await?;
    }
    File::create(spool.made(id, "cut"))?.set_len(2)?;
    assert_eq!(spool.whole_made(id, vec![whole.clone(), cut, gone]).await?, std::slice::from_ref(&whole));
    assert_eq!(std::fs::read(spool.made(id, "whole"))?, b"1234");
    spool.remove_made(id, "whole").await?;
    spool.remove_made(id, "whole").await?;
    assert_eq!(spool.whole_made(id, vec![whole]).await?, []);
    Ok(())
}

async fn variants_of_an_attempt_that_is_over_stay_where_the_next_one_is_and_only_there(
    fixture: SpoolFixture,
) -> TestResult {
    let spool = fixture.open()?;
    let id = accept(&*spool, b"some bytes").await?.id;
    let file = made("one", b"1234");
    spool.write_made(id, "one", Bytes::from_static(b"1234")).await?;
    spool.attempt_ended(id).await;
    // Of many nodes another one makes the next attempt.
    let left = if fixture.is_shared { vec![] } else { vec![file.clone()] };
    assert_eq!(spool.whole_made(id, vec![file]).await?, left);
    Ok(())
}
