//! The settings of the Redis that nodes share.

use redis::IntoConnectionInfo;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// Where it is. The `Debug` form redacts that: an address may hold a password.
#[derive(Clone, Debug, Deserialize)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`; none where this server has a queue of its own.
    #[serde(deserialize_with = "address")]
    pub url: Option<SecretString>,
}

/// No error quotes it.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let expected = "redis://HOST:PORT/DATABASE, or rediss:// with TLS, with USER:PASSWORD@ before HOST if need be";
    let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(expected))?;
    let text = text.trim();
    let is_network = text.starts_with("redis://") || text.starts_with("rediss://");
    match text {
        "" => Ok(None),
        text if is_network && text.into_connection_info().is_ok() => Ok(Some(text.into())),
        _ => Err(serde::de::Error::invalid_value(serde::de::Unexpected::Other("[redacted]"), &expected)),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

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
}
