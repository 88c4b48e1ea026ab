//! What a request to S3 came to.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use futures_util::future::BoxFuture;

use crate::error_chain::ErrorChain;
use crate::writer::Failure;

/// Codes that ask for another try whatever status they come with: a slow body is a 400 to S3, and so are bytes that
/// changed on the way; an upload that the store no longer knows begins anew.
const TRANSIENT_CODES: [&str; 8] = [
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
];

/// Sends a request and waits for its answer, but no longer than `limit`.
///
/// The SDK's own read time-out counts from the first byte sent, so a fixed one would fail large bodies on slow lines;
/// as part of the client's settings it could not depend on the body either.
///
/// Boxed, since the SDK's futures are some 16 KiB each and would make every caller's as large.
pub(super) fn within<'a, T, E: ProvideErrorMetadata + std::error::Error + 'static>(
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E>>> + Send + 'a,
) -> BoxFuture<'a, Result<T, Failure>> {
    Box::pin(async move {
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => Err(Failure::transient(format!("no answer within {limit:?}"))),
        }
    })
}

fn failure<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Failure {
    match error {
        SdkError::ServiceError(answer) => of_answer(answer.raw().status().as_u16(), answer.err().meta()),
        SdkError::ResponseError(answer) => {
            Failure::of_status(answer.raw().status().as_u16(), "an answer that is not S3's")
        }
        SdkError::DispatchFailure(cause) if cause.is_user() => Failure::permanent(ErrorChain(error).to_string()),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Failure::transient(ErrorChain(error).to_string()),
        _ => Failure::permanent(ErrorChain(error).to_string()),
    }
}

fn of_answer(status: u16, answer: &aws_sdk_s3::error::ErrorMetadata) -> Failure {
    let words = match (answer.code(), answer.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(words), None) | (None, Some(words)) => words.to_owned(),
        (None, None) => String::new(),
    };
    let mut failure = Failure::of_status(status, &words);
    // A 200 may still carry an error: the status was sent before the store knew.
    failure.transient |= status < 300 || answer.code().is_some_and(|code| TRANSIENT_CODES.contains(&code));
    failure
}
