//! What clients are told when something is wrong: `application/problem+json` (RFC 9457) with a stable `code`.
//! Which code an error is and which status a code, is decided here and nowhere else.

mod described;
mod document;
mod status;

use axum::response::{IntoResponse, Response};
use serde_json::json;

pub(super) use self::described::{Problem, describe_refusals, refusals, refused_with};
use self::document::Document;
pub use self::status::status_of;
use crate::auth::{AuthError, Scope};
use crate::bucket::BucketError;
use crate::canceller::CancelError;
use crate::error_chain::ErrorChain;
use crate::job::{ClaimErrors, ErrorCode, JobId, PresetName, State};
use crate::ledger::{GcId, LedgerError};
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
    Forbidden {
        /// The least that would do.
        scope: Scope,
    },
    /// A good token that reads private files, and is good for nothing else.
    OnlyReads,
    /// A page uploads whose origin is not among those that may read the answer.
    OriginNotAllowed,
    /// A token of the demo is asked for from another machine, through a proxy or by another page.
    NotLocal,
    /// A parameter is missing or bad.
    BadRequest(String),
    /// A parameter is missing, bad or unknown, where the route takes no others than its own.
    BadParameter(String),
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
    DuplicateJob {
        /// The job that they are.
        job: Box<Job>,
        /// Where to ask about it.
        status_url: String,
    },
    /// The token is good for one upload, and that has been accepted.
    TokenUsed {
        /// The job that it is.
        job_id: JobId,
        /// Where to ask about it.
        status_url: String,
    },
    /// The key of a request that may be repeated is none.
    BadIdempotencyKey,
    /// Another request with this key is under way.
    IdempotencyInFlight,
    /// Another request had this key.
    IdempotencyKeyReused,
    /// The job has ended already.
    JobEnded(State),
    /// The job is to be run again, and has not ended.
    JobLive(State),
    /// The job is to be run again, and has completed, or the one that ran it again has.
    JobCompleted {
        /// The one that has.
        job_id: JobId,
    },
    /// The original of the job is kept no longer.
    OriginalGone,
    /// The original of the job is stored where it can't be read now.
    OriginalUnavailable(WriteError),
    /// More bytes than are taken.
    BodyTooLarge {
        /// As many as are.
        bytes_max: u64,
    },
    /// More bytes than the token takes.
    LargerThanToken {
        /// As many as it does.
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
    /// The bucket of stored files can't be reached, or doesn't let this server in.
    FilesUnavailable(BucketError),
    /// A file defines the preset that is to be changed.
    PresetFromFile(PresetName),
    /// A preset is to be changed that is not the one that a condition names.
    PresetChanged,
    /// There are as many presets as there may be.
    TooManyPresets {
        /// How many that is.
        max: usize,
    },
    /// A store is to be deregistered that is needed.
    StoreInUse {
        /// Live jobs that have files for it.
        jobs: u64,
        /// Files that it holds.
        files: u64,
    },
    /// Stores are to be compared with the ledger, and are being compared.
    GcRunning(GcId),
    /// A store refused the probe.
    StoreRefused(WriteError),
    /// More requests, or uploads, than one may make in a second.
    TooManyRequests {
        /// The limit that they exceed, as its policy is called.
        policy: &'static str,
        /// When the next will be answered.
        retry_after_secs: u64,
    },
    /// More connections than one address may have.
    TooManyConnections,
    /// More streams of events than may be open.
    TooManyStreams,
    /// More requests over HTTP/2 than there are places for.
    NoPlace,
    /// The server is stopping.
    Draining,
    /// It waits for the Redis that it shares with other nodes, and hasn't started.
    Starting,
    /// Nothing of the job's variants is stored yet.
    NotReady,
    /// No browser gets a file of the job by an address.
    NoPicture,
    /// The server is paused.
    Paused,
    /// The disk has less free space than is kept.
    DiskFull,
    /// The queue or the spool doesn't answer in time, most likely since its disk hangs.
    DiskNotAnswering,
    /// A job that is to be cancelled has not stopped yet.
    NotStoppedYet,
    /// The original of a cancelled job is where it may be taken for work still.
    NotLeftSpool,
    /// Nothing can be written to the data directory, or its disk doesn't answer.
    DiskUnusable,
    /// The queue can't take it, or can't be asked.
    Queue(QueueError),
    /// The spool failed.
    Spool(SpoolError),
    /// The register failed.
    Register(RegisterError),
    /// The ledger failed.
    Ledger(LedgerError),
    /// The job that the request with this key became has been erased.
    Erased,
    /// A bug.
    Internal(String),
}

