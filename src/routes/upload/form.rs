//! The multipart form of an upload: a token, a file, and limits on everything else.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use multer::{Field, Multipart};

use super::grant::FileLimit;
use super::parameters::{file_name, kind, parameter};
use crate::auth::{AuthError, TOKEN_BYTES_MAX};
use crate::job::JobId;
use crate::routes::body::{BodyError, PacedBody};
use crate::routes::{AppState, Refusal};
use crate::spool::{IncomingUpload, Received};

/// The multipart body, read part by part.
pub(super) struct UploadForm<'a> {
    state: &'a AppState,
    body: &'a PacedBody,
    parts: Multipart<'static>,
    parts_seen: usize,
}

impl<'a> UploadForm<'a> {
    pub(super) fn open(state: &'a AppState, headers: &HeaderMap, body: &'a PacedBody) -> Result<Self, Refusal> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let parts = Multipart::new(body.stream(), boundary(content_type).map_err(Refusal::BadMultipart)?);
        Ok(Self { state, body, parts, parts_seen: 0 })
    }

    /// The `token` part, which must come before `file`.
    pub(super) async fn token(&mut self) -> Result<String, Refusal> {
        while let Some(mut part) = self.next_part().await? {
            let PartName { name, file_name } = PartName::of(&part);
            match name.as_str() {
                "token" => {
                    // The limit of a token's length is checked with the token; this keeps a part from growing past it.
                    let bytes = self.read_small(&mut part).await?;
                    let token =
                        String::from_utf8(bytes).map_err(|_| Refusal::BadMultipart("`token` is not text".into()))?;
                    return Ok(token.trim().to_owned());
                }
                "file" if file_name.is_some() => return Err(AuthError::MissingBeforeFile.into()),
                _ => self.skip(part).await?,
            }
        }
        Err(AuthError::Missing.into())
    }

    /// The `file` part, streamed into the spool. One without a file name counts only if there is none with: forms have
    /// had a text field of that name beside it.
    ///
    /// Reads to the end of the body, since one without its end was cut off.
    pub(super) async fn file(&mut self, limit: FileLimit) -> Result<UploadedFile, Refusal> {
        let mut found: Option<(bool, UploadedFile)> = None;
        while let Some(part) = self.next_part().await? {
            let PartName { name, file_name } = PartName::of(&part);
            let (is_named, found_named) = (file_name.is_some(), found.as_ref().map(|(is_named, _)| *is_named));
            match (name.as_str(), found_named) {
                ("file", None | Some(false)) if is_named || found_named.is_none() => {
                    // What a part without a name left is gone before the next is received.
                    drop(found.take());
                    found = Some((is_named, self.receive(part, file_name.unwrap_or_default(), limit).await?));
                }
                ("file", Some(found_named)) if found_named == is_named => {
                    return Err(Refusal::BadMultipart("there is more than one part named `file`".into()));
                }
                _ => self.skip(part).await?,
            }
        }
        let (_, file) = found.ok_or_else(|| Refusal::BadMultipart("there is no part named `file`".into()))?;
        Ok(file)
    }

    async fn receive(&self, mut part: Field<'static>, name: String, limit: FileLimit) -> Result<UploadedFile, Refusal> {
        let id = JobId::new(self.state.clock.now());
        let mut upload: IncomingUpload = self.state.spool.receive(id).await?;
        let mut bytes = 0;
        while let Some(chunk) = self.chunk(&mut part).await? {
            bytes += chunk.len() as u64;
            if bytes > limit.bytes_max {
                return Err(limit.refusal());
            }
            upload.write(chunk).await?;
        }
        Ok(UploadedFile { id, name, received: upload.finish().await? })
    }

    async fn next_part(&mut self) -> Result<Option<Field<'static>>, Refusal> {
        let part = self.parts.next_field().await.map_err(|error| self.refuse(&error))?;
        self.parts_seen += usize::from(part.is_some());
        if self.parts_seen > self.state.http.parts_max {
            let max = self.state.http.parts_max;
            return Err(Refusal::BadMultipart(format!("there are more than {max} parts")));
        }
        // The body bounds what all parts have in headers; this is what one may have.
        let max = self.state.http.part_header_bytes_max;
        if part.as_ref().is_some_and(|part| header_bytes(part) > max) {
            return Err(Refusal::BadMultipart(format!("a part has more than {max} bytes of headers")));
        }
        Ok(part)
    }

    async fn chunk(&self, part: &mut Field<'static>) -> Result<Option<bytes::Bytes>, Refusal> {
        let chunk = part.chunk().await.map_err(|error| self.refuse(&error))?;
        if let Some(chunk) = &chunk {
            self.body.note_parsed(chunk.len());
        }
        Ok(chunk)
    }

    async fn read_small(&self, part: &mut Field<'static>) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(part).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > TOKEN_BYTES_MAX {
                return Err(AuthError::TooLong { max: TOKEN_BYTES_MAX }.into());
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

/// What a form's file became.
pub(super) struct UploadedFile {
    /// The job that it will be.
    pub(super) id: JobId,
    /// As it came; empty without one.
    pub(super) name: String,
    pub(super) received: Received,
}

/// What a part's `Content-Disposition` calls it.
pub(in crate::routes) struct PartName {
    name: String,
    pub(in crate::routes) file_name: Option<String>,
}

impl PartName {
    pub(in crate::routes) fn of(part: &Field<'_>) -> Self {
        let value = part.headers().get(CONTENT_DISPOSITION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = value.as_deref().unwrap_or_default();
        Self { name: parameter(value, "name").unwrap_or_default(), file_name: file_name(value) }
    }
}

/// The boundary that a `Content-Type` names, or what is wrong with it.
pub(in crate::routes) fn boundary(content_type: &str) -> Result<String, String> {
    if kind(content_type) != "multipart/form-data" {
        return Err("the Content-Type must be multipart/form-data".to_owned());
    }
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    boundary.ok_or_else(|| "the Content-Type names no boundary".to_owned())
}

/// As they were sent: each line with its colon, space and end.
pub(in crate::routes) fn header_bytes(part: &Field<'_>) -> u64 {
    part.headers().iter().map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64).sum()
}
