//! Sends a file until the server has it: once, however often that takes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use reqwest::header::AUTHORIZATION;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::bars::Bars;
use super::pictures::Picture;
use crate::cli::attempts::Attempts;
use crate::cli::client::{Client, Credentials};
use crate::cli::error::CliError;
use crate::cli::token::SignedJob;

/// For how long a server may be gone, or busy.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);
/// A connection that takes nothing for so long, and answers nothing, is dead.
const STALL_MAX: Duration = Duration::from_mins(1);
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What sends files to one server, as one owner.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) credentials: Credentials,
    /// What is signed into tokens; none where the given token has it.
    pub(super) job: Option<SignedJob>,
    /// Bytes that the server takes of a file; none if it doesn't say.
    pub(super) bytes_max: Option<u64>,
    pub(super) bars: Bars,
}

/// How much of a file is sent, and whether it can be read.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Sender {
    /// Sends `picture`, again where the server was gone or busy: what it answered when it had it. Each try has the same
    /// `Idempotency-Key`, so that one whose answer got lost is not a second upload.
    ///
    /// # Errors
    /// If the server refuses it, would refuse it for its size, or is gone for long.
    pub(super) async fn send(&self, picture: &Picture) -> Result<Value, CliError> {
        let (_, bytes) = picture.open()?;
        if let Some(bytes_max) = self.bytes_max.filter(|max| bytes > *max) {
            return Err(CliError::TooLarge { bytes, bytes_max });
        }
        let key = format!("\"{}\"", Uuid::now_v7());
        let jti = self.job.as_ref().and_then(SignedJob::new_jti);
        let bar = self.bars.file(&picture.shown, bytes);
        let mut attempts = Attempts::for_at_most(GIVE_UP_AFTER);
        let sent = loop {
            match self.try_once(picture, &key, jti.as_deref(), &bar).await {
                Ok(answer) => break Ok(answer),
                Err(error) => {
                    bar.set_message(format!("{}: {error}", picture.shown));
                    if let Err(error) = attempts.wait_after(error).await {
                        break Err(error);
                    }
                    bar.set_message(picture.shown.clone());
                }
            }
        };
        bar.finish_and_clear();
        sent
    }

    async fn try_once(
        &self,
        picture: &Picture,
        key: &str,
        jti: Option<&str>,
        bar: &ProgressBar,
    ) -> Result<Value, CliError> {
        let (file, bytes) = picture.open()?;
        bar.set_length(bytes);
        bar.set_position(0);
        let sent = Arc::new(Sent::default());
        let body = Body::wrap_stream(chunks(file, bytes, Arc::clone(&sent), bar.clone()));
        let part = Part::stream_with_length(body, bytes).file_name(picture.file_name());
        let request = self
            .client
            .request(Method::POST, "/upload", &[])
            .header(AUTHORIZATION, self.credentials.bearer_for(self.job.as_ref(), jti)?)
            .header("idempotency-key", key)
            .multipart(Form::new().part("file", part));
        let answer = async {
            let response = self.client.success(request).await?;
            self.client.json_of(response).await
        };
        let answer = unless_stalled(answer, &sent.bytes)
            .await
            .unwrap_or_else(|| Err(CliError::Stalled { server: self.client.server().to_owned(), waited: STALL_MAX }));
        match sent.failure.lock().take() {
            // To the client it looks like a connection that broke.
            Some(source) if answer.is_err() => {
                Err(CliError::File { what: format!("reading {}", picture.shown), source })
            }
            _ => answer,
        }
    }
}

/// The bytes of a file as they are sent; of one that grows meanwhile no more than it had.
fn chunks(
    file: File,
    bytes: u64,
    sent: Arc<Sent>,
    bar: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let file = tokio::fs::File::from_std(file).take(bytes);
    ReaderStream::with_capacity(file, CHUNK_BYTES).map(move |chunk| match chunk {
        Ok(chunk) => {
            let len = chunk.len() as u64;
            sent.bytes.fetch_add(len, Ordering::Relaxed);
            bar.inc(len);
            Ok(chunk)
        }
        Err(error) => {
            let told = io::Error::new(error.kind(), "the file can't be read");
            *sent.failure.lock() = Some(error);
            Err(told)
        }
    })
}

/// What `work` comes to; none once nothing has moved for [`STALL_MAX`].
async fn unless_stalled<T>(work: impl Future<Output = T>, moved: &AtomicU64) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::select! {
            done = &mut work => return Some(done),
            () = sleep(STALL_MAX) => {
                if moved.load(Ordering::Relaxed) == before {
                    return None;
                }
            }
        }
    }
}