/// Seconds a client is asked to wait when the queue is full.
const RETRY_WHEN_FULL_SECS: u64 = 10;
/// Seconds a client is asked to wait until it has closed a connection.
const RETRY_AT_ONCE_SECS: u64 = 1;
/// Seconds a client is asked to wait for a restart or for something to come back.
const RETRY_SOON_SECS: u64 = 5;

impl Refusal {
    /// The same where a scope is needed: a token that only reads lacks that, like any other without it.
    pub(super) fn lacking(self, least: Scope) -> Self {
        match self {
            Self::OnlyReads => Self::Forbidden { scope: least },
            refusal => refusal,
        }
    }

    /// No route has this address.
    pub(super) fn nothing_here() -> Self {
        Self::NotFound("there is nothing at this address".into())
    }

    #[expect(clippy::too_many_lines, reason = "a few words for each refusal, one below the other")]
    fn document(&self) -> Document {
        match self {
            Self::Unauthorized(error) => {
                Document::new(ErrorCode::Unauthorized, "A valid token is needed", error.to_string())
            }
            Self::Forbidden { scope } => {
                let by = if *scope == Scope::Admin { ", signed by a key of jwt.json" } else { " or a wider one" };
                let detail =
                    format!("this needs a token with \"scope\": \"{scope}\"{by} (`pixerve token --scope {scope}`)");
                Document::new(ErrorCode::Forbidden, "The token doesn't allow this", detail).needing(*scope)
            }
            Self::OnlyReads => {
                let detail =
                    "a token with a `read` claim reads private files and does nothing else; this needs one without";
                Document::new(ErrorCode::Forbidden, "The token doesn't allow this", detail)
            }
            Self::OriginNotAllowed => {
                let detail =
                    "pages of this origin may not upload here; PIXERVE_SERVER_CORS_ORIGINS lists those that may";
                Document::new(ErrorCode::OriginNotAllowed, "The page is of another origin", detail)
            }
            Self::NotLocal => not_local(),
            Self::BadRequest(detail) => bad_request(detail),
            Self::BadParameter(detail) => Document::new(ErrorCode::BadParameter, "A parameter is unusable", detail),
            Self::BadMultipart(detail) => {
                Document::new(ErrorCode::BadMultipart, "The body is not a usable multipart form", detail)
            }
            Self::BadJson(detail) => Document::new(ErrorCode::BadJson, "The body is not usable JSON", detail),
            Self::BadFields(errors) => bad_fields(errors),
            Self::NotFound(detail) => Document::new(ErrorCode::NotFound, "Not found", detail),
            Self::MethodNotAllowed => {
                let detail = "this address takes other methods; the Allow header names them";
                Document::new(ErrorCode::MethodNotAllowed, "Method not allowed", detail)
            }
            Self::TooSlow => {
                let detail = "the body came too slowly; nothing was kept";
                Document::new(ErrorCode::TooSlow, "The request took too long", detail)
            }
            Self::DuplicateJob { job, status_url } => {
                let detail = format!("the same bytes are {} already, as job {}", job.state, job.record.id);
                Document::new(ErrorCode::DuplicateJob, "This image is being worked on", detail)
                    .with("hash", job.record.hash.as_str())
                    .with("job_id", job.record.id.to_string())
                    .with("status_url", status_url.as_str())
            }
            Self::TokenUsed { job_id, status_url } => token_used(job_id, status_url),
            Self::BadIdempotencyKey => {
                let detail = "the Idempotency-Key must be one string of 16 to 255 of A-Z, a-z, 0-9, `.`, `_`, `~` and `-`, \
                              such as a UUID in quotes";
                Document::new(ErrorCode::BadIdempotencyKey, "The Idempotency-Key is unusable", detail)
            }
            Self::IdempotencyInFlight => {
                let detail =
                    "a request with this Idempotency-Key is under way; its answer is given again once it is made";
                Document::new(ErrorCode::IdempotencyInFlight, "The request is under way", detail)
                    .retry_after(RETRY_AT_ONCE_SECS)
            }
            Self::IdempotencyKeyReused => {
                let detail = "this Idempotency-Key was that of a request with another job, file name or file; each has a key of \
                              its own, and is repeated as it was";
                Document::new(ErrorCode::IdempotencyKeyReused, "The Idempotency-Key was another request's", detail)
            }
            Self::JobEnded(state) => {
                let detail = format!("the job is {state}; only pending and processing jobs can be cancelled");
                Document::new(ErrorCode::JobEnded, "The job has ended", detail)
            }
            Self::JobLive(state) => {
                let detail = format!("the job is {state}; only failed and cancelled jobs can be run again");
                Document::new(ErrorCode::JobLive, "The job has not ended", detail)
            }
            Self::JobCompleted { job_id } => {
                let detail = format!("job {job_id} has completed; only failed and cancelled jobs can be run again");
                Document::new(ErrorCode::JobCompleted, "The job has completed", detail)
            }
            Self::OriginalGone => {
                let detail = "the original of the job is kept no longer; upload it again";
                Document::new(ErrorCode::OriginalGone, "The original is gone", detail)
            }
            Self::OriginalUnavailable(_) => {
                unavailable("the store that has the original can't be read right now; try again in a moment")
            }
            Self::BodyTooLarge { bytes_max } => {
                too_large(format!("at most {bytes_max} bytes are taken; nothing was kept"))
            }
            Self::LargerThanToken { bytes_max } => {
                too_large(format!("this token takes at most {bytes_max} bytes (`maxBytes`); nothing was kept"))
            }
            Self::BadImage(error) => image(error),
            Self::PreconditionFailed => {
                let detail = "the file is not the one that If-Match or If-Unmodified-Since names";
                Document::new(ErrorCode::PreconditionFailed, "The condition doesn't hold", detail)
            }
            Self::RangeNotSatisfiable { bytes } => {
                let detail = format!("the file has {bytes} bytes; none of them is in the range asked for");
                Document::new(ErrorCode::RangeNotSatisfiable, "The range is outside the file", detail)
            }
            Self::Spool(error) if error.is_out_of_descriptors() => busy(),
            Self::FilesBusy => busy(),
            Self::File(_) => internal("the file can't be read"),
            Self::FilesUnavailable(_) => {
                unavailable("the bucket that files are kept in can't be used right now; try again in a moment")
            }
            Self::PresetFromFile(name) => {
                let detail = format!(
                    "a file defines the preset `{name}`: change {name}.json in the directory PIXERVE_PRESETS_DIR of every node, and \
                     restart"
                );
                Document::new(ErrorCode::PresetFromFile, "A file defines the preset", detail)
            }
            Self::PresetChanged => {
                let detail = "the preset is not the one that If-Match names, or the one that If-None-Match doesn't want; look at it \
                              again";
                Document::new(ErrorCode::PreconditionFailed, "The condition doesn't hold", detail)
            }
            Self::TooManyPresets { max } => {
                let detail = format!("there are {max} presets already; delete one that no token names any more");
                Document::new(ErrorCode::TooManyPresets, "There are too many presets", detail)
            }
            Self::StoreInUse { jobs, files } => {
                let waits = format!("{jobs} jobs that have not ended have files for this store, and would fail");
                let holds = format!("it holds {files} files, which could not be erased any more");
                let reasons = [(*jobs > 0).then_some(waits), (*files > 0).then_some(holds)];
                let detail = format!(
                    "{}; PUT /register gives it other credentials, and `force=true` deregisters it all the same",
                    reasons.into_iter().flatten().collect::<Vec<_>>().join("; ")
                );
                let document = Document::new(ErrorCode::StoreInUse, "The store is in use", detail);
                document.with("jobs", *jobs).with("files", *files)
            }
            Self::GcRunning(id) => {
                let detail = format!("there is one comparison at a time; GET /gc/{id} says how far that one is");
                let document = Document::new(ErrorCode::GcRunning, "Stores are being compared already", detail);
                document.with("gc_id", id.to_string())
            }
            Self::StoreRefused(error) => {
                Document::new(ErrorCode::StoreRefused, "The store didn't take a probe object", error.to_string())
            }
            Self::TooManyRequests { policy, retry_after_secs } => {
                let detail = "they come faster than one address, or one user, may send them; slow down";
                Document::new(ErrorCode::TooManyRequests, "Too many requests", detail)
                    .retry_after(*retry_after_secs)
                    .with("violated-policies", json!([policy]))
            }
            Self::TooManyConnections => {
                let detail =
                    "one address may not have more connections than it has open; close some, or use them again";
                Document::new(ErrorCode::TooManyRequests, "Too many connections", detail)
                    .retry_after(RETRY_AT_ONCE_SECS)
            }
            Self::TooManyStreams => {
                let detail = "as many streams of events are open as may be, in all or to one address; close some, or ask /status";
                Document::new(ErrorCode::TooManyStreams, "Too many streams", detail).retry_after(RETRY_SOON_SECS)
            }
            Self::NoPlace => {
                let detail = "as many requests are being answered as there are places for; try again in a moment";
                Document::new(ErrorCode::Busy, "Not available right now", detail).retry_after(RETRY_SOON_SECS)
            }
            Self::Draining => {
                let detail = "the server is stopping and takes no new uploads; try again in a moment";
                Document::new(ErrorCode::Draining, "The server is stopping", detail).retry_after(RETRY_SOON_SECS)
            }
            Self::NotReady => {
                let detail =
                    "nothing of the job is stored yet; ask again in a moment, or wait for it by /status or /events";
                Document::new(ErrorCode::NotReady, "Not stored yet", detail).retry_after(RETRY_AT_ONCE_SECS)
            }
            Self::NoPicture => {
                let detail = "there is no <picture> of this job: it has not ended, no variant of it shows the whole picture, or none has \
                              an address (PIXERVE_SERVER_PUBLIC_URL, or the store's `public_url`)";
                Document::new(ErrorCode::NoPicture, "There is no picture", detail)
            }
            Self::Starting => unavailable(
                "this node has not started yet: it waits for the Redis that keeps its queue, and says in its log why; try again in a \
                 moment, or at another node",
            ),
            Self::Paused => {
                let detail = "the server is paused: it serves files and answers questions, and takes nothing in";
                Document::new(ErrorCode::Paused, "The server is paused", detail).retry_after(RETRY_WHEN_FULL_SECS)
            }
            Self::DiskNotAnswering => unavailable(
                "the server's disk takes long to answer; what was asked for may still happen, try again in a moment",
            ),
            Self::NotStoppedYet => unavailable(
                "another node works on the job and takes long to stop; it is cancelled once that has, and /status says when",
            ),
            Self::NotLeftSpool => unavailable(
                "the job is cancelled, but its original could not be taken out of the bucket yet: until that has happened, it \
                 may come again if Redis loses its records; ask /status in a moment",
            ),
            Self::DiskFull => disk_full("less space is free than is kept for jobs under way"),
            Self::DiskUnusable => unavailable(
                "nothing can be written to the server's disk right now; nothing was kept, try again in a moment",
            ),
            Self::Queue(error) => queue(error),
            Self::Spool(error) if error.is_full() => disk_full("no space left for the upload; nothing was kept"),
            Self::Spool(error) if error.is_of_bucket() => {
                unavailable("the bucket of uploads can't be used right now; try again in a moment")
            }
            // What exactly failed on which file is for the log, not for a stranger.
            Self::Spool(_) => internal("the upload could not be written to disk; nothing was kept"),
            Self::Register(error) => register(error),
            Self::Ledger(error) if error.is_full() => disk_full("no space left for the ledger; nothing was changed"),
            Self::Ledger(_) => unavailable("the ledger can't be read or written right now; try again in a moment"),
            Self::Erased => {
                let detail =
                    "the job that this request became has been erased; a new request takes a new Idempotency-Key";
                Document::new(ErrorCode::Erased, "The job has been erased", detail)
            }
            Self::Internal(_) => internal("this is a bug in Pixerve; its log has more under this request's id"),
        }
    }

