//! What a request to S3 came to.

use std::io;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use futures_util::future::BoxFuture;

use crate::clock::{Clock, System};
use crate::error_chain::{ErrorChain, beneath};
use crate::writer::failure::unreadable;
use crate::writer::{Failure, WriteErrorKind};

/// The clocks differ too much. A clock is set, or catches up.
const SKEWED: &str = "RequestTimeTooSkewed";

/// Codes that ask for another try whatever status they come with: a slow body is a 400 to S3, and so are bytes that
/// changed on the way; an upload that the store no longer knows begins anew.
const TRANSIENT_CODES: [&str; 9] = [
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    SKEWED,
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
        SdkError::ServiceError(answer) => of_answer(answer.raw(), answer.err().meta()),
        SdkError::ResponseError(answer) => of_status(answer.raw().status().as_u16(), None, &words_of(answer.raw())),
        SdkError::DispatchFailure(cause) if cause.is_user() => of_request(error),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Failure::transient(ErrorChain(error).to_string()),
        _ => Failure::permanent(ErrorChain(error).to_string()),
    }
}

/// Something is wrong with the request itself; with its body, if that is a file which was changed while it was sent.
fn of_request(error: &(dyn std::error::Error + 'static)) -> Failure {
    if let Some(error) = beneath::<io::Error>(error) {
        return Failure::of_source(error);
    }
    let ended_early = beneath::<hyper::Error>(error).is_some_and(hyper::Error::is_body_write_aborted);
    let kind = if ended_early { WriteErrorKind::SourceDamaged } else { WriteErrorKind::Invalid };
    Failure::new(kind, ErrorChain(error).to_string())
}

fn of_answer(answer: &HttpResponse, error: &ErrorMetadata) -> Failure {
    let mut words = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(words), None) | (None, Some(words)) => words.to_owned(),
        (None, None) => words_of(answer),
    };
    if error.code() == Some(SKEWED) {
        let theirs = answer.headers().get("date").unwrap_or("not told");
        let ours = System::new().now().rfc3339();
        words = format!("{words}; this machine's clock says {ours}, the store's {theirs}: set the one that is wrong");
    }
    of_status(answer.status().as_u16(), error.code(), &words)
}

fn of_status(status: u16, code: Option<&str>, words: &str) -> Failure {
    let mut failure = Failure::of_status(status, words);
    // A 200 may still carry an error: the status was sent before the store knew.
    if status < 300 || code.is_some_and(|code| TRANSIENT_CODES.contains(&code)) {
        failure.kind = WriteErrorKind::Unavailable;
    }
    failure
}

/// What is said of an answer that isn't S3's; nothing of an empty one, of which the status says it all.
fn words_of(answer: &HttpResponse) -> String {
    let body = answer.body().bytes().unwrap_or_default();
    if body.is_empty() {
        return String::new();
    }
    unreadable(answer.headers().get("content-type"), body)
}
