//! Why a job's pixels could not be made.

use serde::{Deserialize, Serialize};

use crate::encoder::EncodeError;
use crate::job::ErrorCode;

use super::InspectError;

/// Why rendering failed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum PipelineError {
    /// The original can't be decoded.
    #[error("the image can't be decoded: {detail}")]
    BadImage {
        /// The decoder's message.
        detail: String,
    },
    /// The original, or what the job wants made of it, has too many pixels.
    #[error("the image is too large: {detail}")]
    TooLarge {
        /// Which limit.
        detail: String,
    },
    /// The original ends before its picture does, and the job doesn't say `tolerant`.
    #[error("the image is truncated; a job with `tolerant` would take what there is")]
    Truncated,
    /// A variant can't be encoded, or what the encoder wrote is not what was asked for.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// Decoding took longer than any picture may.
    #[error("decoding the image took longer than {secs} s; save it again as an ordinary JPEG or PNG")]
    DecodeTimeout {
        /// The limit.
        secs: u64,
    },
    /// A decoder or encoder panicked. What it said is for the log: to whoever sent the image it says nothing.
    #[error("the image can't be {step}")]
    Panicked {
        /// What it was doing.
        step: CodecStep,
        /// The panic's message.
        detail: String,
    },
    /// The threads that encode can't be started.
    #[error("the encoding threads can't be started: {detail}")]
    NoThreads {
        /// Why not.
        detail: String,
    },
}

/// What a codec does with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodecStep {
    /// Reads it.
    Decoding,
    /// Writes a variant of it.
    Encoding,
}

impl std::fmt::Display for CodecStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Decoding => "decoded",
            Self::Encoding => "encoded",
        })
    }
}

impl PipelineError {
    /// What kind of failure of the job it is.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadImage { .. } => ErrorCode::DamagedImage,
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::Truncated => ErrorCode::TruncatedImage,
            Self::Encode(_) => ErrorCode::EncodingFailed,
            // A job that was cancelled is not failed: one that still comes to be judged was stopped by its deadline.
            Self::Cancelled | Self::DecodeTimeout { .. } => ErrorCode::Timeout,
            Self::Panicked { .. } => ErrorCode::CodecPanicked,
            Self::NoThreads { .. } => ErrorCode::Internal,
        }
    }

    /// Whether the same job may succeed another time. Bad input never does, and an encoder that refuses a picture, for want
    /// of memory for example, would be given the same again; so would a codec that panics.
    #[must_use]
    pub fn can_pass_on_retry(&self) -> bool {
        match self {
            Self::NoThreads { .. } => true,
            Self::Panicked { .. }
            | Self::Encode(_)
            | Self::BadImage { .. }
            | Self::TooLarge { .. }
            | Self::Truncated
            | Self::Cancelled
            | Self::DecodeTimeout { .. } => false,
        }
    }

    pub(super) fn bad_image(detail: impl std::fmt::Display) -> Self {
        Self::BadImage { detail: format!("{detail}") }
    }

    /// The error that a caught panic stands for.
    pub(super) fn panicked(step: CodecStep, payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked { step, detail: message.unwrap_or_else(|| "no message".to_owned()) }
    }
}

impl From<InspectError> for PipelineError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::TooLarge { detail } => Self::TooLarge { detail },
            other => Self::bad_image(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_codec_is_final_and_tells_strangers_nothing_of_itself() {
        let payload: Box<dyn std::any::Any + Send> = Box::new("index out of bounds: the len is 3");
        let error = PipelineError::panicked(CodecStep::Decoding, &*payload);
        assert_eq!(error.to_string(), "the image can't be decoded");
        assert!(!error.can_pass_on_retry());
    }
}