    /// What the log needs to know and the client doesn't.
    fn hidden_cause(&self) -> Option<String> {
        match self {
            Self::Spool(error) => Some(ErrorChain(error).to_string()),
            Self::File(error) | Self::BadImage(InspectError::Io(error)) => Some(ErrorChain(error).to_string()),
            Self::Queue(error @ (QueueError::Unavailable { .. } | QueueError::StorageFull)) => {
                Some(ErrorChain(error).to_string())
            }
            Self::Register(error) => Some(ErrorChain(error).to_string()),
            Self::Ledger(error) => Some(ErrorChain(error).to_string()),
            Self::FilesUnavailable(error) => Some(ErrorChain(error).to_string()),
            Self::OriginalUnavailable(error) => Some(ErrorChain(error).to_string()),
            Self::Internal(detail) => Some(detail.clone()),
            _ => None,
        }
    }
}

fn token_used(job_id: &JobId, status_url: &str) -> Document {
    let detail = format!("this token was good for one upload (`once`), which is job {job_id}");
    Document::new(ErrorCode::TokenUsed, "The token has been used", detail)
        .with("job_id", job_id.to_string())
        .with("status_url", status_url)
}

fn too_large(detail: String) -> Document {
    Document::new(ErrorCode::TooLarge, "The upload is too large", detail)
}

