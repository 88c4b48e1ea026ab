//! The client, by the SDK of AWS.

mod multipart;
mod payload;
mod request;
mod signing;
mod trace;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use bytes::Bytes;
use futures_util::FutureExt;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::payload::{Payload, PayloadReader};
use self::request::within;
use self::signing::SignWith;
use self::trace::TellTrace;
use super::S3Settings;
use crate::job::{ContentHash, Stored, TraceContext};
use crate::tls;
use crate::writer::{Failure, KeyPrefix, Object, ProbeOutcome, StoreTimeouts, WriteError, WriterBackend, probe};

/// Larger objects are sent in parts.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A bucket.
pub(super) struct S3 {
    client: Client,
    bucket: String,
    prefix: KeyPrefix,
    /// For messages: the endpoint, or the region of AWS.
    place: String,
    timeouts: StoreTimeouts,
}

impl S3 {
    /// A client for the bucket. Nothing is sent yet.
    ///
    /// Nothing is taken from the environment either: no profile, no instance metadata, no proxy. What is registered is
    /// all there is.
    ///
    /// # Errors
    /// If it is to speak TLS, and there is no certificate to know the store by.
    pub(super) fn connect(settings: &S3Settings, timeouts: &StoreTimeouts) -> Result<Self, WriteError> {
        let place = match &settings.endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => format!("AWS {}", settings.region),
        };
        let speaks_tls = settings.endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme() == "https");
        if speaks_tls && !tls::has_certificates() {
            let what = format!("set up a client for bucket `{}` at {place}", settings.bucket);
            return Err(Failure::transient(tls::NO_CERTIFICATES).on(what));
        }
        let client = Client::from_conf(config(settings, timeouts, speaks_tls));
        let (bucket, prefix) = (settings.bucket.clone(), settings.prefix.clone());
        Ok(Self { client, bucket, prefix, place, timeouts: *timeouts })
    }

    async fn put_object(&self, key: &str, object: &Object, stop: &CancellationToken) -> Result<(), Failure> {
        let reader = PayloadReader::open(object).await?;
        if object.body.len() > WHOLE_BYTES_MAX {
            return self.put_in_parts(key, object, reader, stop).await;
        }
        let (_, payload) = reader.next(WHOLE_BYTES_MAX).await?;
        let put = self.put_whole(key, object.media_type, payload, object.trace.clone());
        stop.run_until_cancelled(put).await.unwrap_or_else(|| Err(Failure::cancelled()))
    }

    async fn put_whole(
        &self,
        key: &str,
        media_type: &str,
        payload: Payload,
        trace: Option<TraceContext>,
    ) -> Result<(), Failure> {
        let Payload { bytes, md5, sha256, .. } = payload;
        let body = payload.stream().await?;
        let request = self.client.put_object().bucket(&self.bucket).key(key).content_type(media_type).body(body);
        let request = request.customize().interceptor(SignWith(sha256)).interceptor(TellTrace(trace));
        let answer = within(self.timeouts.exchange(bytes), request.send()).await?;
        let is_opaque = self.has_opaque_etags(answer.ssekms_key_id(), answer.sse_customer_algorithm());
        confirm(answer.e_tag(), &md5, is_opaque)
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        within(self.timeouts.exchange(0), self.client.delete_object().bucket(&self.bucket).key(key).send()).await?;
        Ok(())
    }

    /// Whether an `ETag` is something else than an MD5 though it may look like one: in directory buckets, and where the
    /// store encrypts with a key that is not its own.
    fn has_opaque_etags(&self, kms_key: Option<&str>, customer_algorithm: Option<&str>) -> bool {
        kms_key.is_some() || customer_algorithm.is_some() || self.bucket.ends_with("--x-s3")
    }

    fn what(&self, verb: &str, key: &str) -> String {
        format!("{verb} `{key}` in bucket `{}` at {}", self.bucket, self.place)
    }
}

#[async_trait]
impl WriterBackend for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.put_until(object, &CancellationToken::new()).await
    }

    /// The parts of an upload that is cancelled are not left for the owner of the bucket to pay for.
    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        let key = self.prefix.key(object);
        self.put_object(&key, object, stop).await.map_err(|failure| failure.on(self.what("put", &key)))?;
        Ok(Stored { backend: self.name().to_owned(), location: format!("s3://{}/{key}", self.bucket) })
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        let key = self.prefix.join(&format!("pixerve-probe-{}", Uuid::new_v4().simple()));
        let bytes = Bytes::from_static(b"Written by Pixerve to test a registration.\n");
        let sha256 = ContentHash::of(&bytes);
        let write = self.put_whole(&key, "text/plain", Payload::in_memory(bytes, sha256), None);
        probe::write_and_delete(write, || self.delete(&key).boxed(), |verb| self.what(verb, &key)).await
    }
}

/// Integrity: the SHA-256 of every body is signed, which takes that it is known before the body is sent; every store that
/// speaks signature version 4 checks it, the oldest included. The newer checksum headers and trailers add nothing to
/// that, and some stores refuse them, so they are left out.
fn config(settings: &S3Settings, timeouts: &StoreTimeouts, speaks_tls: bool) -> Config {
    let credentials = Credentials::new(
        settings.access_key_id.clone(),
        settings.secret_access_key.expose_secret(),
        None,
        None,
        "pixerve registration",
    );
    let http_client = aws_smithy_http_client::Builder::new();
    let http_client = if speaks_tls {
        http_client.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
    } else {
        http_client.build_http()
    };
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http_client)
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(settings.is_path_style())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Tries are the wrapper's to count, and time is kept around each request.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(timeouts.connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    // The SDK puts the bucket's name right behind a path.
    config.set_endpoint_url(settings.endpoint.as_ref().map(|url| format!("{}/", url.as_str().trim_end_matches('/'))));
    config.build()
}

/// Checks the answer to a write: a store that says "yes" but has other bytes must not count as having them. An `ETag` that
/// looks like an MD5 is one, unless `is_opaque`; any other is not compared.
fn confirm(etag: Option<&str>, md5: &[u8], is_opaque: bool) -> Result<(), Failure> {
    let etag = named(etag)?.trim_matches('"');
    let looks_like_md5 = etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    if is_opaque || !looks_like_md5 || etag.eq_ignore_ascii_case(&hex::encode(md5)) {
        return Ok(());
    }
    Err(Failure::transient(format!("the store has bytes with the MD5 {etag}, but {} was sent", hex::encode(md5))))
}

/// The `ETag` of what was stored. Whoever says "yes" without one is no store: a proxy, a portal, a web server.
fn named(etag: Option<&str>) -> Result<&str, Failure> {
    let what = "success, but without the ETag that tells what was stored; something other than an S3 store seems to have answered";
    etag.filter(|etag| !etag.is_empty()).ok_or_else(|| Failure::transient(what))
}
