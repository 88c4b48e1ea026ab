//! Our own bucket: what each call promises, against a server that speaks S3, and one that says what it is told to.

pub(crate) mod conformance;
pub(crate) mod refusals;

use std::sync::Arc;

use futures_util::FutureExt;
use pixerve::bucket::{Bucket, BucketSettings, BucketUrl, StoreTimeouts};
use pixerve::clock::{SharedClock, System};
use secrecy::SecretString;
use url::Url;

use crate::harness::stores::S3Client;

/// Settings for this bucket, below a prefix.
pub(crate) fn settings(endpoint: &Url, id: &str, secret: &str, bucket: &str) -> BucketSettings {
    BucketSettings {
        url: BucketUrl::parse(&format!("s3://{bucket}/px/test")),
        endpoint: Some(endpoint.clone()),
        region: Some("test-1".to_owned()),
        access_key_id: Some(id.to_owned()),
        secret_access_key: Some(SecretString::from(secret.to_owned())),
        path_style: None,
    }
}

/// A client by settings that have credentials.
pub(crate) fn connect(settings: &BucketSettings, timeouts: &StoreTimeouts, clock: SharedClock) -> Bucket {
    let connected = Bucket::connect(settings, timeouts, clock).now_or_never();
    connected.expect("nobody is asked for credentials").expect("a client")
}

/// A client for a bucket of this store's user.
pub(crate) fn bucket_of(user: &S3Client, bucket: &str) -> Bucket {
    let settings = settings(&user.endpoint, &user.access_key, &user.secret, bucket);
    connect(&settings, &StoreTimeouts::default(), Arc::new(System::new()))
}