fn image(error: &InspectError) -> Document {
    let detail = error.to_string();
    match error {
        InspectError::Unsupported { .. } => Document::new(ErrorCode::UnsupportedImage, "Not a supported image", detail),
        InspectError::Damaged { .. } => Document::new(ErrorCode::DamagedImage, "The image can't be read", detail),
        InspectError::TooLarge { .. } => {
            Document::new(ErrorCode::ImageTooLarge, "The image has too many pixels", detail)
        }
        InspectError::Io(_) => internal("the upload could not be read back from disk; nothing was kept"),
    }
}

fn queue(error: &QueueError) -> Document {
    let detail = error.to_string();
    match error {
        QueueError::Full { .. } => {
            Document::new(ErrorCode::QueueFull, "The queue is full", detail).retry_after(RETRY_WHEN_FULL_SECS)
        }
        QueueError::OwnerFull { .. } => {
            Document::new(ErrorCode::TooManyJobs, "Too many jobs at once", detail).retry_after(RETRY_WHEN_FULL_SECS)
        }
        QueueError::TooLarge { .. } => Document::new(ErrorCode::JobTooLarge, "The job is too large", detail),
        QueueError::BadCursor => bad_request(&detail),
        QueueError::StorageFull => disk_full("no space left for the queue"),
        QueueError::AlreadyRunning { .. } | QueueError::SchemaTooNew { .. } | QueueError::Unavailable { .. } => {
            unavailable("the queue can't be used right now; try again in a moment")
        }
    }
}

