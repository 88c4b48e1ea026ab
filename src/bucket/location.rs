//! The bucket itself: the few calls that those who keep something in it need.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::s3::{
    AnswerDate, ObjectBody, PutContext, RequestFailure, S3Bucket, S3Connection, SourceFile, WithMd5, within,
};
use super::{BucketError, BucketSettings, KeyPrefix, LastProbe, StoreTimeouts};
use crate::clock::{SharedClock, Timestamp};
use crate::job::ContentHash;

/// Objects that one request deletes.
pub const DELETE_MAX: usize = 1000;

/// What the objects say they are: nobody but us reads them.
const MEDIA_TYPE: &str = "application/octet-stream";

/// Between two probes.
const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// What a probe asks for. There is no such object.
const PROBE_KEY: &str = "probe";

/// Our bucket. Every key given and answered is below the prefix of its URL, and has only `[A-Za-z0-9._/-]`.
#[derive(Debug)]
pub struct Bucket {
    s3: S3Bucket,
    prefix: KeyPrefix,
    clock: ClockOf,
    /// Why the last probe failed, if it did, and when it ended by the monotonic clock.
    last_probe: Mutex<Option<(bool, Duration)>>,
}

/// What is known of an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size.
    pub bytes: u64,
    /// How long ago it was written, by the bucket's clock; in whole seconds or less exact.
    pub age: Duration,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// What is known of it.
    pub info: ObjectInfo,
}

/// A part of a list, in the order of the keys' bytes.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// At most 1,000.
    pub objects: Vec<ListedObject>,
    /// What the next page comes after, if there is one.
    pub next: Option<String>,
}

/// An object whose bytes are coming.
#[derive(Debug)]
pub struct ObjectReader {
    /// What is known of it.
    pub info: ObjectInfo,
    body: ByteStream,
    what: String,
    timeout: Duration,
}

impl Bucket {
    /// A client for the bucket that `settings` name. Nothing is sent yet.
    ///
    /// # Errors
    /// If they name none, or lack credentials, or it is to speak TLS and there is no certificate to know the store by.
    pub fn connect(
        settings: &BucketSettings,
        timeouts: &StoreTimeouts,
        clock: SharedClock,
    ) -> Result<Self, BucketError> {
        let (s3, prefix) = own_bucket(settings, timeouts)?;
        Ok(Self { s3, prefix, clock: ClockOf(clock), last_probe: Mutex::default() })
    }

