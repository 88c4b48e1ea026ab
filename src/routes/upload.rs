//! `POST /upload`: takes an image and a signed job, and answers once both are safe.

use std::fs::File;
use std::io::BufReader;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use multer::{Field, Multipart};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tracing::{Instrument, info};

use super::body::{BodyError, Intake, Pace};
use super::extract::{bearer_of, verify};
use super::{AppState, Refusal, status_url};
use crate::auth::{AuthError, Verified};
use crate::failpoint::{Step, reached};
use crate::job::{
    CallbackTarget, ClaimErrors, HashKey, JobId, JobRecord, Original, Owner, ParsedJob, RecordVersion, Stem,
};
use crate::pipeline::{InspectError, check_outputs, inspect};
use crate::queue::{Enqueued, QueueError};
use crate::register::RegisterError;
use crate::spool::{Received, Upload};

/// What an accepted upload is answered with.
#[derive(Serialize)]
struct Accepted {
    hash: HashKey,
    job_id: JobId,
    expected_files: Vec<String>,
    status_url: String,
}

/// The route. A refusal reads on before it answers, so that a client in the middle of sending sees it.
pub(super) async fn upload(State(state): State<AppState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let intake = Intake::new(body, pace(&state));
    match accept(&state, &parts.headers, &intake).await {
        Ok(accepted) => (StatusCode::OK, Json(accepted)).into_response(),
        Err(refusal) => {
            // Who waits for `100 Continue` has sent nothing yet, and needn't.
            if intake.is_touched() || !parts.headers.contains_key(EXPECT) {
                intake.drain().await;
            }
            refusal.into_response()
        }
    }
}

fn pace(state: &AppState) -> Pace {
    let http = &state.http;
    let overhead_max = http.part_header_bytes_max * http.parts_max as u64;
    Pace {
        bytes_max: http.body_bytes_max.saturating_add(overhead_max),
        grace: http.body_grace,
        bytes_per_sec_min: http.body_bytes_per_sec_min,
        overhead_max,
    }
}

/// Everything that can be refused is refused as early as it can be known.
async fn accept(state: &AppState, headers: &HeaderMap, intake: &Intake) -> Result<Accepted, Refusal> {
    let ticket = match bearer_of(headers)? {
        Some(token) => Some(Ticket::check(state, token)?),
        None => None,
    };
    check_room(state).await?;
    check_length(state, headers)?;
    let mut form = Form::open(state, headers, intake)?;
    let ticket = match ticket {
        Some(ticket) => ticket,
        None => Ticket::check(state, &form.token().await?)?,
    };
    let id = JobId::new(state.clock.now());
    let (stem, received) = form.file(id).await?;
    form.rest().await?;
    let (original, memory) = look_at(state, &received, &ticket.job).await?;
    let record = ticket.into_record(state, id, stem, original, memory)?;
    if let Some(job) = state.queue.live(&record.owner, &record.original.sha256).await? {
        return Err(Refusal::DuplicateJob(Box::new(job)));
    }
    // In a task of its own: a client that hangs up now must not leave an accepted upload that nobody queued.
    let state = state.clone();
    tokio::spawn(async move { keep(&state, received, record).await }.in_current_span())
        .await
        .map_err(|error| Refusal::Internal(format!("accepting an upload: {error}")))?
}

/// A good token and the good job in it.
struct Ticket {
    owner: Owner,
    job: ParsedJob,
}

impl Ticket {
    fn check(state: &AppState, token: &str) -> Result<Self, Refusal> {
        let Verified { owner, claims, .. } = verify(state, token)?;
        state.rates.count_upload(&owner)?;
        let job = ParsedJob::from_claim(claims.get("job"), state.spec_limits)?;
        let mut errors = ClaimErrors::default();
        for key in &job.spec.storage {
            if !state.register.may_use(&key.access_key, key.backend, owner.user.as_deref()) {
                let backend = key.backend.as_str();
                errors.push(
                    format!("/job/storageKeys/{backend}"),
                    format!("no {backend} store is registered under this access_key, for this user"),
                );
            }
        }
        errors.or(Self { owner, job }).map_err(Refusal::from)
    }