fn register(error: &RegisterError) -> Document {
    match error {
        RegisterError::NameTaken { .. } => Document::new(ErrorCode::NameTaken, "The name is taken", error.to_string()),
        RegisterError::BadName | RegisterError::UnknownUser => {
            let mut errors = ClaimErrors::default();
            errors.push("/user", error.to_string());
            bad_fields(&errors)
        }
        error if error.is_full() => disk_full("no space left for the register; nothing was kept"),
        RegisterError::Bucket(_) => {
            unavailable("the bucket that the register is in can't be used right now; try again in a moment")
        }
        RegisterError::Database(_)
        | RegisterError::Engine(_)
        | RegisterError::Closed
        | RegisterError::Unreadable { .. } => {
            unavailable("the register can't be used right now; try again in a moment")
        }
        RegisterError::NotConfirmed { access_key, .. } => unavailable(&format!(
            "{access_key} is removed from the register, but not every node has confirmed that, and one may still take it; \
             repeat this request: 204 or 404 say that it is gone everywhere"
        )),
        RegisterError::RotationNotConfirmed { access_key, .. } => unavailable(&format!(
            "{access_key} has a new secret, but not every node has confirmed that, so it is not shown; repeat this request for \
             another one: until then, those before are good for as long as `overlap` says"
        )),
        RegisterError::BindingNotConfirmed { access_key, .. } => unavailable(&format!(
            "{access_key} is bound to other presets, but not every node has confirmed that, and one may still go by those before; \
             repeat this request"
        )),
        RegisterError::PresetFromFile { .. }
        | RegisterError::PresetChanged
        | RegisterError::TooManyPresets { .. }
        | RegisterError::UnknownPreset => bad_request(&error.to_string()),
        RegisterError::Peers(_) | RegisterError::TookTooLong => unavailable(
            "the register can't be changed right now, or it is not known whether it was; try again in a moment",
        ),
        RegisterError::Seal(_)
        | RegisterError::Random(_)
        | RegisterError::WrongKeys { .. }
        | RegisterError::Installation(_) => internal("the register could not be read or written"),
    }
}

