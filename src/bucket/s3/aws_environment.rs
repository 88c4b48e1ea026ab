//! Credentials and region from where AWS has them for a program: variables, profiles, the identity of a pod, the metadata of
//! a container or an instance. For our own bucket alone: what clients register never gets the operator's credentials.
//!
//! The SDK reads all of that itself, in the order that AWS documents. Credentials that expire are asked for again by the
//! client that uses them, some seconds before.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::ProviderChainError;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::Region;
use tokio::time::timeout;

use super::{Signer, http_client};
use crate::bucket::settings::DEFAULT_REGION;
use crate::clock::{Timestamp, millis};
use crate::error_chain::ErrorChain;
use crate::tls;

/// For all of it. Where nothing is there to answer, the SDK notices within a second or two.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(20);

/// What an operator may do if there are none.
const REMEDY: &str = "set spool.access_key_id and spool.secret_access_key, or one of what AWS has for that: \
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a profile (AWS_PROFILE) in ~/.aws/config or ~/.aws/credentials; \
    AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; AWS_CONTAINER_CREDENTIALS_FULL_URI; a role of the instance";

impl Signer {
    /// Whoever this process is to AWS, for `region` or, without one, for that of the environment. Instance metadata is asked
    /// for it only if `is_aws`: other stores have names of their own for theirs, or none.
    ///
    /// # Errors
    /// What was looked at, and what can be done.
    pub(crate) async fn of_aws_environment(region: Option<&str>, is_aws: bool) -> Result<Self, String> {
        timeout(LOOK_UP_TIMEOUT, look_up(region, is_aws)).await.unwrap_or_else(|_| {
            Err(format!("credentials of the AWS environment did not come within {LOOK_UP_TIMEOUT:?}; {REMEDY}"))
        })
    }
}

async fn look_up(region: Option<&str>, is_aws: bool) -> Result<Signer, String> {
    // Metadata comes without TLS, and where there are no certificates nothing else can.
    let config = ProviderConfig::without_region().with_http_client(http_client(tls::has_certificates()));
    let region = match region {
        Some(region) => region.to_owned(),
        None => find_region(&config, is_aws).await,
    };
    let chain = DefaultCredentialsChain::builder().configure(config).region(Region::new(region.clone())).build().await;
    let credentials = SharedCredentialsProvider::new(chain);
    let found = credentials.provide_credentials().await.map_err(|error| why_none(&error))?;
    let expiry = found.expiry().and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok());
    let expires_at = expiry.map(|expiry| Timestamp::from_millis(millis(expiry)).rfc3339());
    tracing::info!(region, expires_at, "bucket credentials are those of the AWS environment");
    Ok(Signer { credentials, region })
}

async fn find_region(config: &ProviderConfig, is_aws: bool) -> String {
    let mut chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(config).build());
    if is_aws {
        chain = chain.or_else(ImdsRegionProvider::builder().configure(config).build());
    }
    chain.region().await.map_or_else(|| DEFAULT_REGION.to_owned(), |region| region.to_string())
}

/// On one line, whatever the SDK makes of it.
fn why_none(error: &CredentialsError) -> String {
    match error.source().and_then(|source| source.downcast_ref::<ProviderChainError<CredentialsError>>()) {
        Some(chain) => {
            let looked_at: Vec<_> = chain
                .attempts()
                .iter()
                .map(|attempt| format!("{} ({})", attempt.name(), ErrorChain(attempt.error())))
                .collect();
            format!("no credentials are set, and none found in {}; {REMEDY}", looked_at.join(", "))
        }
        None => format!("credentials of the AWS environment can't be had: {}", ErrorChain(error)),
    }
}
