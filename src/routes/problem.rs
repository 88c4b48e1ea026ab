//! What clients are told when something is wrong: `application/problem+json` (RFC 9457) with a stable `code`.
//! Which status an error is, is decided here and nowhere else.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::auth::AuthError;
use crate::error_chain::ErrorChain;
use crate::job::{ClaimErrors, State};
use crate::pipeline::InspectError;
use crate::queue::{Job, QueueError};
use crate::register::RegisterError;
use crate::spool::SpoolError;
use crate::writer::WriteError;

/// Everything a request can be refused for.
#[derive(Debug)]
pub enum Refusal {
    /// The token is missing or bad.
    Unauthorized(AuthError),
    /// A good token without the needed scope.
    Forbidden,
    /// A parameter is missing or bad.
    BadRequest(String),
    /// The body is no usable multipart form.
    BadMultipart(String),
    /// The body is no usable JSON.
    BadJson(String),
    /// Fields of the job, or of a registration, are bad.
    BadFields(ClaimErrors),
    /// No such thing, or someone else's.
    NotFound(String),
    /// The route has no such method.
    MethodNotAllowed,
    /// The body didn't come fast enough.
    TooSlow,
    /// The same bytes of the same owner are pending or processing.
    DuplicateJob(Box<Job>),
    /// The job has ended already.
    JobEnded(State),
    /// The name is taken.
    NameTaken(String),
    /// More bytes than are taken.
    BodyTooLarge {
        /// As many as are.
        bytes_max: u64,
    },
    /// Not an image, not a supported one, or one that is refused.
    BadImage(InspectError),
    /// A conditional request for a file whose condition doesn't hold.
    PreconditionFailed,
    /// No byte of the file is in the range asked for.
    RangeNotSatisfiable {
        /// How many it has.
        bytes: u64,
    },
    /// Too many files are open.
    FilesBusy,
    /// A stored file can't be read.
    File(std::io::Error),
    /// A store refused the probe.
    StoreRefused(WriteError),
    /// More requests, or uploads, than one may make in a second.
    TooManyRequests {
        /// When the next will be answered.
        retry_after_secs: u64,
    },
    /// The server is stopping.
    Draining,
    /// The disk has less free space than is kept.
    DiskFull,
    /// The queue can't take it, or can't be asked.
    Queue(QueueError),
    /// The spool failed.
    Spool(SpoolError),
    /// The register failed.
    Register(RegisterError),
    /// A bug.
    Internal(String),
}

/// Seconds a client is asked to wait when the queue is full.
const RETRY_WHEN_FULL_SECS: u64 = 10;
/// Seconds a client is asked to wait for a restart or for something to come back.
const RETRY_SOON_SECS: u64 = 5;

/// One answer, spelled out.
struct Answer {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    retry_after_secs: Option<u64>,
}

impl Answer {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), retry_after_secs: None }
    }

    fn retry_after(self, secs: u64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }
}

