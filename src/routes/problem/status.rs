//! The status of each code.

use axum::http::StatusCode;

use crate::job::ErrorCode;

/// The status of a request that is refused with this code; none for a code that only jobs end with.
#[must_use]
pub fn status_of(code: ErrorCode) -> Option<StatusCode> {
    use ErrorCode as C;
    use StatusCode as S;
    Some(match code {
        C::BadRequest | C::BadParameter | C::BadJson | C::BadMultipart | C::BadIdempotencyKey => S::BAD_REQUEST,
        C::Unauthorized => S::UNAUTHORIZED,
        C::Forbidden | C::OriginNotAllowed | C::NotLocal => S::FORBIDDEN,
        C::NotFound | C::NotReady | C::NoPicture => S::NOT_FOUND,
        C::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
        C::TooSlow => S::REQUEST_TIMEOUT,
        C::DuplicateJob
        | C::TokenUsed
        | C::JobEnded
        | C::JobLive
        | C::JobCompleted
        | C::NameTaken
        | C::StoreInUse
        | C::PresetFromFile
        | C::TooManyPresets
        | C::GcRunning
        | C::IdempotencyInFlight => S::CONFLICT,
        C::OriginalGone | C::Erased => S::GONE,
        C::PreconditionFailed => S::PRECONDITION_FAILED,
        C::TooLarge => S::PAYLOAD_TOO_LARGE,
        C::UnsupportedImage | C::DamagedImage => S::UNSUPPORTED_MEDIA_TYPE,
        C::RangeNotSatisfiable => S::RANGE_NOT_SATISFIABLE,
        C::InvalidFields | C::ImageTooLarge | C::JobTooLarge | C::StoreRefused | C::IdempotencyKeyReused => {
            S::UNPROCESSABLE_ENTITY
        }
        C::TooManyRequests | C::TooManyJobs => S::TOO_MANY_REQUESTS,
        C::Internal => S::INTERNAL_SERVER_ERROR,
        C::QueueFull | C::TooManyStreams | C::Draining | C::Paused | C::Busy | C::Unavailable => S::SERVICE_UNAVAILABLE,
        C::DiskFull => S::INSUFFICIENT_STORAGE,
        C::StoreUnreachable
        | C::TruncatedImage
        | C::EncodingFailed
        | C::CodecPanicked
        | C::OutOfMemory
        | C::Timeout
        | C::Crashed
        | C::Poison
        | C::LeaseExpired
        | C::OriginalMissing
        | C::Spool => return None,
    })
}
