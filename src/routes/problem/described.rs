//! What a route may be refused with, as its description says it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::status_of;
use crate::job::{ErrorCode, FieldError, HashKey, JobId};

/// On a response, while the description is made: the codes that come with its status.
const CODES: &str = "x-codes";

/// What every route may be refused with, whatever it does.
const ANYWHERE: [ErrorCode; 3] = [ErrorCode::TooManyRequests, ErrorCode::Busy, ErrorCode::Internal];
/// What is refused before there is a request to be answered, in which case the answer has no body.
const HEAD_REFUSED: [(&str, &str); 2] =
    [("414", "The address is longer than is taken."), ("431", "The headers are more than are taken.")];

/// Names the codes that a route may be refused with, besides those of every route, for the `responses` of its description:
/// `refusals!(UploadRefusals: BadMultipart, TooLarge)`.
macro_rules! refusals {
    ($name:ident: $($code:ident),+ $(,)?) => {
        /// What the route may be refused with.
        pub(super) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::routes::problem::refused_with(&[$($crate::job::ErrorCode::$code),+])
            }
        }
    };
}

pub(in crate::routes) use refusals;

/// For [`refusals`]: a response for each status that these codes have.
pub(in crate::routes) fn refused_with(codes: &[ErrorCode]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(status_word(*code)).or_default().push(code.as_str());
    }
    let response = |codes: Vec<&str>| {
        ResponseBuilder::new().extensions(Some(ExtensionsBuilder::new().add(CODES, json!(codes)).build())).build()
    };
    by_status.into_iter().map(|(status, codes)| (status, RefOr::T(response(codes)))).collect()
}

fn status_word(code: ErrorCode) -> String {
    let status = status_of(code).expect("INVARIANT: a route is refused with a code that has a status");
    status.as_str().to_owned()
}

/// Writes out what an operation may be refused with: from the codes that it names, and those of every route.
pub(in crate::routes) fn describe_refusals(responses: &mut Map<String, Value>) {
    for code in ANYWHERE {
        let response = responses.entry(status_word(code)).or_insert_with(|| json!({ "description": "" }));
        match &mut response[CODES] {
            Value::Array(codes) if codes.iter().any(|known| known == code.as_str()) => {}
            Value::Array(codes) => codes.push(json!(code.as_str())),
            none => *none = json!([code.as_str()]),
        }
    }
    for (status, description) in HEAD_REFUSED {
        responses.entry(status).or_insert_with(|| json!({ "description": description }));
    }
    for (status, response) in &mut *responses {
        let codes = response.as_object_mut().and_then(|fields| fields.shift_remove(CODES));
        let codes = codes.iter().flat_map(|codes| codes.as_array().into_iter().flatten());
        let codes: Vec<_> = codes.filter_map(|code| ErrorCode::of(code.as_str()?)).collect();
        if !codes.is_empty() {
            describe_refusal(status, &codes, response);
        }
    }
    responses.sort_keys();
}

fn describe_refusal(status: &str, codes: &[ErrorCode], response: &mut Value) {
    let own = response["description"].as_str().unwrap_or_default().to_owned();
    let meanings = codes.iter().map(|code| format!("- `{code}`: {}", code.description()));
    let lines: Vec<_> = [own].into_iter().filter(|own| !own.is_empty()).chain(meanings).collect();
    response["description"] = lines.join("\n").into();
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    response["content"][PROBLEM_JSON]["schema"] = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "type": "object", "properties": { "code": { "type": "string", "enum": words } } },
        ]
    });
    let headers = match status {
        "409" if codes.contains(&ErrorCode::IdempotencyInFlight) => &["Cache-Control", "Retry-After"][..],
        "401" | "403" => &["Cache-Control", "WWW-Authenticate"],
        "429" | "503" | "507" => &["Cache-Control", "Retry-After"],
        "416" => &["Cache-Control", "Content-Range"],
        _ => &["Cache-Control"],
    };
    for header in headers {
        response["headers"][*header] = json!({ "$ref": format!("#/components/headers/{header}") });
    }
}

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What a refused request is answered with, after RFC 9457.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Document` writes it; here is what clients may count on")]
pub(in crate::routes) struct Problem {
    /// `urn:pixerve:problem:` and the code.
    r#type: String,
    /// What it is, in words for people.
    title: String,
    /// That of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, and what would be right.
    detail: String,
    /// `urn:pixerve:request:` and the request's id, which the log has too.
    #[schema(nullable = false)]
    instance: Option<String>,
    code: ProblemCode,
    /// With `invalid_fields`: which, and what is wrong with each.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// With `duplicate_job`: that of the job under way.
    #[schema(nullable = false)]
    hash: Option<HashKey>,
    /// With `duplicate_job`: that job.
    #[schema(nullable = false)]
    job_id: Option<JobId>,
    /// With `duplicate_job`: where to ask about that job.
    #[schema(nullable = false)]
    status_url: Option<String>,
    /// With `store_in_use`: how many jobs have files for the store.
    #[schema(nullable = false)]
    jobs: Option<u64>,
    /// With `store_in_use`: how many files it holds.
    #[schema(nullable = false)]
    files: Option<u64>,
    /// With `too_many_requests`: the policies of `RateLimit-Policy` whose limit was met.
    #[serde(rename = "violated-policies")]
    #[schema(nullable = false)]
    violated_policies: Option<Vec<String>>,
}

/// The codes of refusals.
pub(in crate::routes) struct ProblemCode;

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        let codes = ErrorCode::ALL.iter().filter_map(|code| Some((*code, status_of(*code)?)));
        let line = |(code, status): (ErrorCode, StatusCode)| {
            format!("- `{code}` ({}): {}", status.as_u16(), code.description())
        };
        let lines: Vec<_> = codes.clone().map(line).collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(codes.map(|(code, _)| code.as_str())))
            .description(Some(format!("What is wrong, in a word that stays the same.\n\n{}", lines.join("\n"))))
            .into()
    }
}

impl ToSchema for ProblemCode {
    fn name() -> Cow<'static, str> {
        "ProblemCode".into()
    }
}
