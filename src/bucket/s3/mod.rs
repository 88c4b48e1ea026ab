//! One bucket, spoken to by the SDK of AWS: what our own bucket and registered stores have in common.

mod answer_headers;
mod aws_environment;
mod download;
mod multipart;
mod payload;
mod request;
mod signer;
mod signing;
mod trace;

use std::io;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) use self::answer_headers::{AnswerHeaders, Extent, ObjectHeaders};
pub(crate) use self::download::ObjectBytes;
pub(crate) use self::payload::{ObjectBody, Payload, PayloadReader, SourceFile};
pub(crate) use self::request::{RequestFailure, within};
pub(crate) use self::signer::Signer;
pub(crate) use self::signing::{SignWith, WithMd5};
use self::trace::TellTrace;
use super::{BucketError, StoreTimeouts};
use crate::job::TraceContext;
use crate::tls;

/// Larger objects are sent in parts.
pub(crate) const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a bucket is, and who asks.
pub(crate) struct S3Connection<'a> {
    pub(crate) bucket: &'a str,
    /// None means AWS.
    pub(crate) endpoint: Option<&'a Url>,
    /// Whether the bucket is in the path of a URL, and not in the name of its host.
    pub(crate) is_path_style: bool,
    pub(crate) signer: Signer,
}

/// What is written beside an object's bytes, and what writing it is a part of.
#[derive(Clone, Copy)]
pub(crate) struct PutContext<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) cache_control: Option<&'a str>,
    pub(crate) trace: Option<&'a TraceContext>,
    /// Cancels the write.
    pub(crate) stop: &'a CancellationToken,
}

/// A bucket and the client that speaks to it.
#[derive(Clone, Debug)]
pub(crate) struct S3Bucket {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// For messages: the endpoint, or the region of AWS.
    place: String,
    pub(crate) timeouts: StoreTimeouts,
}

impl S3Bucket {
    /// A client for the bucket. Nothing is sent yet.
    ///
    /// Nothing is taken from the environment either, but for what `signer` is: no profile, no instance metadata, no proxy.
    ///
    /// # Errors
    /// What was attempted, and why it is in vain: it is to speak TLS, and there is no certificate to know the store by.
    pub(crate) fn connect(
        connection: S3Connection<'_>,
        timeouts: &StoreTimeouts,
    ) -> Result<Self, (String, &'static str)> {
        let place = match connection.endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => format!("AWS {}", connection.signer.region),
        };
        let speaks_tls = connection.endpoint.is_none_or(|endpoint| endpoint.scheme() == "https");
        if speaks_tls && !tls::has_certificates() {
            let what = format!("set up a client for bucket `{}` at {place}", connection.bucket);
            return Err((what, tls::NO_CERTIFICATES));
        }
        let bucket = connection.bucket.to_owned();
        let client = Client::from_conf(config(connection, timeouts, speaks_tls));
        Ok(Self { client, bucket, place, timeouts: *timeouts })
    }

    /// Puts an object: whole, or in parts if it is large.
    pub(crate) async fn put(&self, key: &str, body: ObjectBody, context: PutContext<'_>) -> Result<(), RequestFailure> {
        let size = body.len();
        let reader = PayloadReader::open(body).await?;
        if size > WHOLE_BYTES_MAX {
            return self.put_in_parts(key, size, reader, context).await;
        }
        let (_, payload) = reader.next(WHOLE_BYTES_MAX).await?;
        let put = self.put_whole(key, payload, context);
        context.stop.run_until_cancelled(put).await.unwrap_or(Err(RequestFailure::Cancelled))
    }

    async fn put_whole(&self, key: &str, payload: Payload, context: PutContext<'_>) -> Result<(), RequestFailure> {
        let (bytes, md5, sha256) = (payload.bytes, payload.md5, payload.sha256);
        let body = payload.stream().await?;
        let request = self.client.put_object().bucket(&self.bucket).key(key).content_type(context.media_type);
        let request = request.set_cache_control(context.cache_control.map(str::to_owned));
        let request = request.content_length(i64::try_from(bytes).unwrap_or(i64::MAX)).body(body);
        let request = request.customize().interceptor(SignWith(sha256)).interceptor(TellTrace(context.trace.cloned()));
        let answer = within(self.timeouts.exchange(bytes), request.send()).await?;
        let is_opaque = self.has_opaque_etags(answer.ssekms_key_id(), answer.sse_customer_algorithm());
        confirm(answer.e_tag(), &md5, is_opaque)
    }

    /// Deletes an object, if it is there.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), RequestFailure> {
        within(self.timeouts.exchange(0), self.client.delete_object().bucket(&self.bucket).key(key).send()).await?;
        Ok(())
    }

    /// Whether an `ETag` is something else than an MD5 though it may look like one: in directory buckets, and where the
    /// store encrypts with a key that is not its own.
    fn has_opaque_etags(&self, kms_key: Option<&str>, customer_algorithm: Option<&str>) -> bool {
        kms_key.is_some() || customer_algorithm.is_some() || self.bucket.ends_with("--x-s3")
    }

    /// What `failure` is for whoever keeps something in our own bucket: it came of an attempt to `verb` that key.
    pub(crate) fn error(&self, verb: &str, key: &str, failure: RequestFailure) -> BucketError {
        BucketError::of(self.what(verb, key), failure)
    }

    /// For messages: what is attempted on which key.
    pub(crate) fn what(&self, verb: &str, key: &str) -> String {
        format!("{verb} `{key}` in bucket `{}` at {}", self.bucket, self.place)
    }
}

