//! What a server says when it doesn't do what it was asked for.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::output::Plain;

/// A refusal: a problem document (RFC 9457), or whatever a proxy between says in its place.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    document: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl std::error::Error for Problem {}

impl Problem {
    /// Reads it from an answer that is no success.
    pub(super) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_default();
        Self::from_parts(status, &headers, &body)
    }

    fn from_parts(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document = match serde_json::from_slice(body) {
            Ok(Value::Object(document)) => document,
            _ => Map::new(),
        };
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self { status, document, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.document.get(field).and_then(Value::as_str)
    }

    /// The word for it that stays the same.
    pub(super) fn code(&self) -> Option<&str> {
        self.text("code")
    }

    /// The status that it came with.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the same request may be taken a moment later; then how long the server wants to be left alone, at least.
    pub(super) fn may_pass(&self) -> Option<Duration> {
        let is_temporary = match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => true,
            // A request of ours that broke off, which the server has not noticed yet.
            StatusCode::CONFLICT => self.code() == Some("idempotency_in_flight"),
            status => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED,
        };
        is_temporary.then(|| self.retry_after.unwrap_or_default())
    }

    pub(super) fn exit(&self) -> Exit {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    /// For machines: the document, or one like it of what came without.
    pub(super) fn to_json(&self) -> Value {
        if self.document.is_empty() {
            return json!({ "status": self.status.as_u16(), "detail": self.to_string() });
        }
        Value::Object(self.document.clone())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.text("title").or_else(|| self.status.canonical_reason()).unwrap_or("no success");
        match self.code() {
            Some(code) => write!(f, "{} ({})", Plain(title), Plain(code))?,
            None => write!(f, "the server answered {} {}", self.status.as_u16(), Plain(title))?,
        }
        let errors = self.document.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for error in errors {
            let field = |name: &str| Plain(error.get(name).and_then(Value::as_str).unwrap_or_default());
            write!(f, "\n  {}: {}", field("pointer"), field("detail"))?;
        }
        match self.text("detail") {
            // They say it one by one.
            Some(detail) if errors.is_empty() => write!(f, ": {}", Plain(detail)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn problem(status: u16, retry_after: Option<&'static str>, body: &Value) -> Problem {
        let retry_after = retry_after.map(|value| (RETRY_AFTER, HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).expect("a status");
        Problem::from_parts(status, &retry_after.into_iter().collect(), body.to_string().as_bytes())
    }

    #[test]
    fn every_field_that_is_wrong_is_told_on_a_line_of_its_own() {
        let errors = [("/job/priority", "must be 0 or 1"), ("/job/formats/jpg", "has no sizes")];
        let errors: Vec<_> = errors.map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail })).to_vec();
        let body = json!({ "title": "Some fields are invalid", "code": "invalid_fields", "detail": "all of it", "errors": errors });
        let told = problem(422, None, &body).to_string();
        let lines = "Some fields are invalid (invalid_fields)\n  /job/priority: must be 0 or 1\n  /job/formats/jpg: has no sizes";
        assert_eq!(told, lines);
    }

    #[test]
    fn what_a_proxy_says_is_told_by_its_status_and_nothing_gets_at_the_terminal() {
        assert_eq!(problem(502, None, &json!("<html>")).to_string(), "the server answered 502 Bad Gateway");
        let body = json!({ "title": "Not\u{1b}[2Jfound", "code": "not_found", "detail": "no\r\nsuch job" });
        assert_eq!(
            problem(404, None, &body).to_string(),
            "Not\u{fffd}[2Jfound (not_found): no\u{fffd}\u{fffd}such job"
        );
    }

    #[test]
    fn what_may_pass_is_tried_again_after_the_time_that_the_server_asks_for() {
        let body = |code: &str| json!({ "code": code });
        let may_pass = |status, retry_after, code| problem(status, retry_after, &body(code)).may_pass();
        assert_eq!(may_pass(503, Some("5"), "draining"), Some(Duration::from_secs(5)));
        assert_eq!(may_pass(429, None, "too_many_requests"), Some(Duration::ZERO));
        assert_eq!(may_pass(409, Some("1"), "idempotency_in_flight"), Some(Duration::from_secs(1)));
        for (status, code) in
            [(409, "duplicate_job"), (422, "invalid_fields"), (401, "unauthorized"), (413, "too_large")]
        {
            assert_eq!(may_pass(status, Some("1"), code), None, "{code}");
        }
    }
}