    fn into_record(
        self,
        state: &AppState,
        id: JobId,
        stem: Stem,
        original: Original,
        memory: Option<u64>,
    ) -> Result<JobRecord, Refusal> {
        let ParsedJob { spec, callback_url, callback_headers, job_data } = self.job;
        let sealed_headers = if callback_headers.is_empty() {
            None
        } else {
            Some(state.sealer.seal_headers(&id, &callback_headers).map_err(RegisterError::from)?)
        };
        Ok(JobRecord {
            version: RecordVersion,
            id,
            hash: HashKey::new(&original.sha256, &self.owner),
            owner: self.owner,
            stem,
            original,
            spec,
            callback: callback_url.map(|url| CallbackTarget { url, sealed_headers }),
            job_data,
            created_at: state.clock.now(),
            memory,
        })
    }
}

/// Whether there is a point in reading the body at all.
async fn check_room(state: &AppState) -> Result<(), Refusal> {
    if state.readiness.is_draining() {
        return Err(Refusal::Draining);
    }
    if super::health::free_disk(state).is_some_and(|free| free < state.http.free_disk_min) {
        return Err(Refusal::DiskFull);
    }
    let counts = state.queue.counts().await?;
    let depth = usize::try_from(counts.pending + counts.processing).unwrap_or(usize::MAX);
    if depth >= state.http.queue_depth_max {
        return Err(Refusal::Queue(QueueError::Full { depth }));
    }
    Ok(())
}

fn check_length(state: &AppState, headers: &HeaderMap) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|length| length > pace(state).bytes_max) {
        return Err(Refusal::BodyTooLarge { bytes_max: state.http.body_bytes_max });
    }
    Ok(())
}

/// The multipart body, read part by part.
struct Form<'a> {
    state: &'a AppState,
    intake: &'a Intake,
    parts: Multipart<'static>,
    parts_seen: usize,
}

impl<'a> Form<'a> {
    fn open(state: &'a AppState, headers: &HeaderMap, intake: &'a Intake) -> Result<Self, Refusal> {
        let boundary = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| "the Content-Type must be multipart/form-data".to_owned())
            .and_then(|value| multer::parse_boundary(value).map_err(|error| error.to_string()))
            .map_err(Refusal::BadMultipart)?;
        let parts = Multipart::new(intake.stream(), boundary);
        Ok(Self { state, intake, parts, parts_seen: 0 })
    }

    /// The `token` part, which must come before `file`.
    async fn token(&mut self) -> Result<String, Refusal> {
        while let Some(mut part) = self.next_part().await? {
            match part.name() {
                Some("token") => {
                    // The limit of a token's length is checked with the token; this keeps a part from growing past it.
                    let bytes = self.read_small(&mut part).await?;
                    let token =
                        String::from_utf8(bytes).map_err(|_| Refusal::BadMultipart("`token` is not text".into()))?;
                    return Ok(token.trim().to_owned());
                }
                Some("file") => break,
                _ => self.skip(part).await?,
            }
        }
        Err(AuthError::Missing.into())
    }

    /// The `file` part, streamed into the spool.
    async fn file(&mut self, id: JobId) -> Result<(Stem, Received), Refusal> {
        while let Some(mut part) = self.next_part().await? {
            if part.name() != Some("file") {
                self.skip(part).await?;
                continue;
            }
            let stem = Stem::of(part.file_name().unwrap_or_default());
            let mut upload: Upload = self.state.spool.receive(id).await?;
            let mut bytes = 0;
            while let Some(chunk) = self.chunk(&mut part).await? {
                bytes += chunk.len() as u64;
                if bytes > self.state.http.body_bytes_max {
                    return Err(Refusal::BodyTooLarge { bytes_max: self.state.http.body_bytes_max });
                }
                upload.write(chunk).await?;
            }
            return Ok((stem, upload.finish().await?));
        }
        Err(Refusal::BadMultipart("there is no part named `file`".into()))
    }

    /// What comes after the file: nothing that matters, but a body without its end was cut off.
    async fn rest(&mut self) -> Result<(), Refusal> {
        while let Some(part) = self.next_part().await? {
            if part.name() == Some("file") {
                return Err(Refusal::BadMultipart("there is more than one part named `file`".into()));
            }
            self.skip(part).await?;
        }
        Ok(())
    }

    async fn next_part(&mut self) -> Result<Option<Field<'static>>, Refusal> {
        let part = self.parts.next_field().await.map_err(|error| self.refuse(&error))?;
        self.parts_seen += usize::from(part.is_some());
        if self.parts_seen > self.state.http.parts_max {
            let max = self.state.http.parts_max;
            return Err(Refusal::BadMultipart(format!("there are more than {max} parts")));
        }
        // The intake bounds what all parts have in headers; this is what one may have.
        let max = self.state.http.part_header_bytes_max;
        if part.as_ref().is_some_and(|part| header_bytes(part) > max) {
            return Err(Refusal::BadMultipart(format!("a part has more than {max} bytes of headers")));
        }
        Ok(part)
    }

    async fn chunk(&self, part: &mut Field<'static>) -> Result<Option<bytes::Bytes>, Refusal> {
        let chunk = part.chunk().await.map_err(|error| self.refuse(&error))?;
        if let Some(chunk) = &chunk {
            self.intake.used(chunk.len());
        }
        Ok(chunk)
    }

    async fn read_small(&self, part: &mut Field<'static>) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(part).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > self.state.auth.token_bytes_max() {
                return Err(AuthError::TooLong { max: self.state.auth.token_bytes_max() }.into());
            }
        }
        Ok(bytes)
    }

    async fn skip(&self, mut part: Field<'static>) -> Result<(), Refusal> {
        while self.chunk(&mut part).await?.is_some() {}
        Ok(())
    }

    fn refuse(&self, error: &multer::Error) -> Refusal {
        let multer::Error::StreamReadFailed(cause) = error else {
            return Refusal::BadMultipart(error.to_string());
        };
        match cause.downcast_ref::<BodyError>() {
            Some(BodyError::TooLarge) => Refusal::BodyTooLarge { bytes_max: self.state.http.body_bytes_max },
            Some(BodyError::TooSlow) => Refusal::TooSlow,
            Some(other) => Refusal::BadMultipart(other.to_string()),
            None => Refusal::BadMultipart(error.to_string()),
        }
    }
}

