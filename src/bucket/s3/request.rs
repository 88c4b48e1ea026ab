//! What a request to S3 came to.

use std::io;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ErrorMetadata, ProvideErrorMetadata, SdkError};
use futures_util::future::BoxFuture;

use crate::bucket::answer::{asks_for_another_try, in_one_line, unreadable};
use crate::clock::{Clock, System};
use crate::error_chain::{ErrorChain, beneath};

/// The clocks differ too much. A clock is set, or catches up.
const SKEWED: &str = "RequestTimeTooSkewed";

/// Codes that ask for another try whatever status they come with: a slow body is a 400 to S3, and so are bytes that
/// changed on the way; an upload that the store no longer knows begins anew; credentials that expire are renewed.
const TRANSIENT_CODES: [&str; 10] = [
    "BadDigest",
    "ExpiredToken",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    SKEWED,
    "SlowDown",
    "XAmzContentSHA256Mismatch",
];

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum RequestFailure {
    /// The store answered with an error.
    Answered {
        status: u16,
        /// What S3 calls it.
        code: Option<String>,
        words: String,
        /// Whether another try may get past it.
        may_pass: bool,
    },
    /// There was no answer, or it made no sense: another try may get past it.
    Unanswered(String),
    /// What was to be sent can't be read, or is not what was promised: no fault of the store's.
    Source(io::Error),
    /// It was given up from our side.
    Cancelled,
    /// The same would fail for ever.
    Invalid(String),
}

impl RequestFailure {
    /// What can't be read, of which somebody else keeps the error.
    pub(super) fn source(error: &io::Error) -> Self {
        Self::Source(match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        })
    }

    /// An error that an answer has for one key among many.
    pub(crate) fn of_code(status: u16, code: &str, message: &str) -> Self {
        of_status(status, Some(code), format!("{code}: {message}"))
    }

    /// What came of it, in words, on one line.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Answered { status, words, .. } => in_one_line(*status, words),
            Self::Unanswered(detail) | Self::Invalid(detail) => detail.clone(),
            Self::Source(error) => error.to_string(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }

    /// One that another try may get past.
    pub(super) fn transient(detail: impl Into<String>) -> Self {
        Self::Unanswered(detail.into())
    }
}

/// Sends a request and waits for its answer, but no longer than `limit`.
///
/// The SDK's own read time-out counts from the first byte sent, so a fixed one would fail large bodies on slow lines;
/// as part of the client's settings it could not depend on the body either.
///
/// Boxed, since the SDK's futures are some 16 KiB each and would make every caller's as large.
pub(crate) fn within<'a, T, E: ProvideErrorMetadata + std::error::Error + 'static>(
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E>>> + Send + 'a,
) -> BoxFuture<'a, Result<T, RequestFailure>> {
    Box::pin(async move {
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => Err(RequestFailure::Unanswered(format!("no answer within {limit:?}"))),
        }
    })
}

fn failure<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> RequestFailure {
    match error {
        SdkError::ServiceError(answer) => of_answer(answer.raw(), answer.err().meta()),
        SdkError::ResponseError(answer) => of_status(answer.raw().status().as_u16(), None, words_of(answer.raw())),
        SdkError::DispatchFailure(cause) if cause.is_user() => of_request(error),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => {
            RequestFailure::Unanswered(ErrorChain(error).to_string())
        }
        _ => RequestFailure::Invalid(ErrorChain(error).to_string()),
    }
}

/// Something is wrong with the request itself; with its body, if that is a file which was changed while it was sent.
fn of_request(error: &(dyn std::error::Error + 'static)) -> RequestFailure {
    if let Some(error) = beneath::<io::Error>(error) {
        return RequestFailure::source(error);
    }
    let text = ErrorChain(error).to_string();
    if beneath::<hyper::Error>(error).is_some_and(hyper::Error::is_body_write_aborted) {
        return RequestFailure::Source(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    RequestFailure::Invalid(text)
}

fn of_answer(answer: &HttpResponse, error: &ErrorMetadata) -> RequestFailure {
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
    of_status(answer.status().as_u16(), error.code(), words)
}

fn of_status(status: u16, code: Option<&str>, words: String) -> RequestFailure {
    // A 200 may still carry an error: the status was sent before the store knew.
    let may_pass =
        status < 300 || asks_for_another_try(status) || code.is_some_and(|code| TRANSIENT_CODES.contains(&code));
    RequestFailure::Answered { status, code: code.map(str::to_owned), words, may_pass }
}

/// What is said of an answer that isn't S3's; nothing of an empty one, of which the status says it all.
fn words_of(answer: &HttpResponse) -> String {
    let body = answer.body().bytes().unwrap_or_default();
    if body.is_empty() {
        return String::new();
    }
    unreadable(answer.headers().get("content-type"), body)
}
