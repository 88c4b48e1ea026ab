//! A job's callback headers, sealed under the job's id.

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::seal::{SealError, Sealer, UnsealError};
use crate::job::{CallbackHeader, JobId, SealedText};

#[derive(Serialize)]
struct Exposed<'a>(&'a str, &'a str);

#[derive(Deserialize)]
struct Sealed(String, SecretString);

impl Sealer {
    /// Seals the callback headers of the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::seal`].
    pub fn seal_headers(&self, id: &JobId, headers: &[CallbackHeader]) -> Result<SealedText, SealError> {
        let exposed: Vec<_> = headers.iter().map(|h| Exposed(h.name.as_str(), h.value.expose_secret())).collect();
        let plain = Zeroizing::new(serde_json::to_vec(&exposed).map_err(|_| SealError::NotJson)?);
        self.seal(&context(id), &plain)
    }

    /// The callback headers that were sealed for the job `id`.
    ///
    /// # Errors
    /// As for [`Sealer::unseal`].
    pub fn unseal_headers(&self, id: &JobId, sealed: &SealedText) -> Result<Vec<CallbackHeader>, UnsealError> {
        let plain = self.unseal(&context(id), sealed)?;
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

fn context(id: &JobId) -> String {
    format!("callback-headers:{id}")
}
