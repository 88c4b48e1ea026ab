//! The bucket itself: the few calls that those who keep something in it need.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::s3::{
    AnswerHeaders, ObjectBody, ObjectBytes, ObjectHeaders, PutContext, RequestFailure, S3Bucket, S3Connection, Signer,
    SourceFile, WithMd5, within,
};
use super::settings::DEFAULT_REGION;
use super::{BucketError, BucketSettings, KeyPrefix, LastProbe, StoreTimeouts};
use crate::clock::SharedClock;
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
    pub(crate) s3: S3Bucket,
    pub(crate) prefix: KeyPrefix,
    clock: SharedClock,
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
    bytes: ObjectBytes,
}

impl Bucket {
    /// A client for the bucket that `settings` name. Nothing is sent to it yet; without credentials in the settings the AWS
    /// environment is asked for them, within some seconds.
    ///
    /// # Errors
    /// If they name none, or there are no credentials, or it is to speak TLS and there is no certificate to know the store by.
    pub async fn connect(
        settings: &BucketSettings,
        timeouts: &StoreTimeouts,
        clock: SharedClock,
    ) -> Result<Self, BucketError> {
        let unusable = |detail: String| BucketError::Other {
            what: "set up a client for the bucket of `spool.url`".to_owned(),
            detail,
        };
        let url = settings.url.as_ref().ok_or_else(|| unusable("it is not set".to_owned()))?;
        let connection = S3Connection {
            bucket: &url.bucket,
            endpoint: settings.endpoint.as_ref(),
            is_path_style: settings.is_path_style(),
            signer: signer(settings).await.map_err(unusable)?,
        };
        let s3 = S3Bucket::connect(connection, timeouts)
            .map_err(|(what, detail)| BucketError::Other { what, detail: detail.to_owned() })?;
        Ok(Self { s3, prefix: url.prefix.clone(), clock, last_probe: Mutex::default() })
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
        let context = PutContext { media_type: MEDIA_TYPE, cache_control: None, trace: None, stop: &never };
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
            return Err(BucketError::Other { what: reader.bytes.into_what(), detail });
        }
        reader.bytes.collect().await
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
        Ok((reader.bytes.collect().await?, total))
    }

    async fn open_range(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectReader, BucketError> {
        let fail = |failure| self.error("get", key, failure);
        let (full, headers) = (self.prefix.join(key), AnswerHeaders::default());
        let request = self.s3.client.get_object().bucket(&self.s3.bucket).key(&full);
        let header = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = request.set_range(header).customize().interceptor(headers.clone());
        let limit = self.s3.timeouts.exchange(0);
        let answer = within(limit, request.send()).await.map_err(fail)?;
        let info = info(&headers.get()).map_err(fail)?;
        Ok(ObjectReader { info, bytes: ObjectBytes::new(answer.body, self.s3.what("get", &full), limit) })
    }

    /// What is known of an object; none if there is none.
    ///
    /// # Errors
    /// [`BucketError::Refused`] if there is no such bucket: that says nothing about the object.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, BucketError> {
        let fail = |failure| self.error("look for", key, failure);
        let headers = AnswerHeaders::default();
        let request = self.s3.client.head_object().bucket(&self.s3.bucket).key(self.prefix.join(key));
        let request = request.customize().interceptor(headers.clone());
        match within(self.s3.timeouts.exchange(0), request.send()).await {
            Ok(_) => Ok(Some(info(&headers.get()).map_err(fail)?)),
            // Without a body it doesn't say what it is that there isn't: only a GET does.
            Err(RequestFailure::Answered { status: 404, .. }) => match self.get_range(key, 0..1).await {
                Err(BucketError::Missing { .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(_) => Err(fail(RequestFailure::Unanswered("it came or went in this very moment".to_owned()))),
            },
            Err(failure) => Err(fail(failure)),
        }
    }

    /// A page of the objects whose keys begin with `prefix` and come after the key `after`. A list that is read to its end
    /// has every object that was there all the while.
    ///
    /// # Errors
    /// The request's.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, BucketError> {
        let fail = |failure| self.error("list", prefix, failure);
        let headers = AnswerHeaders::default();
        let request = self.s3.client.list_objects_v2().bucket(&self.s3.bucket).prefix(self.prefix.join(prefix));
        let request = request.set_start_after(after.map(|key| self.prefix.join(key)));
        let request = request.customize().interceptor(headers.clone());
        let answer = within(self.s3.timeouts.exchange(0), request.send()).await.map_err(fail)?;
        let headers = headers.get();
        let mut objects = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let Some(key) = object.key().and_then(|key| self.prefix.strip(key)) else { continue };
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            let modified = object.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
            let info = ObjectInfo { bytes, age: headers.since(modified).map_err(fail)? };
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
        *self.last_probe.lock() = Some((outcome.is_err(), self.clock.elapsed()));
        outcome
    }

    /// What the last probe came to, and how long ago; none before the first. Asks nobody.
    #[must_use]
    pub fn last_probe(&self) -> Option<LastProbe> {
        let (has_failed, ended) = (*self.last_probe.lock())?;
        Some(LastProbe { has_failed, age: self.clock.elapsed().saturating_sub(ended) })
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
        self.s3.error(verb, &self.prefix.join(key), failure)
    }
}

impl ObjectReader {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] if they don't come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BucketError> {
        self.bytes.next().await
    }
}

/// What an answer about an object says of it.
fn info(headers: &ObjectHeaders) -> Result<ObjectInfo, RequestFailure> {
    Ok(ObjectInfo { bytes: headers.extent()?.bytes, age: headers.since(headers.modified)? })
}

/// Who asks: whoever has the keys that are set, or this process as AWS knows it.
async fn signer(settings: &BucketSettings) -> Result<Signer, String> {
    let region = settings.region.as_deref();
    match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => Ok(Signer::with_keys(id, secret, region.unwrap_or(DEFAULT_REGION))),
        (None, None) => Signer::of_aws_environment(region, settings.endpoint.is_none()).await,
        _ => Err("of `spool.access_key_id` and `spool.secret_access_key` only one is set".to_owned()),
    }
}
