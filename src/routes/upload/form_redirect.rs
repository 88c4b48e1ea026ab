//! Where a form without JavaScript is sent: its browser shows whatever comes, and people don't read JSON.

use axum::Json;
use axum::http::header::{ACCEPT, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value};
use url::Url;

use super::AcceptedUpload;
use crate::job::{ErrorCode, ParsedJob};
use crate::routes::Refusal;

/// How an upload is answered: by a 303 to the job's `redirect`, if its token turns out to be good and to name one, and the
/// request asks for a page.
pub(super) struct FormRedirect {
    asks_for_page: bool,
    to: Option<Url>,
}

impl FormRedirect {
    /// Nowhere yet: the token isn't known.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self { asks_for_page: asks_for_page(headers), to: None }
    }

    /// From now on where the good token with these claims says.
    pub(super) fn follow(&mut self, claims: &Map<String, Value>) {
        self.to = ParsedJob::redirect_of(claims.get("job")).filter(|_| self.asks_for_page);
    }

    /// What the client is told.
    pub(super) fn answer(self, outcome: Result<AcceptedUpload, Refusal>) -> Response {
        let (query, response) = match outcome {
            Ok(accepted) => {
                let query = vec![("job_id", accepted.job_id.to_string()), ("state", "accepted".to_owned())];
                (query, (StatusCode::OK, Json(accepted)).into_response())
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
        // For the access log, and so that the rest of a refused body is read.
        redirect.extensions_mut().extend(response.extensions().clone());
        redirect
    }
}

/// Whether `Accept` names `text/html`, as browsers do when they go to a page and scripts don't.
fn asks_for_page(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
        // A weight of 0 says: anything but this.
        let is_refused = parts.any(|parameter| {
            let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            weight.is_some_and(|(_, weight)| weight.trim().parse::<f32>() == Ok(0.0))
        });
        is_html && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_by_name_alone() {
        for (accept, asks) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json, TEXT/HTML; q=0.1", true),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("text/html;q=0", false),
            ("text/html-like", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(asks_for_page(&headers), asks, "{accept}");
        }
        assert!(!asks_for_page(&HeaderMap::new()));
    }
}
