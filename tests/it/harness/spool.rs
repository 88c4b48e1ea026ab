//! What a spool has, all of it.

use pixerve::spool::{Spool, SpoolEntry, SpoolError};

/// Every accepted upload, in the order in which they are listed.
pub(crate) async fn entries(spool: &dyn Spool) -> Result<Vec<SpoolEntry>, SpoolError> {
    let (mut entries, mut from) = (Vec::new(), None);
    loop {
        let page = spool.uploads(from).await?;
        for upload in page.uploads {
            entries.extend(spool.manifest(upload.id).await?);
        }
        from = page.next;
        if from.is_none() {
            return Ok(entries);
        }
    }
}
