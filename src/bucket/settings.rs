//! Where our own bucket is.

use secrecy::SecretString;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{KeyPrefix, rules};
use crate::setting;

/// The bucket of originals and manifests. Its `Debug` form redacts the secret.
#[derive(Clone, Debug, Deserialize)]
pub struct BucketSettings {
    /// The bucket and what every key starts with; none if there is no bucket.
    #[serde(deserialize_with = "url")]
    pub url: Option<BucketUrl>,
    /// Where the store is; none means AWS.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: Option<Url>,
    /// Its region; where the store has none, any name. None for that of the AWS environment if credentials come from there,
    /// and else for `us-east-1`.
    #[serde(deserialize_with = "region")]
    pub region: Option<String>,
    /// The public half of the credentials. Without either half they are those of the AWS environment.
    #[serde(deserialize_with = "access_key_id")]
    pub access_key_id: Option<String>,
    /// The secret half.
    #[serde(deserialize_with = "secret_access_key")]
    pub secret_access_key: Option<SecretString>,
    /// Whether the bucket goes into the path instead of the host name; none means so if there is an endpoint.
    #[serde(deserialize_with = "path_style")]
    pub path_style: Option<bool>,
}

/// Where a bucket is of which nothing else is said.
#[cfg(feature = "s3")]
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    /// The bucket's name.
    pub bucket: String,
    /// What every key starts with.
    pub prefix: KeyPrefix,
}

impl BucketUrl {
    /// Reads `s3://bucket` or `s3://bucket/prefix`; slashes at the end don't count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (bucket, prefix) = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        let prefix = KeyPrefix::parse(prefix)?;
        rules::is_bucket(bucket).then(|| Self { bucket: bucket.to_owned(), prefix })
    }
}

impl BucketSettings {
    /// Whether the bucket is in the path of a URL, and not in the name of its host.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BucketUrl>, D::Error> {
    setting::optional(deserializer, r#"a bucket such as "s3://pixerve/production", or nothing"#, BucketUrl::parse)
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let expected = "an http:// or https:// URL without credentials, query and fragment, or nothing";
    setting::optional(deserializer, expected, rules::endpoint)
}

fn region<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let expected = r#"a region's name such as "eu-central-1", or nothing"#;
    setting::optional(deserializer, expected, |text| rules::is_region(text).then(|| text.to_owned()))
}

fn access_key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let expected = "at most 1,024 printable ASCII characters without a space, `/` or `,`";
    setting::optional(deserializer, expected, |text| rules::is_access_key_id(text).then(|| text.to_owned()))
}

/// No error quotes it.
fn secret_access_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    match String::deserialize(deserializer) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) if rules::is_credential(text.trim()) => Ok(Some(SecretString::from(text.trim()))),
        _ => {
            let expected = "at most 1,024 printable ASCII characters without a space";
            Err(D::Error::invalid_value(Unexpected::Other("[redacted]"), &expected))
        }
    }
}

fn path_style<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    setting::parsed(deserializer, r#"true, false or "auto""#, |text| match text {
        "auto" => Some(None),
        "true" => Some(Some(true)),
        "false" => Some(Some(false)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_bucket_and_a_prefix() {
        let parsed = |text: &str| BucketUrl::parse(text).map(|url| (url.bucket, url.prefix.to_string()));
        for (text, expected) in [
            ("s3://pics", Some(("pics", ""))),
            ("s3://pics/", Some(("pics", ""))),
            ("s3://pics/a/b/", Some(("pics", "a/b"))),
            ("s3://pi", None),
            ("s3:///a", None),
            ("s3://pics/../a", None),
            ("https://pics/a", None),
            ("pics/a", None),
        ] {
            let expected = expected.map(|(bucket, prefix)| (bucket.to_owned(), prefix.to_owned()));
            assert_eq!(parsed(text), expected, "{text}");
        }
    }
}