/// Integrity: the SHA-256 of every body is signed, which takes that it is known before the body is sent; every store that
/// speaks signature version 4 checks it, the oldest included. The newer checksum headers and trailers add nothing to
/// that, and some stores refuse them, so they are left out.
fn config(connection: S3Connection<'_>, timeouts: &StoreTimeouts, speaks_tls: bool) -> Config {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http_client(speaks_tls))
        .region(Region::new(connection.signer.region))
        .credentials_provider(connection.signer.credentials)
        .force_path_style(connection.is_path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Tries are the caller's to count, and time is kept around each request.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(timeouts.connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    // The SDK puts the bucket's name right behind a path.
    config.set_endpoint_url(connection.endpoint.map(|url| format!("{}/", url.as_str().trim_end_matches('/'))));
    config.build()
}

/// Without TLS it takes no certificates. It knows of no proxy.
fn http_client(speaks_tls: bool) -> SharedHttpClient {
    let client = aws_smithy_http_client::Builder::new();
    if speaks_tls {
        client.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
    } else {
        client.build_http()
    }
}

/// Checks the answer to a write: a store that says "yes" but has other bytes must not count as having them. An `ETag` that
/// looks like an MD5 is one, unless `is_opaque`; any other is not compared.
fn confirm(etag: Option<&str>, md5: &[u8], is_opaque: bool) -> Result<(), RequestFailure> {
    let etag = named(etag)?.trim_matches('"');
    let looks_like_md5 = etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    if is_opaque || !looks_like_md5 || etag.eq_ignore_ascii_case(&hex::encode(md5)) {
        return Ok(());
    }
    let detail = format!("the store has bytes with the MD5 {etag}, but {} was sent", hex::encode(md5));
    Err(RequestFailure::Unanswered(detail))
}

/// The `ETag` of what was stored. Whoever says "yes" without one is no store: a proxy, a portal, a web server.
fn named(etag: Option<&str>) -> Result<&str, RequestFailure> {
    let what = "success, but without the ETag that tells what was stored; something other than an S3 store seems to have answered";
    etag.filter(|etag| !etag.is_empty()).ok_or_else(|| RequestFailure::Unanswered(what.to_owned()))
}

/// Runs what blocks where blocking is fine.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RequestFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(RequestFailure::Source),
        Err(_) => Err(RequestFailure::Unanswered("the reading thread died".to_owned())),
    }
}