    /// Puts `bytes` under `key`, replacing what is there. When this returns, a reader sees all of it.
    ///
    /// # Errors
    /// After [`BucketError::Unavailable`] it may be there all the same, now or later.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.put_body(key, ObjectBody::in_memory(bytes)).await
    }

    /// Puts `head` and, behind it, the file `path`, which is promised to have `bytes` bytes of this hash.
    ///
    /// # Errors
    /// As for [`Self::put`]; [`BucketError::File`] if the file is not what was promised, and nothing is there then.
    pub async fn put_with_file(
        &self,
        key: &str,
        head: Bytes,
        path: &Path,
        bytes: u64,
        sha256: ContentHash,
    ) -> Result<(), BucketError> {
        let file = SourceFile { path: path.to_owned(), bytes, sha256 };
        self.put_body(key, ObjectBody { head, file: Some(file), sha256: None }).await
    }

    async fn put_body(&self, key: &str, body: ObjectBody) -> Result<(), BucketError> {
        let (full, never) = (self.prefix.join(key), CancellationToken::new());
        let context = PutContext { media_type: MEDIA_TYPE, trace: None, stop: &never };
        self.s3.put(&full, body, context).await.map_err(|failure| self.error("put", key, failure))
    }

    /// An object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BucketError::Missing`]; [`BucketError::Other`] if it is larger.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Bytes, BucketError> {
        let reader = self.open(key).await?;
        if reader.info.bytes > bytes_max {
            let detail = format!("it has {} bytes, more than {bytes_max}", reader.info.bytes);
            return Err(BucketError::Other { what: reader.what, detail });
        }
        reader.collect().await
    }

    /// An object, to be read piece by piece.
    ///
    /// # Errors
    /// [`BucketError::Missing`].
    pub async fn open(&self, key: &str) -> Result<ObjectReader, BucketError> {
        self.open_range(key, None).await
    }

    /// The bytes in `range` of an object, fewer if it ends before; and how many it has in all.
    ///
    /// # Errors
    /// [`BucketError::Missing`]; [`BucketError::Other`] if it ends before the range begins.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<(Bytes, u64), BucketError> {
        let reader = self.open_range(key, Some(range)).await?;
        let total = reader.info.bytes;
        Ok((reader.collect().await?, total))
    }

    async fn open_range(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectReader, BucketError> {
        let fail = |failure| self.error("get", key, failure);
        let date = AnswerDate::default();
        let request = self.s3.client.get_object().bucket(&self.s3.bucket).key(self.prefix.join(key));
        let header = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = request.set_range(header).customize().interceptor(date.clone());
        let answer = within(self.s3.timeouts.exchange(0), request.send()).await.map_err(fail)?;
        // `bytes 0-99/1234`; none of it where the whole was asked for, or the range is ignored.
        let total = answer.content_range().and_then(|text| text.rsplit('/').next()?.parse().ok());
        let bytes = total.or_else(|| answer.content_length().and_then(|bytes| u64::try_from(bytes).ok()));
        let bytes = bytes.ok_or_else(|| fail(RequestFailure::Unanswered("an answer without a length".to_owned())))?;
        let age = age(&date, answer.last_modified()).map_err(fail)?;
        let (what, timeout) = (self.s3.what("get", &self.prefix.join(key)), self.s3.timeouts.exchange(0));
        Ok(ObjectReader { info: ObjectInfo { bytes, age }, body: answer.body, what, timeout })
    }

    /// What is known of an object; none if there is none.
    ///
    /// # Errors
    /// [`BucketError::Refused`] if there is no such bucket: that says nothing about the object.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, BucketError> {
        let fail = |failure| self.error("look for", key, failure);
        let date = AnswerDate::default();
        let request = self.s3.client.head_object().bucket(&self.s3.bucket).key(self.prefix.join(key));
        let request = request.customize().interceptor(date.clone());
        let answer = match within(self.s3.timeouts.exchange(0), request.send()).await {
            Ok(answer) => answer,
            // Without a body it doesn't say what it is that there isn't: only a GET does.
            Err(RequestFailure::Answered { status: 404, .. }) => {
                return match self.get_range(key, 0..1).await {
                    Err(BucketError::Missing { .. }) => Ok(None),
                    Err(error) => Err(error),
                    Ok(_) => Err(fail(RequestFailure::Unanswered("it came or went in this very moment".to_owned()))),
                };
            }
            Err(failure) => return Err(fail(failure)),
        };
        let bytes = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| fail(RequestFailure::Unanswered("an answer without a length".to_owned())))?;
        Ok(Some(ObjectInfo { bytes, age: age(&date, answer.last_modified()).map_err(fail)? }))
    }

    /// A page of the objects whose keys begin with `prefix` and come after the key `after`. A list that is read to its end
    /// has every object that was there all the while.
    ///
    /// # Errors
    /// The request's.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, BucketError> {
        let fail = |failure| self.error("list", prefix, failure);
        let date = AnswerDate::default();
        let request = self.s3.client.list_objects_v2().bucket(&self.s3.bucket).prefix(self.prefix.join(prefix));
        let request = request.set_start_after(after.map(|key| self.prefix.join(key)));
        let request = request.customize().interceptor(date.clone());
        let answer = within(self.s3.timeouts.exchange(0), request.send()).await.map_err(fail)?;
        let mut objects = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let Some(key) = object.key().and_then(|key| self.prefix.strip(key)) else { continue };
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            let info = ObjectInfo { bytes, age: age(&date, object.last_modified()).map_err(fail)? };
            objects.push(ListedObject { key: key.to_owned(), info });
        }
        let mut next = None;
        if answer.is_truncated() == Some(true) {
            let last = objects.last().map(|object| object.key.clone());
            // Whoever took such a list for whole would miss what comes behind.
            let torn = || fail(RequestFailure::Unanswered("a list that goes on, but has nothing in it".to_owned()));
            next = Some(last.ok_or_else(torn)?);
        }
        Ok(ListPage { objects, next })
    }

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// The request's.
    pub async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let full = self.prefix.join(key);
        self.s3.delete(&full).await.map_err(|failure| self.error("delete", key, failure))
    }

    /// Deletes objects, those that are there, up to [`DELETE_MAX`] in a request.
    ///
    /// # Errors
    /// The first that can't be deleted; others are all the same.
    pub async fn delete_all(&self, keys: &[String]) -> Result<(), BucketError> {
        for keys in keys.chunks(DELETE_MAX) {
            self.delete_at_once(keys).await?;
        }
        Ok(())
    }

    async fn delete_at_once(&self, keys: &[String]) -> Result<(), BucketError> {
        let which = keys.first().map(String::as_str).unwrap_or_default();
        let fail = |failure| self.error("delete, with others,", which, failure);
        let identifiers = keys.iter().map(|key| ObjectIdentifier::builder().key(self.prefix.join(key)).build());
        let identifiers = identifiers.collect::<Result<Vec<_>, _>>();
        let delete = identifiers.and_then(|keys| Delete::builder().set_objects(Some(keys)).quiet(true).build());
        let delete = delete.map_err(|error| fail(RequestFailure::Invalid(error.to_string())))?;
        let request = self.s3.client.delete_objects().bucket(&self.s3.bucket).delete(delete);
        let request = request.customize().interceptor(WithMd5);
        let answer = within(self.s3.timeouts.exchange(0), request.send()).await.map_err(fail)?;
        let Some(failed) = answer.errors().iter().find(|error| error.code() != Some("NoSuchKey")) else {
            return Ok(());
        };
        let key = failed.key().and_then(|key| self.prefix.strip(key)).unwrap_or(which);
        let (code, message) = (failed.code().unwrap_or("no code"), failed.message().unwrap_or("no message"));
        // The answer has no status for each key.
        let status = if code == "AccessDenied" { 403 } else { 500 };
        Err(self.error("delete", key, RequestFailure::of_code(status, code, message)))
    }

    /// Copies an object inside the bucket, replacing what is there.
    ///
    /// # Errors
    /// [`BucketError::Missing`].
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), BucketError> {
        let source = format!("{}/{}", self.s3.bucket, self.prefix.join(from));
        let request = self.s3.client.copy_object().bucket(&self.s3.bucket).key(self.prefix.join(to));
        let request = request.copy_source(source);
        // How large it is isn't known; none that is taken in takes longer.
        let limit = self.s3.timeouts.exchange(super::s3::WHOLE_BYTES_MAX);
        within(limit, request.send()).await.map_err(|failure| self.error("copy", from, failure))?;
        Ok(())
    }

    /// Asks the bucket for an object that isn't there: the cheapest question to which only a bucket that can be reached, is
    /// there and takes our credentials has the right answer.
    ///
    /// # Errors
    /// Why it has not.
    pub async fn probe(&self) -> Result<(), BucketError> {
        let outcome = match self.get_range(PROBE_KEY, 0..1).await {
            Ok(_) | Err(BucketError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        *self.last_probe.lock() = Some((outcome.is_err(), self.clock.0.elapsed()));
        outcome
    }

    /// What the last probe came to, and how long ago; none before the first. Asks nobody.
    #[must_use]
    pub fn last_probe(&self) -> Option<LastProbe> {
        let (has_failed, ended) = (*self.last_probe.lock())?;
        Some(LastProbe { has_failed, age: self.clock.0.elapsed().saturating_sub(ended) })
    }

    /// Probes now and then, until `stop`; tells when the bucket goes and comes back.
    pub async fn keep_probing(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(PROBE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_good = true;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(outcome) = stop.run_until_cancelled(self.probe()).await else { return };
            match &outcome {
                Err(error) if was_good => {
                    tracing::warn!(error = error.to_string(), "bucket can't be used; uploads are refused until it can");
                }
                Ok(()) if !was_good => tracing::info!("bucket can be used again"),
                _ => {}
            }
            was_good = outcome.is_ok();
        }
    }

    fn error(&self, verb: &str, key: &str, failure: RequestFailure) -> BucketError {
        let what = self.s3.what(verb, &self.prefix.join(key));
        let detail = failure.detail();
        match failure {
            RequestFailure::Source(cause) => BucketError::File { what, cause },
            RequestFailure::Unanswered(_)
            | RequestFailure::Cancelled
            | RequestFailure::Answered { may_pass: true, .. } => BucketError::Unavailable { what, detail },
            RequestFailure::Answered { status: 404, code: Some(code), .. } if code == "NoSuchKey" => {
                BucketError::Missing { what, detail }
            }
            RequestFailure::Answered { status: 301 | 307 | 308 | 401 | 403 | 404, .. } => {
                BucketError::Refused { what, detail }
            }
            RequestFailure::Answered { .. } | RequestFailure::Invalid(_) => BucketError::Other { what, detail },
        }
    }
}

impl ObjectReader {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] if they don't come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BucketError> {
        let unavailable = |detail: String| BucketError::Unavailable { what: self.what.clone(), detail };
        match timeout(self.timeout, self.body.try_next()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(unavailable(crate::error_chain::ErrorChain(&error).to_string())),
            Err(_) => Err(unavailable(format!("nothing more came within {:?}", self.timeout))),
        }
    }

    async fn collect(mut self) -> Result<Bytes, BucketError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// How long ago something was last modified, by the clock of whoever answered. An answer without a date is no bucket's, and