fn not_local() -> Document {
    let detail = "the demo gives tokens to pages and programs of its own machine only: open this page there, as http://localhost, without \
                  a proxy between; elsewhere paste a token that `pixerve token` made";
    Document::new(ErrorCode::NotLocal, "This is for the server's own machine", detail)
}

fn bad_request(detail: &str) -> Document {
    Document::new(ErrorCode::BadRequest, "The request is unusable", detail)
}

fn bad_fields(errors: &ClaimErrors) -> Document {
    Document::new(ErrorCode::InvalidFields, "Some fields are invalid", errors.to_string())
        .with("errors", json!(errors.fields()))
}

fn unavailable(detail: &str) -> Document {
    Document::new(ErrorCode::Unavailable, "Not available right now", detail).retry_after(RETRY_SOON_SECS)
}

fn busy() -> Document {
    let detail = "too many files are open; try again in a moment";
    Document::new(ErrorCode::Busy, "Not available right now", detail).retry_after(RETRY_SOON_SECS)
}

fn disk_full(detail: &str) -> Document {
    Document::new(ErrorCode::DiskFull, "The server's disk is full", detail).retry_after(RETRY_WHEN_FULL_SECS)
}

fn internal(detail: &str) -> Document {
    Document::new(ErrorCode::Internal, "Something went wrong inside", detail)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let document = self.document();
        if let Some(cause) = self.hidden_cause() {
            tracing::error!(code = %document.code, error = cause, "request failed");
        }
        document.into_response()
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::MissingScope { scope } => Self::Forbidden { scope },
            AuthError::OnlyReads => Self::OnlyReads,
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
        match error {
            RegisterError::PresetFromFile { name } => Self::PresetFromFile(name),
            RegisterError::PresetChanged => Self::PresetChanged,
            RegisterError::TooManyPresets { max } => Self::TooManyPresets { max },
            RegisterError::UnknownPreset => Self::NotFound(error.to_string()),
            error => Self::Register(error),
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<CancelError> for Refusal {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Queue(error) => Self::Queue(error),
            CancelError::Ledger(error) => Self::Ledger(error),
            CancelError::NotStoppedYet => Self::NotStoppedYet,
            CancelError::NotLeftSpool => Self::NotLeftSpool,
        }
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
