//! One object in one request, streamed.

use std::io;
use std::pin::pin;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::Gcs;
use crate::writer::body::{self, BodyReader, next_chunk};
use crate::writer::failure::off_the_runtime;
use crate::writer::{Failure, Object};

/// How long nothing may move.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are read and sent at a time.
const CHUNK_BYTES: usize = 256 * 1024;

impl Gcs {
    /// Sends the object with its MD5, so that the store makes it visible only if it got what was sent. It is the one
    /// hash that both the store and its emulators check and that costs no second kind of checksum here.
    pub(super) async fn upload(&self, key: &str, object: &Object) -> Result<(), Failure> {
        let md5 = BASE64_STANDARD.encode(md5(body::open(object).await?).await?);
        let boundary = Uuid::new_v4().simple().to_string();
        let metadata = json!({"name": key, "contentType": object.media_type, "md5Hash": md5});
        let head = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n\
             --{boundary}\r\nContent-Type: {}\r\n\r\n",
            object.media_type
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = head.len() as u64 + object.body.len() + tail.len() as u64;

        let (movement, moved) = Movement::new();
        let parts = stream::iter([Ok(Bytes::from(head))])
            .chain(chunks(body::open(object).await?))
            .chain(stream::iter([Ok(Bytes::from(tail))]))
            .inspect(move |_| moved.notice());
        let mut url = self.url(&["upload", "storage", "v1", "b", &self.bucket, "o"]);
        url.query_pairs_mut().append_pair("uploadType", "multipart");
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, format!("multipart/related; boundary={boundary}"))
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(parts));
        confirm(&self.send(request, movement).await?, &md5)
    }
}

/// Checks the answer to a write: a store that says "yes" but has other bytes must not count as having them.
fn confirm(answer: &[u8], md5: &str) -> Result<(), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Description {
        md5_hash: Option<String>,
    }
    match serde_json::from_slice(answer) {
        Ok(Description { md5_hash: Some(found) }) if found != md5 => {
            Err(Failure::passing(format!("the store has bytes with the MD5 {found}, but {md5} was sent")))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::passing("the store's answer does not describe an object")),
    }
}

async fn md5(mut reader: BodyReader) -> Result<[u8; 16], Failure> {
    off_the_runtime(move || {
        let mut md5 = Md5::new();
        loop {
            let chunk = reader.chunk(CHUNK_BYTES).map_err(|error| Failure::of_io(&error))?;
            if chunk.is_empty() {
                return Ok(md5.finalize().into());
            }
            md5.update(&chunk);
        }
    })
    .await
}

fn chunks(reader: BodyReader) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(reader, |reader| async {
        let (rest, chunk) =
            next_chunk(reader, CHUNK_BYTES).await.map_err(|failure| io::Error::other(failure.detail()))?;
        Ok((!chunk.is_empty()).then_some((chunk, rest)))
    })
}

/// Tells a slow exchange from a dead one: a total time limit can't, since it would have to fit the largest body.
pub(super) struct Movement(watch::Receiver<()>);

pub(super) struct Moved(watch::Sender<()>);

impl Movement {
    fn new() -> (Self, Moved) {
        let (sender, receiver) = watch::channel(());
        (Self(receiver), Moved(sender))
    }

    /// For a request without a body: it has one time span for everything.
    pub(super) fn none() -> Self {
        Self::new().0
    }

    /// Waits for `exchange`, unless nothing moves for too long.
    pub(super) async fn watch<T>(self, exchange: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.watch_for(IDLE_TIMEOUT, exchange).await
    }

    async fn watch_for<T>(
        mut self,
        limit: Duration,
        exchange: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut exchange = pin!(exchange);
        loop {
            let idle = tokio::time::sleep(limit);
            tokio::select! {
                result = &mut exchange => return result,
                Ok(()) = self.0.changed() => {}
                () = idle => {
                    return Err(Failure::passing(format!("nothing moved for {} s", limit.as_secs())));
                }
            }
        }
    }
}

impl Moved {
    fn notice(&self) {
        self.0.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exchange_in_which_nothing_moves_is_given_up_as_transient() {
        let (movement, _moved) = Movement::new();
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = movement.watch_for(Duration::from_millis(1), never).await.expect_err("given up");
        assert!(failure.transient);
    }

    #[tokio::test]
    async fn a_body_that_has_gone_out_leaves_time_for_the_answer() {
        let (movement, moved) = Movement::new();
        drop(moved);
        let answer = async {
            tokio::task::yield_now().await;
            Ok(7)
        };
        assert_eq!(movement.watch(answer).await.expect("answered"), 7);
    }
}