impl Refusal {
    fn answer(&self) -> Answer {
        use StatusCode as S;
        match self {
            Self::Unauthorized(error) => {
                Answer::new(S::UNAUTHORIZED, "unauthorized", "A valid token is needed", error.to_string())
            }
            Self::Forbidden => {
                let detail = "this needs a token with \"scope\": \"admin\", signed by a key of jwt.json (`pixerve token --admin`)";
                Answer::new(S::FORBIDDEN, "forbidden", "The token doesn't allow this", detail)
            }
            Self::BadRequest(detail) => Answer::new(S::BAD_REQUEST, "bad_request", "The request is unusable", detail),
            Self::BadMultipart(detail) => {
                Answer::new(S::BAD_REQUEST, "bad_multipart", "The body is not a usable multipart form", detail)
            }
            Self::BadJson(detail) => Answer::new(S::BAD_REQUEST, "bad_json", "The body is not usable JSON", detail),
            Self::BadFields(errors) => {
                Answer::new(S::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are invalid", errors.to_string())
            }
            Self::NotFound(detail) => Answer::new(S::NOT_FOUND, "not_found", "Not found", detail),
            Self::MethodNotAllowed => {
                let detail = "this address takes other methods; the Allow header names them";
                Answer::new(S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
            }
            Self::TooSlow => {
                let detail = "the body came too slowly; nothing was kept";
                Answer::new(S::REQUEST_TIMEOUT, "too_slow", "The request took too long", detail)
            }
            Self::DuplicateJob(job) => {
                let detail = format!("the same bytes are {} already, as job {}", job.state, job.record.id);
                Answer::new(S::CONFLICT, "duplicate_job", "This image is being worked on", detail)
            }
            Self::JobEnded(state) => {
                let detail = format!("the job is {state}; only pending and processing jobs can be cancelled");
                Answer::new(S::CONFLICT, "job_ended", "The job has ended", detail)
            }
            Self::NameTaken(detail) => Answer::new(S::CONFLICT, "name_taken", "The name is taken", detail),
            Self::BodyTooLarge { bytes_max } => {
                let detail = format!("at most {bytes_max} bytes are taken; nothing was kept");
                Answer::new(S::PAYLOAD_TOO_LARGE, "too_large", "The upload is too large", detail)
            }
            Self::BadImage(error) => image(error),
            Self::PreconditionFailed => {
                let detail = "the file is not the one that If-Match or If-Unmodified-Since names";
                Answer::new(S::PRECONDITION_FAILED, "precondition_failed", "The condition doesn't hold", detail)
            }
            Self::RangeNotSatisfiable { bytes } => {
                let detail = format!("the file has {bytes} bytes; none of them is in the range asked for");
                Answer::new(S::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "The range is outside the file", detail)
            }
            Self::Spool(error) if error.is_out_of_descriptors() => busy(),
            Self::FilesBusy => busy(),
            Self::File(_) => internal("the file can't be read"),
            Self::StoreRefused(error) => Answer::new(
                S::UNPROCESSABLE_ENTITY,
                "store_refused",
                "The store didn't take a probe object",
                error.to_string(),
            ),
            Self::TooManyRequests { retry_after_secs } => {
                let detail = "they come faster than one address, or one user, may send them; slow down";
                Answer::new(S::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail)
                    .retry_after(*retry_after_secs)
            }
            Self::Draining => {
                let detail = "the server is stopping and takes no new uploads; try again in a moment";
                Answer::new(S::SERVICE_UNAVAILABLE, "draining", "The server is stopping", detail)
                    .retry_after(RETRY_SOON_SECS)
            }
            Self::DiskFull => disk_full("less space is free than is kept for jobs under way"),
            Self::Queue(error) => queue(error),
            Self::Spool(error) if error.is_full() => disk_full("no space left for the upload; nothing was kept"),
            // What exactly failed on which file is for the log, not for a stranger.
            Self::Spool(_) => internal("the upload could not be written to disk; nothing was kept"),
            Self::Register(error) => register(error),
            Self::Internal(_) => internal("this is a bug in Pixerve; its log has more under this request's id"),
        }
    }

    /// Fields beside the standard ones.
    fn extend(&self, body: &mut Map<String, Value>) {
        match self {
            Self::BadFields(errors) => {
                body.insert("errors".into(), json!(errors.fields()));
            }
            Self::DuplicateJob(job) => {
                body.insert("hash".into(), json!(job.record.hash));
                body.insert("job_id".into(), json!(job.record.id));
                body.insert("status_url".into(), json!(super::status_url(job.record.id)));
            }
            _ => {}
        }
    }

    /// What the log needs to know and the client doesn't.
    fn hidden_cause(&self) -> Option<String> {
        match self {
            Self::Spool(error) => Some(error.to_string()),
            Self::File(error) | Self::BadImage(InspectError::Io(error)) => Some(error.to_string()),
            Self::Queue(error @ (QueueError::Unavailable { .. } | QueueError::StorageFull)) => {
                Some(ErrorChain(error).to_string())
            }
            Self::Register(error) => Some(ErrorChain(error).to_string()),
            Self::Internal(detail) => Some(detail.clone()),
            _ => None,
        }
    }
}

fn image(error: &InspectError) -> Answer {
    use StatusCode as S;
    let detail = error.to_string();
    match error {
        InspectError::Unsupported { .. } => {
            Answer::new(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_image", "Not a supported image", detail)
        }
        InspectError::Damaged { .. } => {
            Answer::new(S::UNSUPPORTED_MEDIA_TYPE, "damaged_image", "The image can't be read", detail)
        }
        InspectError::TooLarge { .. } => {
            Answer::new(S::UNPROCESSABLE_ENTITY, "image_too_large", "The image has too many pixels", detail)
        }
        InspectError::Io(_) => internal("the upload could not be read back from disk; nothing was kept"),
    }
}

fn queue(error: &QueueError) -> Answer {
    use StatusCode as S;
    let detail = error.to_string();
    match error {
        QueueError::Full { .. } => Answer::new(S::SERVICE_UNAVAILABLE, "queue_full", "The queue is full", detail)
            .retry_after(RETRY_WHEN_FULL_SECS),
        QueueError::OwnerFull { .. } => {
            Answer::new(S::TOO_MANY_REQUESTS, "too_many_jobs", "Too many jobs at once", detail)
                .retry_after(RETRY_WHEN_FULL_SECS)
        }
        QueueError::TooLarge { .. } => {
            Answer::new(S::UNPROCESSABLE_ENTITY, "job_too_large", "The job is too large", detail)
        }
        QueueError::BadCursor => Answer::new(S::BAD_REQUEST, "bad_request", "The request is unusable", detail),
        QueueError::StorageFull => disk_full("no space left for the queue"),
        QueueError::AlreadyRunning { .. } | QueueError::SchemaTooNew { .. } | QueueError::Unavailable { .. } => {
            let detail = "the queue can't be used right now; try again in a moment";
            Answer::new(S::SERVICE_UNAVAILABLE, "unavailable", "Not available right now", detail)
                .retry_after(RETRY_SOON_SECS)
        }
    }
}

fn register(error: &RegisterError) -> Answer {
    match error {
        RegisterError::NameTaken { .. } => {
            Answer::new(StatusCode::CONFLICT, "name_taken", "The name is taken", error.to_string())
        }
        RegisterError::BadName | RegisterError::UnknownUser => Answer::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_fields",
            "Some fields are invalid",
            error.to_string(),
        ),
        error if error.is_full() => disk_full("no space left for the register; nothing was kept"),
        RegisterError::Database(_) | RegisterError::Engine(_) | RegisterError::Closed => {
            let detail = "the register can't be used right now; try again in a moment";
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available right now", detail)
                .retry_after(RETRY_SOON_SECS)
        }
        _ => internal("the register could not be read or written"),
    }
}

fn busy() -> Answer {
    let detail = "too many files are open; try again in a moment";
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not available right now", detail).retry_after(RETRY_SOON_SECS)
}

fn disk_full(detail: &str) -> Answer {
    Answer::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", "The server's disk is full", detail)
        .retry_after(RETRY_WHEN_FULL_SECS)
}

fn internal(detail: &str) -> Answer {
    Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong inside", detail)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Answer { status, code, title, detail, retry_after_secs } = self.answer();
        if let Some(cause) = self.hidden_cause() {
            tracing::error!(code, %cause, "a request failed");
        }
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:pixerve:problem:{code}")));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(status.as_u16()));
        body.insert("detail".into(), json!(detail));
        if let Some(request_id) = super::access::current_request_id() {
            body.insert("instance".into(), json!(format!("urn:pixerve:request:{request_id}")));
        }
        body.insert("code".into(), json!(code));
        self.extend(&mut body);

        let mut response = (status, Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pixerve\""));
        }
        if let Some(secs) = retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::MissingScope { .. } => Self::Forbidden,
            error => Self::Unauthorized(error),
        }
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<ClaimErrors> for Refusal {
    fn from(errors: ClaimErrors) -> Self {
        Self::BadFields(errors)
    }
}

impl From<InspectError> for Refusal {
    fn from(error: InspectError) -> Self {
        Self::BadImage(error)
    }
}
