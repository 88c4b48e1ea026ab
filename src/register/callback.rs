//! What of a job's callback is secret, sealed under the job's id: its URL, which may hold a token, and its headers.

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::seal::{KeyAge, SealError, Sealer, UnsealError};
use crate::job::{CallbackEvents, CallbackHeader, CallbackTarget, JobId, SealedText};

#[derive(Serialize)]
struct Exposed<'a>(&'a str, &'a str);

#[derive(Deserialize)]
struct Sealed(String, SecretString);

impl Sealer {
    /// Where the callback of the job `id` goes, URL and headers sealed; for the events that jobs have by default.
    ///
    /// # Errors
    /// As for [`Sealer::seal`].
    pub fn seal_callback(
        &self,
        id: &JobId,
        url: &Url,
        headers: &[CallbackHeader],
    ) -> Result<CallbackTarget, SealError> {
        let sealed_url = Some(self.seal(&url_context(id), url.as_str().as_bytes())?);
        let sealed_headers = if headers.is_empty() { None } else { Some(self.seal_headers(id, headers)?) };
        let events = CallbackEvents::default();
        Ok(CallbackTarget { url: CallbackTarget::origin_of(url), sealed_url, sealed_headers, events })
    }

    /// The whole URL and the headers of the callback of the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::unseal`].
    pub fn unseal_callback(
        &self,
        id: &JobId,
        target: &CallbackTarget,
    ) -> Result<(Url, Vec<CallbackHeader>), UnsealError> {
        let url = match &target.sealed_url {
            Some(sealed) => {
                let plain = self.unseal(&url_context(id), sealed)?;
                let text = std::str::from_utf8(&plain).map_err(|_| UnsealError::Content)?;
                text.parse().map_err(|_| UnsealError::Content)?
            }
            None => target.url.clone(),
        };
        let headers = target.sealed_headers.as_ref().map(|sealed| self.unseal_headers(id, sealed)).transpose()?;
        Ok((url, headers.unwrap_or_default()))
    }

    /// Whether an older key than the newest must be there to unseal the callback of the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::unseal`].
    pub fn needs_older_key(&self, id: &JobId, target: &CallbackTarget) -> Result<bool, UnsealError> {
        let sealed = [(url_context(id), &target.sealed_url), (headers_context(id), &target.sealed_headers)];
        for (context, sealed) in sealed {
            let Some(sealed) = sealed else { continue };
            if self.unseal_noting_age(&context, sealed)?.1 == KeyAge::Older {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Seals what is to be told of the job `id` once it is erased.
    ///
    /// # Errors
    /// As for [`Sealer::seal`].
    pub fn seal_erased(&self, id: &JobId, told: &[u8]) -> Result<SealedText, SealError> {
        self.seal(&erased_context(id), told)
    }

    /// What is to be told of the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::unseal`].
    pub fn unseal_erased(&self, id: &JobId, sealed: &SealedText) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.unseal(&erased_context(id), sealed)
    }

    /// Seals the callback headers of the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::seal`].
    pub fn seal_headers(&self, id: &JobId, headers: &[CallbackHeader]) -> Result<SealedText, SealError> {
        let exposed: Vec<_> = headers.iter().map(|h| Exposed(h.name.as_str(), h.value.expose_secret())).collect();
        let plain = Zeroizing::new(serde_json::to_vec(&exposed).map_err(|_| SealError::NotJson)?);
        self.seal(&headers_context(id), &plain)
    }

    /// The callback headers that were sealed for the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::unseal`].
    pub fn unseal_headers(&self, id: &JobId, sealed: &SealedText) -> Result<Vec<CallbackHeader>, UnsealError> {
        let plain = self.unseal(&headers_context(id), sealed)?;
        let headers: Vec<Sealed> = serde_json::from_slice(&plain).map_err(|_| UnsealError::Content)?;
        headers
            .into_iter()
            .map(|Sealed(name, value)| {
                let name = name.parse().map_err(|_| UnsealError::Content)?;
                Ok(CallbackHeader { name, value })
            })
            .collect()
    }
}

fn headers_context(id: &JobId) -> String {
    format!("callback-headers:{id}")
}

fn erased_context(id: &JobId) -> String {
    format!("job-erased:{id}")
}

fn url_context(id: &JobId) -> String {
    format!("callback-url:{id}")
}
