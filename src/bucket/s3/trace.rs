//! Telling a store of the trace that a request is a part of.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::job::TraceContext;

/// Adds its headers once the request is signed: they are no part of what is signed, so that a proxy on the way may put its
/// own span into them.
#[derive(Debug)]
pub(crate) struct TellTrace(pub(crate) Option<TraceContext>);

impl Intercept for TellTrace {
    fn name(&self) -> &'static str {
        "TellTrace"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        for (name, value) in self.0.iter().flat_map(TraceContext::headers) {
            context.request_mut().headers_mut().try_insert(name, value)?;
        }
        Ok(())
    }
}
