//! Where a form without JavaScript is sent: its browser shows whatever comes, and people don't read JSON.

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Value;
use url::Url;

use crate::job::{ErrorCode, ParsedJob};
use crate::routes::Refusal;
use crate::routes::acceptance::RequestAnswer;
use crate::routes::extract::asks_for_html;
use crate::routes::idempotency::IDEMPOTENCY_REPLAYED;

/// How an upload is answered: by a 303 to the job's `redirect`, if its token turns out to be good and to name one, and the
/// request asks for a page.
pub(super) struct FormRedirect {
    asks_for_page: bool,
    to: Option<Url>,
}

impl FormRedirect {
    /// Nowhere yet: the token isn't known.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self { asks_for_page: asks_for_html(headers), to: None }
    }

    /// From now on where the job of a good token says.
    pub(super) fn follow(&mut self, job: Option<&Value>) {
        self.to = ParsedJob::redirect_of(job).filter(|_| self.asks_for_page);
    }

    /// What the client is told.
    pub(super) fn answer(self, outcome: Result<RequestAnswer, Refusal>) -> Response {
        let (query, response) = match outcome {
            Ok(answer) => {
                let query = vec![("job_id", answer.job_id()), ("state", "accepted".to_owned())];
                (query, answer.into_response())
            }
            Err(refusal) => {
                let response = refusal.into_response();
                let code = response.extensions().get::<ErrorCode>().map_or("internal", |code| code.as_str());
                (vec![("code", code.to_owned())], response)
            }
        };
        let Some(mut to) = self.to else { return response };
        to.query_pairs_mut().extend_pairs(query);
        let mut redirect = Redirect::to(to.as_str()).into_response();
        redirect.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(replayed) = response.headers().get(IDEMPOTENCY_REPLAYED) {
            redirect.headers_mut().insert(IDEMPOTENCY_REPLAYED, replayed.clone());
        }
        // For the access log, and so that the rest of a refused body is read.
        redirect.extensions_mut().extend(response.extensions().clone());
        redirect
    }
}
