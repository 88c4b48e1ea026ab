//! `pixerve webhook-secret`: what callbacks of jobs of the keys of `jwt.json` are signed with.

use std::sync::Arc;

use anyhow::bail;
use secrecy::SecretString;

#[cfg(feature = "s3")]
use crate::bucket::Bucket;
use crate::bucket::BucketError;
use crate::clock::{Clock, System};
use crate::config::Config;
#[cfg(feature = "s3")]
use crate::register::BucketSecrets;
use crate::register::{KeptWebhookSecret, SealedSecrets, Sealer, SecretFiles};

/// The secret, as receivers are given it; with `rotate` a new one, beside which the one before signs for another day. A
/// running server takes it up within a minute.
///
/// # Errors
/// If no server has started with these settings yet, or where it is kept can't be used.
pub async fn webhook_secret(config: &Config, rotate: bool) -> anyhow::Result<SecretString> {
    if let Some(secret) = &config.callback.secret {
        if rotate {
            bail!("the secret is PIXERVE_CALLBACK_SECRET; change it there, and restart the server");
        }
        return Ok(secret.text());
    }
    let keys = config.key_file();
    if config.spool.bucket.url.is_none() && !keys.exists() {
        bail!(
            "there is no file of sealing keys {}: run this where the server runs, with its settings; its first start \
             makes the file",
            keys.display()
        );
    }
    let secret =
        KeptWebhookSecret::open(sealed_secrets(config).await?, Arc::new(Sealer::open_existing(&keys)?)).await?;
    let now = System::new().now();
    if rotate {
        return Ok(secret.renew(now).await?.text());
    }
    let Some(newest) = secret.good_at(now).into_iter().next() else { bail!("no callback secret is kept there") };
    Ok(newest.text())
}

/// Where sealed secrets are kept by these settings: what the command changes there, servers take up.
///
/// # Errors
/// If they name a bucket for which there can be no client.
#[cfg_attr(not(feature = "s3"), expect(clippy::unused_async, reason = "buckets take that feature"))]
async fn sealed_secrets(config: &Config) -> Result<Arc<dyn SealedSecrets>, BucketError> {
    #[cfg(feature = "s3")]
    if config.spool.bucket.url.is_some() {
        let clock = Arc::new(System::new());
        let bucket = Bucket::connect(&config.spool.bucket, &config.stores.timeouts, clock).await?;
        return Ok(Arc::new(BucketSecrets::new(Arc::new(bucket))));
    }
    Ok(Arc::new(SecretFiles::new(&config.data_dir)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn before_the_first_start_it_says_so_and_makes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let error = webhook_secret(&config, false).await.expect_err("there is none").to_string();
        assert!(error.contains("first start"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    }

    #[tokio::test]
    async fn a_secret_that_is_set_is_shown_and_changed_where_it_is_set() {
        let secret = crate::job::WebhookSecret::generate().expect("random");
        let mut config = Config::default();
        config.callback.secret = Some(secret.clone());
        let shown = webhook_secret(&config, false).await.expect("it is set");
        assert_eq!(shown.expose_secret(), secret.text().expose_secret());
        let error = webhook_secret(&config, true).await.expect_err("it is set elsewhere").to_string();
        assert!(error.contains("PIXERVE_CALLBACK_SECRET"), "{error}");
    }
}
