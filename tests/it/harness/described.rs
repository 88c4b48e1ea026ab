//! Answers, held against the server's own description.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::api::Api;

/// Headers that the protocol has, or that every answer on some routes has to keep browsers from harm: they are not described.
const UNDESCRIBED: [&str; 12] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-resource-policy",
    "date",
    "keep-alive",
    "transfer-encoding",
    "vary",
    "x-content-type-options",
];
/// What answers of some operation have and others of the same operation not.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The description that a server gives of itself.
pub(crate) struct Described {
    document: Value,
}

/// What an answer was, as far as it is held against the description.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        Self { status, headers, body: response.bytes().await.expect("a whole body").to_vec() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Described {
    pub(crate) async fn of(api: &Api) -> Self {
        Self::new(api.get_json("/openapi.json").await)
    }

    pub(crate) fn new(document: Value) -> Self {
        Self { document }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Every route: its path with its methods in capitals.
    pub(crate) fn routes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let paths = self.document["paths"].as_object().expect("paths");
        let methods = |item: &Value| {
            METHODS.iter().filter(|method| item.get(method).is_some()).map(|method| method.to_uppercase()).collect()
        };
        paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
    }

    /// The path of the description that `path` is one of.
    pub(crate) fn template(&self, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap_or_default();
        let paths = self.document["paths"].as_object().expect("paths").keys();
        let is_of = |template: &&String| match template.split_once('{') {
            Some((start, _)) => path.strip_prefix(start).is_some_and(|rest| !rest.is_empty()),
            None => *template == path,
        };
        // One without a parameter goes before one with.
        paths.filter(is_of).min_by_key(|template| template.contains('{')).map(String::as_str)
    }

    /// Sends `request` and holds the answer against the description.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = Answer::of(client.execute(request).await.expect("an answer")).await;
        if let Err(why) = self.check(&method, &path, &answer) {
            panic!(
                "{method} {path} answered {} as it isn't described: {why}\n{}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        answer
    }

    /// Whether a request of this method for this path is answered like that, by the description; else what it lacks.
    pub(crate) fn check(&self, method: &Method, path: &str, answer: &Answer) -> Result<(), String> {
        let Some(template) = self.template(path) else { return Err(format!("no path `{path}`; describe its handler")) };
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        if operation.is_null() {
            return Err(format!("`{template}` has no such method"));
        }
        let response = &operation["responses"][answer.status.to_string()];
        if response.is_null() {
            let known =
                operation["responses"].as_object().map(|known| known.keys().cloned().collect::<Vec<_>>().join(", "));
            return Err(format!(
                "`{template}` has no response {}; it has {}",
                answer.status,
                known.unwrap_or_default()
            ));
        }
        check_headers(response, answer)?;
        self.check_body(response, answer)
    }

    fn check_body(&self, response: &Value, answer: &Answer) -> Result<(), String> {
        let Some(content) = response["content"].as_object() else {
            return if answer.body.is_empty() { Ok(()) } else { Err("there is no content, but a body".to_owned()) };
        };
        if answer.body.is_empty() {
            return Ok(());
        }
        let given =
            answer.headers.get("content-type").map_or("", |given| given.split("; charset").next().unwrap_or_default());
        let is_given =
            |described: &str| described.strip_suffix('*').map_or(given == described, |kind| given.starts_with(kind));
        let Some((media_type, described)) = content.iter().find(|(described, _)| is_given(described)) else {
            return Err(format!(
                "the content is `{given}`; described are {}",
                content.keys().cloned().collect::<Vec<_>>().join(", ")
            ));
        };
        if !media_type.ends_with("json") || described["schema"].is_null() {
            return Ok(());
        }
        self.validate(&described["schema"], &answer.json())
    }

    /// Whether `value` is as `schema` says, and has nothing that this doesn't mention.
    pub(crate) fn validate(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut root = json!({ "components": self.document["components"], "allOf": [schema] });
        if !is_any_object(schema) {
            root["unevaluatedProperties"] = json!(false);
        }
        refuse_unmentioned(&mut root["components"]["schemas"]);
        let validator = jsonschema::draft202012::new(&root).map_err(|error| format!("the schema is none: {error}"))?;
        let errors: Vec<_> =
            validator.iter_errors(value).map(|error| format!("at `{}`: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }

    /// The schema of this name.
    pub(crate) fn schema(&self, name: &str) -> Value {
        assert!(self.document["components"]["schemas"].get(name).is_some(), "no schema `{name}`");
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

fn check_headers(response: &Value, answer: &Answer) -> Result<(), String> {
    let described: BTreeSet<String> =
        response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase()).collect();
    let given = answer.headers.keys().filter(|name| !UNDESCRIBED.contains(&name.as_str()));
    let missing: Vec<_> = given.filter(|name| !described.contains(*name)).map(String::as_str).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("these headers are not described: {}", missing.join(", "))) }
}

/// Makes every schema of a value inside another refuse what it doesn't mention: what clients may pass over must be told to
/// them all the same. Parts of a whole (`allOf` and the like) are looked at as the whole that they are.
fn refuse_unmentioned(schema: &mut Value) {
    for (keyword, inner) in schema.as_object_mut().into_iter().flatten() {
        match (keyword.as_str(), inner) {
            ("properties" | "patternProperties", Value::Object(properties)) => {
                properties.values_mut().for_each(close);
            }
            ("items", items) => close(items),
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => parts.iter_mut().for_each(refuse_unmentioned),
            (_, inner @ Value::Object(_)) => refuse_unmentioned(inner),
            _ => {}
        }
    }
}

fn close(schema: &mut Value) {
    refuse_unmentioned(schema);
    let is_open = schema.get("additionalProperties").is_some() || is_any_object(schema);
    if let (Value::Object(fields), false) = (schema, is_open) {
        fields.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

/// An object of which nothing is said: a job's claim in a callback.
fn is_any_object(schema: &Value) -> bool {
    schema["type"] == "object" && schema.get("properties").is_none()
}

#[test]
fn what_a_schema_does_not_mention_is_refused_at_any_depth() {
    let inner = json!({ "type": "object", "properties": { "b": { "type": "integer" } } });
    let flat =
        json!({ "allOf": [{ "$ref": "#/components/schemas/Inner" }, { "type": "object", "properties": { "c": {} } }] });
    let outer = json!({ "type": "object", "properties": { "a": { "type": "array", "items": { "$ref": "#/components/schemas/Flat" } }, "any": { "type": "object" } } });
    let described =
        Described::new(json!({ "components": { "schemas": { "Inner": inner, "Flat": flat, "Outer": outer } } }));
    let schema = described.schema("Outer");
    described
        .validate(&schema, &json!({ "a": [{ "b": 1, "c": 2 }], "any": { "d": 1 } }))
        .expect("all of it is mentioned");
    for unmentioned in [json!({ "d": 1 }), json!({ "a": [{ "b": 1, "d": 2 }] }), json!({ "a": [{ "b": "text" }] })] {
        described.validate(&schema, &unmentioned).expect_err("it isn't described");
    }
}
