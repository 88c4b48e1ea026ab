//! The settings of the Redis that nodes share.

use redis::IntoConnectionInfo;
use secrecy::SecretString;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::setting;

/// Where it is. The `Debug` form redacts that: an address may hold a password.
#[derive(Clone, Debug, Deserialize)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`; none where this server has a queue of its own.
    #[serde(deserialize_with = "address")]
    pub url: Option<SecretString>,
    /// The Sentinels that watch the service which is the host of `url`; empty where `url` leads to the Redis itself.
    #[serde(deserialize_with = "addresses")]
    pub sentinels: Vec<SecretString>,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let expected = "redis://HOST:PORT/DATABASE, or rediss:// with TLS, with USER:PASSWORD@ before HOST if need be";
    let text = String::deserialize(deserializer).map_err(|_| redacted(expected))?;
    match text.trim() {
        "" => Ok(None),
        text if is_address(text) => Ok(Some(text.into())),
        _ => Err(redacted(expected)),
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    let expected = "redis://HOST:PORT of each, or rediss:// with TLS, with USER:PASSWORD@ before HOST if need be";
    let addresses = setting::items(deserializer, expected, |items| {
        items.iter().map(|item| is_address(item).then(|| SecretString::from(*item))).collect()
    });
    addresses.map_err(|_: D::Error| redacted(expected))
}

/// An error that doesn't quote what was given, which may hold a password.
fn redacted<E: Error>(expected: &str) -> E {
    E::invalid_value(Unexpected::Other("[redacted]"), &expected)
}

/// Whether it is of a Redis on the network.
fn is_address(text: &str) -> bool {
    let is_network = text.starts_with("redis://") || text.starts_with("rediss://");
    is_network && text.into_connection_info().is_ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, SeqDeserializer, StrDeserializer};

    use super::*;

    fn given(text: &str) -> Result<Option<SecretString>, Error> {
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        address(text)
    }

    #[test]
    fn an_address_is_one_of_the_network_and_never_quoted() {
        for good in ["redis://127.0.0.1", "redis://:pass@redis.example:6380/2", "rediss://user:pass@redis.example"] {
            let address = given(good).expect("it is one").expect("it is given");
            assert_eq!(address.expose_secret(), good);
        }
        assert!(given(" ").expect("none").is_none());
        for bad in ["secret-host", "http://secret-host/", "unix:///secret-host", "redis://secret-host:port"] {
            let error = given(bad).expect_err(bad).to_string();
            assert!(!error.contains("secret-host"), "{error}");
        }
    }

    #[test]
    fn sentinels_are_addresses_of_the_network_and_never_quoted() {
        let given = |texts: &[&'static str]| {
            let texts: SeqDeserializer<_, Error> = SeqDeserializer::new(texts.iter().copied());
            addresses(texts)
        };
        assert!(given(&[]).expect("none").is_empty());
        let good = given(&["redis://a.example:26379", " rediss://user:pass@b.example:26379"]).expect("they are");
        assert_eq!(good[1].expose_secret(), "rediss://user:pass@b.example:26379");
        for bad in ["secret-host:26379", "http://secret-host", ""] {
            let error = given(&["redis://a.example", bad]).expect_err(bad).to_string();
            assert!(error.contains("[redacted]") && !error.contains("secret-host"), "{error}");
        }
        // As a variable has them.
        let text = |text: &'static str| {
            let text: StrDeserializer<'_, Error> = text.into_deserializer();
            addresses(text)
        };
        assert_eq!(text("redis://a.example, redis://b.example:26379").expect("they are").len(), 2);
        let error = text("redis://a.example,secret-host").expect_err("the second is none").to_string();
        assert!(error.contains("[redacted]") && !error.contains("secret-host"), "{error}");
    }
}
