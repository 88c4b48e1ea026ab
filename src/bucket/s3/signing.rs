//! Signing a body with a hash that is known already.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::job::ContentHash;

/// Has a request signed with this SHA-256 of its body, which the SDK would compute again otherwise, or leave unsigned if
/// the body is a file. The store checks it, so that what it has is what was hashed.
#[derive(Debug)]
pub(super) struct SignWith(pub(super) ContentHash);

impl Intercept for SignWith {
    fn name(&self) -> &'static str {
        "SignWith"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.to_string()));
        Ok(())
    }
}