/// As they were sent: each line with its colon, space and end.
pub(super) fn header_bytes(part: &Field<'_>) -> u64 {
    part.headers().iter().map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64).sum()
}

/// What the bytes are, judged by themselves, whether the job can be done with them, and how much memory that takes.
async fn look_at(state: &AppState, received: &Received, job: &ParsedJob) -> Result<(Original, Option<u64>), Refusal> {
    let (path, limits) = (received.path(), state.pixel_limits);
    let info = spawn_blocking(move || {
        let file = File::open(&path).map_err(InspectError::Io)?;
        inspect(BufReader::new(file), &limits)
    })
    .await
    .map_err(|error| Refusal::Internal(format!("looking at an upload: {error}")))??;
    check_outputs(&job.spec, &info, &state.pixel_limits)?;
    let memory = match job.spec.variants.as_slice() {
        [] => None,
        variants => Some(state.memory_limit.admit(&info, received.bytes, variants)?.bytes),
    };
    let original = Original {
        format: info.format,
        sha256: received.sha256,
        bytes: received.bytes,
        width: info.width,
        height: info.height,
    };
    Ok((original, memory))
}

/// Spool first, then queue: from the moment the spool has it, a restart would find it.
async fn keep(state: &AppState, received: Received, record: JobRecord) -> Result<Accepted, Refusal> {
    let accepted = Accepted {
        hash: record.hash.clone(),
        job_id: record.id,
        expected_files: record.expected_files(),
        status_url: status_url(record.id),
    };
    let (id, bytes) = (record.id, record.original.bytes);
    received.accept(&record).await?;
    reached(Step::UploadBeforeEnqueue);
    let refusal = match state.queue.enqueue(record).await {
        Ok(Enqueued::Created | Enqueued::Known) => {
            reached(Step::UploadAfterEnqueue);
            info!(job_id = %id, hash = %accepted.hash, bytes, "accepted");
            return Ok(accepted);
        }
        Ok(Enqueued::Duplicate(job)) => Refusal::DuplicateJob(job),
        Err(error @ (QueueError::Full { .. } | QueueError::OwnerFull { .. } | QueueError::TooLarge { .. })) => {
            Refusal::Queue(error)
        }
        // Nobody knows whether the queue kept it before it failed. The spool keeps it too, so that what may be a job
        // has its image; if it is none, the spool makes it one. A client that tries again is told of that job.
        Err(error) => return Err(Refusal::Queue(error)),
    };
    if let Err(error) = state.spool.remove(id).await {
        tracing::warn!(job_id = %id, %error, "a refused upload is still in the spool; the next start would queue it");
    }
    Err(refusal)
}
