//! What is registered about a bucket of S3.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::bucket::rules::{is_access_key_id, is_credential, is_region};
use crate::job::{BackendKind, ClaimErrors, Fields, optional};
use crate::writer::settings::{
    BackendSettings, KeyPrefix, PublicBase, bucket, cache_control, common_schemas, endpoint, expose, just_one, listed,
    prefix, required, spellings,
};

/// A bucket of S3 or of something that speaks its protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// Its region; what to say where there are none is up to the store.
    pub region: String,
    /// The public half of the credentials.
    pub access_key_id: String,
    /// The secret half.
    #[serde(serialize_with = "expose")]
    pub secret_access_key: SecretString,
    /// Where the store is; none means AWS.
    pub endpoint: Option<Url>,
    /// What every key starts with.
    #[serde(default)]
    pub prefix: KeyPrefix,
    /// Whether the bucket goes into the path instead of the host name; none means so if there is an endpoint.
    pub path_style: Option<bool>,
    /// Where browsers get what is in it; none if they don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicBase>,
    /// The `Cache-Control` of objects that may be written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
}

impl BackendSettings for S3Settings {
    fn kind(&self) -> BackendKind {
        BackendKind::S3
    }

    fn from_fields(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Self> {
        let bucket = bucket(fields, errors);
        let region =
            required(fields, &["region"], errors, "must be a region's name, such as `eu-central-1`", is_region);
        let id_rule = "must be 1 to 1,024 printable ASCII characters without a space, `/` or `,`";
        let access_key_id = required(fields, &["access_key_id", "accessKey"], errors, id_rule, is_access_key_id);
        let secret_rule = "must be 1 to 1,024 printable ASCII characters without a space";
        let secret_access_key =
            required(fields, &["secret_access_key", "secretKey"], errors, secret_rule, is_credential);
        let endpoint = endpoint(fields, errors);
        let prefix = prefix(fields, errors);
        let path_style = fields.take("path_style").and_then(|value| {
            if !value.is_boolean() {
                errors.push(fields.pointer("path_style"), "must be true or false");
            }
            value.as_bool()
        });
        let public_url = PublicBase::take(fields, errors);
        let cache_control = cache_control(fields, errors);
        Some(Self {
            bucket: bucket?,
            region: region?.to_owned(),
            access_key_id: access_key_id?.to_owned(),
            secret_access_key: SecretString::from(secret_access_key?),
            endpoint,
            prefix,
            path_style,
            public_url,
            cache_control,
        })
    }

    fn schema() -> Value {
        let mut fields = common_schemas();
        let region = json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "examples": ["eu-central-1"] });
        fields.insert("region".to_owned(), region);
        let id = json!({ "type": "string", "pattern": r"^[\x21-\x2b\x2d\x2e\x30-\x7e]{1,1024}$", "description": "The public half of the credentials." });
        fields.extend(spellings(&["access_key_id", "accessKey"], &id));
        let secret =
            json!({ "type": "string", "pattern": r"^[\x21-\x7e]{1,1024}$", "description": "The secret half." });
        fields.extend(spellings(&["secret_access_key", "secretKey"], &secret));
        let mut path_style = optional(json!({ "type": "boolean" }));
        path_style["description"] =
            "Whether the bucket goes into the path; without, so if there is an `endpoint`.".into();
        fields.insert("path_style".to_owned(), path_style);
        json!({
            "description": "A bucket of S3, or of what speaks its protocol.",
            "properties": fields,
            "required": ["region"],
            "allOf": [
                just_one(&["bucket", "bucket_name"]),
                just_one(&["access_key_id", "accessKey"]),
                just_one(&["secret_access_key", "secretKey"]),
            ],
        })
    }

    fn summary(&self) -> Value {
        json!({
            "bucket": self.bucket, "region": self.region, "endpoint": self.endpoint, "prefix": self.prefix,
            "path_style": self.path_style, "public_url": listed(self.public_url.as_ref()),
            "cache_control": self.cache_control,
        })
    }

    fn bucket(&self) -> (&str, &KeyPrefix) {
        (&self.bucket, &self.prefix)
    }

    fn place(&self) -> String {
        let server = self.endpoint.as_ref().map_or_else(|| format!("AWS {}", self.region), ToString::to_string);
        // A server that knows buckets by one of the two only is a place that the other doesn't reach.
        let addressed = if self.is_path_style() == self.endpoint.is_some() {
            ""
        } else if self.is_path_style() {
            " by path"
        } else {
            " by host name"
        };
        format!("s3 bucket {} at {server}{addressed}", self.bucket)
    }
}

impl S3Settings {
    /// Whether the bucket is in the path of a URL, and not in the name of its host.
    pub(super) fn is_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}
