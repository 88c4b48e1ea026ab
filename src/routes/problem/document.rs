//! One problem document (RFC 9457), and the headers that go with it.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::described::PROBLEM_JSON;
use super::status::status_of;
use crate::auth::Scope;
use crate::job::ErrorCode;
use crate::routes::access::current_request_id;

/// What a client is told about a refusal.
pub(super) struct Document {
    status: StatusCode,
    pub(super) code: ErrorCode,
    title: &'static str,
    detail: String,
    retry_after_secs: Option<u64>,
    /// What a token lacks that is good for less (RFC 6750).
    scope: Option<Scope>,
    extensions: Map<String, Value>,
}

impl Document {
    pub(super) fn new(code: ErrorCode, title: &'static str, detail: impl Into<String>) -> Self {
        // A refusal with a code that only jobs end with would be our own mistake.
        let status = status_of(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, title, detail: detail.into(), retry_after_secs: None, scope: None, extensions: Map::new() }
    }

    /// The same with the time after which the client may try again.
    pub(super) fn retry_after(self, secs: u64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// The same with the scope that the token lacks.
    pub(super) fn needing(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The same with a field beside the standard ones.
    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(field.to_owned(), value.into());
        self
    }

    fn body(self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:pixerve:problem:{}", self.code)));
        body.insert("title".into(), json!(self.title));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        if let Some(request_id) = current_request_id() {
            body.insert("instance".into(), json!(format!("urn:pixerve:request:{request_id}")));
        }
        body.insert("code".into(), json!(self.code.as_str()));
        body.extend(self.extensions);
        Value::Object(body)
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        let Self { status, code, retry_after_secs, scope, .. } = self;
        let mut response = (status, Json(self.body())).into_response();
        // For the access log.
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // Here and not in a layer: the earliest refusals pass none.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pixerve\""));
        }
        if code == ErrorCode::Forbidden {
            // No scope makes a token that reads private files good for anything else.
            let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
            let challenge = format!("Bearer realm=\"pixerve\", error=\"insufficient_scope\"{scope}");
            let challenge = HeaderValue::try_from(challenge).expect("INVARIANT: a scope is a plain word");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(secs) = retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
