//! What a bucket has, page by page.

use std::time::SystemTime;

use futures_util::{Stream, stream};

use super::client::S3;
use crate::bucket::s3::{AnswerHeaders, RequestFailure, within};
use crate::writer::{Failure, FoundFile, FoundFiles, WriteError};

impl S3 {
    /// Every object below the prefix, at `base` and what follows the prefix for a location.
    pub(in crate::writer) fn listed(
        &self,
        base: String,
    ) -> impl Stream<Item = Result<FoundFiles, WriteError>> + Send + use<> {
        let start = (self.clone(), base, Some(None));
        stream::try_unfold(start, |(this, base, from)| async move {
            let Some(after) = from else { return Ok(None) };
            let (page, next) = this.page(&base, after).await?;
            Ok(Some((page, (this, base, next.map(Some)))))
        })
    }

    /// A page of what comes after the key `after`, and the key that it ends with if there are more.
    async fn page(&self, base: &str, after: Option<String>) -> Result<(FoundFiles, Option<String>), WriteError> {
        let prefix = self.prefix.join("");
        let fail = |failure: RequestFailure| Failure::from(failure).on(self.bucket.what("list what is below", &prefix));
        let headers = AnswerHeaders::default();
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.bucket).prefix(&prefix);
        let request = request.set_start_after(after).customize().interceptor(headers.clone());
        let answer = within(self.bucket.timeouts.exchange(0), request.send()).await.map_err(fail)?;
        let headers = headers.get();
        let mut found = FoundFiles::default();
        for object in answer.contents() {
            let Some(path) = object.key().and_then(|key| self.prefix.strip(key)) else { continue };
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            let modified = object.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
            found.add(base, path, bytes, headers.since(modified).map_err(fail)?);
        }
        let mut next = None;
        if answer.is_truncated() == Some(true) {
            let last = answer.contents().last().and_then(|object| object.key());
            // Whoever took such a list for whole would miss what comes behind.
            let torn = || fail(RequestFailure::Unanswered("a list that goes on, but has nothing in it".to_owned()));
            next = Some(last.ok_or_else(torn)?.to_owned());
        }
        Ok((found, next))
    }

    /// What is known of the object `key`, which is at `location`; none if there is none.
    pub(in crate::writer) async fn look_at(&self, key: &str, location: &str) -> Result<Option<FoundFile>, WriteError> {
        let fail = |failure: RequestFailure| Failure::from(failure).on(self.bucket.what("look for", key));
        let headers = AnswerHeaders::default();
        let head = self.bucket.client.head_object().bucket(&self.bucket.bucket).key(key);
        let head = head.customize().interceptor(headers.clone());
        match within(self.bucket.timeouts.exchange(0), head.send()).await {
            Ok(_) => {
                let headers = headers.get();
                let bytes = headers.extent().map_err(fail)?.bytes;
                let age = headers.since(headers.modified).map_err(fail)?;
                Ok(Some(FoundFile { location: location.to_owned(), bytes, age }))
            }
            // Without a body it doesn't say what it is that there isn't: of a bucket that is gone, nothing is missing.
            Err(RequestFailure::Answered { status: 404, .. }) => match self.get_key(key, u64::MAX).await {
                Err(error) if error.kind == crate::writer::WriteErrorKind::Missing => Ok(None),
                Err(error) => Err(error),
                Ok(_) => Err(fail(RequestFailure::Unanswered("it came or went in this very moment".to_owned()))),
            },
            Err(failure) => Err(fail(failure)),
        }
    }
}
