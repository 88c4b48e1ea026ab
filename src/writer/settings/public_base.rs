//! Where browsers get what is in a store.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::bucket::rules;
use crate::job::{ClaimErrors, Fields};

const RULE: &str = "must be an http:// or https:// URL of at most 2,048 bytes, without credentials, query and fragment";

/// The address below which browsers get the objects of a bucket, such as a CDN's; no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicBase(String);

impl PublicBase {
    fn of(url: &Url) -> Self {
        Self(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Reads the field `public_url` of a registration.
    pub(in crate::writer) fn take(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Self> {
        let value = fields.take("public_url")?;
        let url = value.as_str().and_then(rules::endpoint);
        if url.is_none() {
            errors.push(fields.pointer("public_url"), RULE);
        }
        url.as_ref().map(Self::of)
    }

    /// Where browsers get the object of this key. Of other characters than these each byte is encoded: what S3 makes of a `+`
    /// isn't what a browser means by one.
    #[must_use]
    pub fn url_of(&self, key: &str) -> String {
        let mut url = format!("{}/", self.0);
        for byte in key.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    url.push(char::from(byte));
                }
                byte => url.extend(format!("%{byte:02X}").chars()),
            }
        }
        url
    }
}

/// What may be listed of it.
pub(in crate::writer) fn listed(base: Option<&PublicBase>) -> Value {
    base.map_or(Value::Null, |base| base.0.clone().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_below_it_with_all_but_plain_characters_encoded() {
        for base in ["https://cdn.example", "https://cdn.example/"] {
            let base = PublicBase::of(&base.parse().expect("a URL"));
            assert_eq!(base.url_of("a/b c+d,é~.jpg"), "https://cdn.example/a/b%20c%2Bd%2C%C3%A9~.jpg");
        }
        let below = PublicBase::of(&"https://cdn.example/pictures/".parse().expect("a URL"));
        assert_eq!(below.url_of("a.jpg"), "https://cdn.example/pictures/a.jpg");
    }
}