/// by our own clock a young object might be old.
fn age(date: &AnswerDate, modified: Option<&DateTime>) -> Result<Duration, RequestFailure> {
    let modified = modified.and_then(|time| time.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok());
    match (date.get(), modified) {
        (Some(now), Some(modified)) => Ok(now.since(Timestamp::from_millis(modified))),
        _ => Err(RequestFailure::Unanswered("an answer without `Date` and `Last-Modified`".to_owned())),
    }
}

/// A clock has no other `Debug` form.
struct ClockOf(SharedClock);

impl std::fmt::Debug for ClockOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// A client for the bucket that `settings` name, and what every key in it starts with. Nothing is sent yet.
///
/// # Errors
/// If they name none, or lack credentials, or it is to speak TLS and there is no certificate to know the store by.
pub(crate) fn own_bucket(
    settings: &BucketSettings,
    timeouts: &StoreTimeouts,
) -> Result<(S3Bucket, KeyPrefix), BucketError> {
    let unusable = |detail: &str| {
        let (what, detail) = ("set up a client for the bucket of `spool.url`".to_owned(), detail.to_owned());
        BucketError::Other { what, detail }
    };
    let url = settings.url.as_ref().ok_or_else(|| unusable("it is not set"))?;
    let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) else {
        return Err(unusable("`spool.access_key_id` and `spool.secret_access_key` are not set"));
    };
    let credentials = Credentials::new(id.clone(), secret.expose_secret(), None, None, "pixerve");
    let connection = S3Connection {
        bucket: &url.bucket,
        region: &settings.region,
        endpoint: settings.endpoint.as_ref(),
        is_path_style: settings.is_path_style(),
        credentials: SharedCredentialsProvider::new(credentials),
    };
    let s3 = S3Bucket::connect(connection, timeouts)
        .map_err(|(what, detail)| BucketError::Other { what, detail: detail.to_owned() })?;
    Ok((s3, url.prefix.clone()))
}
