//! The codes of errors: of a request that is refused, and of a job that fails.

use std::borrow::Cow;
use std::fmt;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Makes the enum, its words and their descriptions out of one list, so that none of them can lack a code.
macro_rules! error_codes {
    ($($code:ident $word:literal $description:literal)*) => {
        /// What kind of error it is, in a word that stays the same: the `code` of a problem document, of a failed job's
        /// record and of its log lines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $description] $code,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word on the wire, in records and in logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word,)* }
            }

            /// What it means, in one line of Markdown.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$code => $description,)* }
            }
        }
    };
}

error_codes! {
    // The request.
    BadRequest "bad_request" "A parameter is missing or can't be used."
    BadParameter "bad_parameter" "A parameter is missing, can't be used or is unknown to a route that takes no others than its own."
    BadJson "bad_json" "The body is not the JSON that the route takes."
    BadMultipart "bad_multipart" "The body is not a usable multipart form, or was cut off."
    InvalidFields "invalid_fields" "Claims of the job, or fields of a preset or a registration, are invalid; `errors` names them."
    Unauthorized "unauthorized" "The token is missing, malformed, expired or not signed by a known key."
    Forbidden "forbidden" "The token is good, but without the scope that the route needs."
    OriginNotAllowed "origin_not_allowed" "A page of an origin that is not in `server.cors_origins` uploads."
    NotLocal "not_local" "A token of the demo is asked for from another machine, through a proxy or by another page."
    NotFound "not_found" "No such route, job, file or registration, or another owner's."
    NotReady "not_ready" "Nothing of the job's variants is stored yet."
    NoPicture "no_picture" "No `<picture>` can be made: the job has not ended, or no browser gets its variants by an address."
    MethodNotAllowed "method_not_allowed" "The route has no such method; the `Allow` header names those it has."
    TooSlow "too_slow" "The body came below the least rate."
    TooLarge "too_large" "The body has more bytes than are taken."
    PreconditionFailed "precondition_failed" "The file or preset is not the one that `If-Match` or `If-Unmodified-Since` names, or the one that `If-None-Match` doesn't want."
    RangeNotSatisfiable "range_not_satisfiable" "No byte of the file is in the range asked for."
    TooManyRequests "too_many_requests" "Requests of one address, or uploads of one user, come faster than the limit."
    TooManyStreams "too_many_streams" "As many streams of `/events` are open as may be, in all or to one address."
    BadIdempotencyKey "bad_idempotency_key" "The `Idempotency-Key` is no string of 16 to 255 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `~` and `-`."
    IdempotencyInFlight "idempotency_in_flight" "A request with this `Idempotency-Key` is under way."
    IdempotencyKeyReused "idempotency_key_reused" "The `Idempotency-Key` was that of another request."
    // The job and what it meets.
    DuplicateJob "duplicate_job" "The same bytes of the same owner are pending or processing; the body names that job."
    TokenUsed "token_used" "The token is good for one upload, which has been accepted; the body names its job."
    JobEnded "job_ended" "The job has ended and can't be cancelled."
    JobLive "job_live" "The job has not ended, and can't be run again."
    JobCompleted "job_completed" "The job, or the one that ran it again, has completed."
    OriginalGone "original_gone" "The original of the job is kept no longer: only an upload makes it again."
    Erased "erased" "The job that the request with this `Idempotency-Key` became has been erased."
    JobTooLarge "job_too_large" "The job is larger than the queue stores."
    TooManyJobs "too_many_jobs" "The owner has as many live jobs as are allowed."
    NameTaken "name_taken" "A user of this name is registered."
    PresetFromFile "preset_from_file" "A file of `presets_dir` defines the preset: it is changed there."
    TooManyPresets "too_many_presets" "There are as many presets as there may be, 200."
    StoreInUse "store_in_use" "Jobs wait for the store that is to be deregistered, or it holds files; the body says how many."
    GcRunning "gc_running" "Stores are being compared with the ledger already; the body names that comparison."
    StoreRefused "store_refused" "A store refused to take an object for as long as it is asked: its credentials, its bucket or its rules."
    StoreUnreachable "store_unreachable" "A store could not be reached, or failed, for as long as it is waited for."
    // The image.
    UnsupportedImage "unsupported_image" "The bytes are not an image of a supported format."
    DamagedImage "damaged_image" "The image can't be read or decoded."
    TruncatedImage "image_truncated" "The image ends before its pixels do, and the job does not say `tolerant`."
    ImageTooLarge "image_too_large" "The image, or what the job makes of it, has too many pixels or needs too much memory."
    EncodingFailed "encoding_failed" "A variant could not be encoded, or did not pass its check."
    CodecPanicked "codec_panicked" "A decoder or encoder failed on the image, by a fault of its own."
    OutOfMemory "out_of_memory" "Making the variants took more memory than the job may have."
    Timeout "timeout" "Decoding the image, or making all variants, took longer than allowed."
    Crashed "crashed" "The process that worked on the job died; it is retried."
    Poison "poison" "The processes that worked on the job died as often as is allowed."
    LeaseExpired "lease_expired" "The worker of the last attempt stopped renewing its lease."
    // The server.
    OriginalMissing "original_missing" "The uploaded image is no longer on the server's disk."
    Spool "spool" "The server's disk could not be read or written."
    DiskFull "disk_full" "Less disk space is free than is kept for accepted jobs."
    QueueFull "queue_full" "The queue has as many jobs as it takes."
    Draining "draining" "The server is stopping and takes no new uploads."
    Paused "paused" "The server is paused and takes nothing in."
    Busy "busy" "Too many files are open."
    Unavailable "unavailable" "A database, or the server's disk, can't be used right now."
    Internal "internal" "A bug or a failing disk; the log says more, under the request's id or the job's."
}

impl ErrorCode {
    /// Whether a job may end with it: in its record, in its callback, in the metrics.
    #[must_use]
    pub const fn ends_jobs(self) -> bool {
        matches!(
            self,
            Self::StoreRefused
                | Self::StoreUnreachable
                | Self::DamagedImage
                | Self::TruncatedImage
                | Self::ImageTooLarge
                | Self::EncodingFailed
                | Self::CodecPanicked
                | Self::OutOfMemory
                | Self::Timeout
                | Self::Crashed
                | Self::Poison
                | Self::LeaseExpired
                | Self::OriginalMissing
                | Self::Spool
                | Self::Internal
        )
    }

    /// The code of this word, if it is one of this version's.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

/// As jobs have it in their answers; what requests are refused with is `routes::problem`'s to describe.
impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let codes = || Self::ALL.iter().filter(|code| code.ends_jobs());
        let meanings: Vec<_> = codes().map(|code| format!("- `{code}`: {}", code.description())).collect();
        let known = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes().map(|code| code.as_str())));
        let description = format!(
            "Why a job failed. One that another version made may have a word of that one.\n\n{}",
            meanings.join("\n")
        );
        let any = ObjectBuilder::new().schema_type(Type::String);
        AnyOfBuilder::new().item(known).item(any).description(Some(description)).into()
    }
}

impl ToSchema for ErrorCode {
    fn name() -> Cow<'static, str> {
        "JobErrorCode".into()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ErrorCode;

    #[test]
    fn no_two_codes_share_a_word_or_a_description() {
        let words: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        let descriptions: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.description()).collect();
        assert_eq!((words.len(), descriptions.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
    }

    #[test]
    fn a_code_is_a_plain_word_and_a_description_one_sentence() {
        for code in ErrorCode::ALL {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            assert!(code.description().ends_with('.') && !code.description().contains(['|', '\n']), "{code}");
        }
    }
}
