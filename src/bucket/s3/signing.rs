//! Telling a store what a body is.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use md5::{Digest, Md5};

use crate::job::ContentHash;

/// Has a request signed with this SHA-256 of its body, which the SDK would compute again otherwise, or leave unsigned if
/// the body is a file. The store checks it, so that what it has is what was hashed.
#[derive(Debug)]
pub(crate) struct SignWith(pub(crate) ContentHash);

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

/// Adds the MD5 of a body in memory, which older stores want of a request that deletes many objects.
#[derive(Debug)]
pub(crate) struct WithMd5;

impl Intercept for WithMd5 {
    fn name(&self) -> &'static str {
        "WithMd5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let md5 = context.request().body().bytes().map(|body| BASE64.encode(Md5::digest(body)));
        if let Some(md5) = md5 {
            context.request_mut().headers_mut().insert("content-md5", md5);
        }
        Ok(())
    }
}
