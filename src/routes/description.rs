//! `GET /openapi.json`: every route, described by what stands beside its handler.
//!
//! The router and the description are made of the same handlers, so neither has a route that the other lacks. What is the
//! same everywhere - refusals that any route may answer with, the id of a request - is added here.

use axum::Extension;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::presets::preset_schema;
use super::problem::{Problem, describe_refusals};
use super::register::registration_components;
use crate::job::{PublicUrl, job_components};
use crate::version::VERSION;

/// What changes with another version, or another `server.public_url`.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Methods as a path of the description names them.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What is said once for all routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pixerve",
        description = "Takes in pictures with signed jobs, makes variants of them and stores those.\n\n\
            A token is a JWT; its `job` claim, which the schema `Job` describes, says what to do with an upload. Errors are \
            problem documents (RFC 9457) with a stable `code`. Every route that takes GET takes HEAD too; one that has no \
            such method answers 405 `method_not_allowed`, with `Allow`. `OPTIONS` answers 204 with `Allow`, or a browser's \
            preflight.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "Upload", description = "Taking pictures in."),
        (name = "Jobs", description = "What becomes of them."),
        (name = "Callbacks", description = "Telling of jobs, and what became of that."),
        (name = "Files", description = "What was made, from the server's own directory."),
        (name = "Register", description = "Users and stores."),
        (name = "Presets", description = "Jobs that tokens name."),
        (name = "Server", description = "How the server is, and what it takes."),
    ),
    components(schemas(Problem))
)]
struct Common;

/// What all routes and callbacks are described in, as it is served. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Description(Bytes);

/// The `Link` to the description, for clients who reach the server at `public_url` (RFC 8631).
pub(super) fn link(public_url: &PublicUrl) -> String {
    format!("<{}>; rel=\"service-desc\"; type=\"application/json\"", public_url.path("/openapi.json"))
}

/// What is described before any route is.
pub(super) fn common() -> utoipa::openapi::OpenApi {
    Common::openapi()
}

impl Description {
    /// That of these routes and callbacks, for clients who reach the server at `public_url`. Requests of `limited` paths are
    /// counted against limits, which their answers tell of.
    pub(super) fn of(
        routes: utoipa::openapi::OpenApi,
        callbacks: utoipa::openapi::OpenApi,
        limited: &[String],
        public_url: &PublicUrl,
    ) -> Self {
        let document = document(routes, callbacks, limited, public_url);
        Self(Bytes::from(document.to_string()))
    }
}

/// The description of every route, of the callbacks and of jobs: an OpenAPI document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Server", operation_id = "openapi",
    responses((
        status = 200, description = "This document.", content_type = "application/json", body = Object,
        headers(("Cache-Control" = String, description = "It may be kept for five minutes."))
    ))
)]
pub(super) async fn openapi(Extension(Description(document)): Extension<Description>) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, CACHE)], document).into_response()
}

fn document(
    mut routes: utoipa::openapi::OpenApi,
    callbacks: utoipa::openapi::OpenApi,
    limited: &[String],
    public_url: &PublicUrl,
) -> Value {
    routes.merge(callbacks.clone());
    routes.webhooks = callbacks.webhooks;
    let mut document = serde_json::to_value(&routes).expect("INVARIANT: a description is written as JSON");
    document["info"]["version"] = VERSION.version.into();
    // `servers` without a slash at their end: paths begin with one.
    let root = public_url.path("");
    document["servers"] = json!([{ "url": if root.is_empty() { "/" } else { root.as_str() } }]);
    add_components(&mut document["components"]);
    for path in objects(&mut document["paths"]) {
        describe_path(path);
    }
    for path in limited {
        describe_limits(&mut document["paths"][path]);
    }
    describe_private_files(&mut document["paths"]);
    describe_head_of_files(&mut document["paths"]);
    document
}

