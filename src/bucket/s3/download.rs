//! An object on its way to us.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::bucket::BucketError;
use crate::error_chain::ErrorChain;

/// The bytes of an object as they come from the bucket's connection. They are read as they are asked for here, so that
/// whoever takes them slowly has the bucket send them slowly.
#[derive(Debug)]
pub(crate) struct ObjectBytes {
    body: ByteStream,
    what: String,
    timeout: Duration,
}

impl ObjectBytes {
    /// Those of an answer to `what` was attempted; the next are waited for no longer than `timeout`.
    pub(crate) fn new(body: ByteStream, what: String, timeout: Duration) -> Self {
        Self { body, what, timeout }
    }

    /// The next; none at the end.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] if they don't come.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BucketError> {
        let unavailable = |detail: String| BucketError::Unavailable { what: self.what.clone(), detail };
        match timeout(self.timeout, self.body.try_next()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(unavailable(ErrorChain(&error).to_string())),
            Err(_) => Err(unavailable(format!("nothing more came within {:?}", self.timeout))),
        }
    }

    /// All of them, in memory.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub(crate) async fn collect(mut self) -> Result<Bytes, BucketError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// For messages: what was attempted.
    pub(crate) fn into_what(self) -> String {
        self.what
    }
}