fn add_components(components: &mut Value) {
    for (name, schema) in job_components().into_iter().chain(registration_components()) {
        components["schemas"][name] = schema;
    }
    components["schemas"]["Preset"] = preset_schema();
    if let Some(schemas) = components["schemas"].as_object_mut() {
        schemas.sort_keys();
    }
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    components["headers"] = json!({
        "X-Request-ID": text("The id of the request, which its log lines have too."),
        "Cache-Control": text("Whether the answer may be kept; `no-store` for refusals and for what may change."),
        "RateLimit-Policy": text(
            "The limits that the request was counted against, as a list of structured fields \
             (draft-ietf-httpapi-ratelimit-headers-11): `address`, and with uploads `user`; `q` requests may come at once, in `w` \
             seconds on average. Not there where nothing is limited.",
        ),
        "RateLimit": text(
            "The one of them that is nearest to its end: `r` more requests may come at once; `t` seconds until one more may where `r` is \
             0, else until all may.",
        ),
        "Content-Range": text("How many bytes the file has."),
        "Referrer-Policy": text("`no-referrer`: the address, which may hold a token, is told to nobody."),
        "X-Robots-Tag": text("`noindex`: no search engine keeps it."),
        "WWW-Authenticate": text("What kind of token is needed, and which scope it lacks (RFC 6750)."),
        "Retry-After": {
            "description": "Seconds after which it is worth another try.",
            "schema": { "type": "integer", "minimum": 1 },
        },
    });
    components["parameters"] = json!({
        "X-Request-ID": {
            "name": "X-Request-ID", "in": "header", "schema": { "type": "string" },
            "description": "An id for the request, kept if it is 1 to 64 of `[A-Za-z0-9._-]`.",
        },
    });
    components["securitySchemes"] = json!({
        "token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token signed by a key of `jwt.json` or by a registered user. `admin` stands for the scope of \
                that name, which counts with keys of `jwt.json` alone.",
        },
        "query": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "The same token in the address, where there is no `Authorization`: an `<img>` sends none.",
        },
        "scraper": { "type": "http", "scheme": "bearer", "description": "The token in `metrics.token`." },
    });
}

fn describe_path(path: &mut Map<String, Value>) {
    for (_, operation) in path.iter_mut().filter(|(method, _)| METHODS.contains(&method.as_str())) {
        if let Some(body) = operation.get_mut("requestBody") {
            describe_body(body);
        }
        if let Value::Object(responses) = &mut operation["responses"] {
            describe_refusals(responses);
            responses.values_mut().for_each(describe_headers);
        }
    }
    path.insert("parameters".into(), json!([{ "$ref": "#/components/parameters/X-Request-ID" }]));
}

/// A body is needed, but for one that is described as an `Option`: such a one is left out, and is no `null`.
fn describe_body(body: &mut Value) {
    let of_json = body.pointer_mut("/content/application~1json/schema");
    let optional = of_json.filter(|schema| schema["oneOf"][1]["type"] == "null");
    let is_needed = optional.is_none();
    if let Some(schema) = optional {
        *schema = schema["oneOf"][0].take();
    }
    body["required"] = is_needed.into();
}

/// Those that a response has because of what it is.
fn describe_headers(response: &mut Value) {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    response["headers"]["X-Request-ID"] = header("X-Request-ID");
    let is_json = response.pointer("/content/application~1json").is_some();
    if is_json && response.pointer("/headers/Cache-Control").is_none() {
        response["headers"]["Cache-Control"] = header("Cache-Control");
    }
}

/// What every answer says of the limits that its request was counted against; not where there was no request yet.
fn describe_limits(path: &mut Value) {
    for operation in objects(path) {
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (_, response) in
            responses.into_iter().flatten().filter(|(status, _)| !["414", "431"].contains(&status.as_str()))
        {
            for name in ["RateLimit", "RateLimit-Policy"] {
                response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
}

/// What every answer about a private file says, refusals too.
fn describe_private_files(paths: &mut Value) {
    let Some(path) = paths.get_mut(super::files::private::PATH) else { return };
    for operation in objects(path) {
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (_, response) in
            responses.into_iter().flatten().filter(|(status, _)| !["414", "431"].contains(&status.as_str()))
        {
            for name in ["Referrer-Policy", "X-Robots-Tag"] {
                response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
}

/// `HEAD` goes wherever `GET` does; for files it is more than a courtesy.
fn describe_head_of_files(paths: &mut Value) {
    for (path, id, summary) in [
        (super::files::PATH, "file_head", "What a stored file is, without its bytes"),
        (super::files::private::PATH, "private_file_head", "What a private file is, without its bytes"),
        (super::image::PATH, "image_head", "Which picture would be sent, without its bytes"),
    ] {
        let Some(path) = paths.get_mut(path) else { continue };
        let mut head = path["get"].clone();
        head["operationId"] = id.into();
        head["summary"] = summary.into();
        for response in objects(&mut head["responses"]) {
            response.shift_remove("content");
        }
        // A range is defined for GET alone.
        for status in ["206", "416"] {
            head["responses"].as_object_mut().map(|responses| responses.shift_remove(status));
        }
        path["head"] = head;
    }
}

fn objects(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}
