//! `/openapi.json` says what the server does: its routes, its codes, its answers.

mod client;
mod postman;
pub(crate) mod schemathesis;

use std::collections::BTreeSet;

use futures_util::StreamExt;
use pixerve::job::ErrorCode;
use pixerve::routes::status_of;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, small_job};
use crate::harness::described::{Answer, Described};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::stores::dead_store;
use crate::harness::token::Claims;

/// What no operation answers, and why.
const OF_NO_OPERATION: [(ErrorCode, &str); 1] =
    [(ErrorCode::MethodNotAllowed, "it is for methods that a path doesn't have")];

fn words<'a>(codes: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    codes.map(|code| code.as_str().expect("a word").to_owned()).collect()
}

#[tokio::test]
async fn the_codes_of_the_description_are_those_of_problem_documents() {
    let app = TestApp::start().await;
    let described = Described::of(&app).await;
    let refusals = || ErrorCode::ALL.iter().copied().filter(|code| status_of(*code).is_some());
    let known: BTreeSet<String> = refusals().map(|code| code.to_string()).collect();
    let schema = &described.document()["components"]["schemas"]["ProblemCode"];
    assert_eq!(words(schema["enum"].as_array().expect("words").iter()), known);

    let of_jobs = ErrorCode::ALL.iter().filter(|code| code.ends_jobs()).map(ToString::to_string).collect();
    let schema = &described.document()["components"]["schemas"]["JobErrorCode"]["anyOf"][0];
    assert_eq!(words(schema["enum"].as_array().expect("words").iter()), of_jobs);

    // Each with its own status, and each somewhere.
    let mut answered = BTreeSet::new();
    for (path, item) in described.document()["paths"].as_object().expect("paths") {
        for (status, response) in item
            .as_object()
            .expect("an item")
            .values()
            .filter_map(|operation| operation["responses"].as_object())
            .flatten()
        {
            let Some(codes) =
                response.pointer("/content/application~1problem+json/schema/allOf/1/properties/code/enum")
            else {
                continue;
            };
            for code in words(codes.as_array().expect("words").iter()) {
                let known = ErrorCode::of(&code).and_then(status_of).map(|status| status.as_str().to_owned());
                assert_eq!(known.as_ref(), Some(status), "{path}: {code}");
                answered.insert(code);
            }
        }
    }
    let of_none: BTreeSet<String> = OF_NO_OPERATION.iter().map(|(code, _)| code.to_string()).collect();
    let missing: Vec<_> = known.difference(&answered).filter(|code| !of_none.contains(*code)).collect();
    assert!(
        missing.is_empty(),
        "no operation says that it may answer {missing:?}: name them in `refusals!` of those that do"
    );
}

#[tokio::test]
async fn the_schema_that_the_command_prints_is_that_of_the_description() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pixerve"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = command.args(["token", "--schema"]).current_dir(dir.path()).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let app = TestApp::start().await;
    let described = Described::of(&app).await.document()["components"]["schemas"]["Job"].clone();
    assert_eq!(
        printed["properties"].to_string().replace("#/$defs/", "#/components/schemas/"),
        described["properties"].to_string()
    );
    let schema = jsonschema::draft202012::new(&printed).expect("a schema of its own");
    assert!(schema.is_valid(&small_job()));
    let mut typo = small_job();
    typo["keepOrignal"] = json!(true);
    assert!(!schema.is_valid(&typo), "unknown fields are refused");
}

#[tokio::test]
async fn every_method_of_a_path_is_described_and_no_other_is_there() {
    let app = TestApp::start().await;
    let described = Described::of(&app).await;
    for (path, methods) in described.routes() {
        let path = path.replace("{path}", "a.jpg").replace("{file}", "style.css").replace("{name}", "avatar");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let request = app.request(method.parse().expect("a method"), &path);
            let status = request.send().await.expect("an answer").status().as_u16();
            assert_eq!(status == 405, !methods.contains(method), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn the_description_names_no_address_outside_and_follows_the_public_url() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_PUBLIC_URL", "https://example.com/images")]).await;
    let described = Described::of(&app).await;
    assert_eq!(described.document()["openapi"], "3.1.0");
    assert_eq!(described.document()["servers"], json!([{ "url": "/images" }]));
    for path in ["/version", "/docs"] {
        let link = app.get(path).await.headers().get("link").cloned().expect("a link");
        assert_eq!(link, r#"</images/openapi.json>; rel="service-desc"; type="application/json""#, "{path}");
    }
    let text = described.document().to_string();
    assert!(!text.contains("http://") && !text.contains("https://"), "an address of elsewhere: {text}");
}

/// A form with a picture.
fn form(bytes: Vec<u8>) -> Form {
    Form::new().part("file", Part::bytes(bytes).file_name("a.jpg"))
}

struct Fixture {
    app: TestApp,
    described: Described,
}

impl Fixture {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let app = TestApp::start_with(settings).await;
        let described = Described::of(&app).await;
        Self { app, described }
    }

    /// What must be described, with the status that is expected.
    async fn answers(
        &self,
        status: u16,
        method: Method,
        path: &str,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let answer = self.described.send(change(self.app.request(method.clone(), path))).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        answer
    }

    async fn get(&self, status: u16, path: &str) -> Answer {
        self.answers(status, Method::GET, path, |request| request).await
    }

    async fn admin(&self, status: u16, method: Method, path: &str, body: Value) -> Answer {
        let token = Claims::of("operator").admin().sign();
        self.answers(status, method, path, |request| {
            let request = request.bearer_auth(token);
            if body.is_null() { request } else { request.json(&body) }
        })
        .await
    }

    async fn upload(&self, status: u16, job: Value, bytes: Vec<u8>) -> Answer {
        let token = Claims::of("me").job(job).sign();
        self.answers(status, Method::POST, "/upload", |request| request.bearer_auth(token).multipart(form(bytes))).await
    }
}

#[tokio::test]
async fn answers_of_the_server_about_itself_are_as_described() {
    let fixture = Fixture::start(&[]).await;
    for path in [
        "/health",
        "/health/live",
        "/version",
        "/limits",
        "/docs",
        "/docs/style.css",
        "/docs/script.js",
        "/openapi.json",
    ] {
        fixture.get(200, path).await;
    }
    fixture.get(404, "/docs/nothing").await;
    fixture.get(404, "/docs/%ff").await;
    fixture.get(401, "/metrics").await;
    fixture.admin(200, Method::GET, "/metrics", json!(null)).await;
    fixture.admin(200, Method::GET, "/limits", json!(null)).await;
    fixture.answers(401, Method::GET, "/limits", |request| request.bearer_auth("none")).await;
    let open = |request: reqwest::RequestBuilder| {
        request.header("accept", "application/openmetrics-text").bearer_auth(Claims::of("x").admin().sign())
    };
    fixture.answers(200, Method::GET, "/metrics", open).await;
    let user = |request: reqwest::RequestBuilder| request.bearer_auth(Claims::of("x").sign());
    fixture.answers(403, Method::GET, "/metrics", user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_register_are_as_described() {
    let fixture = &Fixture::start(&[]).await;
    let register = |status, body| fixture.admin(status, Method::POST, "/register", body);
    let user = register(201, json!({ "user": "shop" })).await.json();
    register(409, json!({ "user": "shop" })).await;
    register(422, json!({ "user": "" })).await;
    register(422, json!({ "type": "s3", "typo": 1 })).await;
    let store = register(201, dead_store()).await.json();
    register(201, json!({ "type": "gcs", "bucket": "pictures", "endpoint": "http://127.0.0.1:9" })).await;
    fixture.admin(422, Method::POST, "/register?verify=true", dead_store()).await;
    fixture.admin(400, Method::POST, "/register?verify=perhaps", dead_store()).await;
    let admin = Claims::of("operator").admin().sign();
    let post = |body: String| {
        let admin = admin.clone();
        |request: reqwest::RequestBuilder| request.bearer_auth(admin).body(body)
    };
    fixture.answers(400, Method::POST, "/register", post("no JSON".to_owned())).await;
    fixture.answers(413, Method::POST, "/register", post(" ".repeat(65 * 1024))).await;
    fixture.answers(401, Method::POST, "/register", |request| request).await;
    fixture.answers(403, Method::POST, "/register", |request| request.bearer_auth(Claims::of("x").sign())).await;
    fixture.admin(200, Method::GET, "/register", json!(null)).await;
    let renew = |status, body| fixture.admin(status, Method::POST, "/register/webhook-secret", body);
    renew(201, json!({ "access_key": user["access_key"] })).await;
    renew(404, json!({ "access_key": "none" })).await;
    renew(422, json!({ "typo": 1 })).await;
    renew(400, json!([])).await;
    let of = |access_key: &Value| format!("/register?access_key={}", access_key.as_str().expect("a key"));
    let change = |status, path: String, body| async move { fixture.admin(status, Method::PUT, &path, body).await };
    change(200, of(&user["access_key"]), json!({ "rotate": true, "overlap": "7days" })).await;
    change(422, of(&user["access_key"]), json!({ "rotate": false })).await;
    change(200, of(&store["access_key"]), dead_store()).await;
    change(422, format!("{}&verify=true", of(&store["access_key"])), dead_store()).await;
    change(404, of(&json!("none")), dead_store()).await;
    change(400, "/register".to_owned(), dead_store()).await;
    let waits = json!({ "storageKeys": { "s3": store["access_key"] }, "formats": { "jpg": { "sizes": [[8]] } } });
    let live = fixture.upload(200, waits, jpeg(16, 16, 1)).await.json();
    fixture.admin(409, Method::DELETE, &of(&store["access_key"]), json!(null)).await;
    let cancel = format!("/cancel?job_id={}", live["job_id"].as_str().expect("an id"));
    fixture.admin(204, Method::DELETE, &cancel, json!(null)).await;
    let deregister = |access_key: &Value| format!("/register?access_key={}", access_key.as_str().expect("a key"));
    fixture.admin(204, Method::DELETE, &deregister(&store["access_key"]), json!(null)).await;
    fixture.admin(404, Method::DELETE, &deregister(&store["access_key"]), json!(null)).await;
    fixture.admin(400, Method::DELETE, "/register", json!(null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_presets_are_as_described() {
    let files = tempfile::tempdir().expect("a directory");
    #[expect(clippy::disallowed_methods, reason = "a test's own file need not be durable")]
    std::fs::write(files.path().join("filed.json"), "{}").expect("written");
    let directory = files.path().display().to_string();
    let fixture = Fixture::start(&[("PIXERVE_PRESETS_DIR", &directory)]).await;
    let admin = Claims::of("operator").admin().sign();
    let with = |name: &'static str, value: String| {
        let admin = admin.clone();
        move |request: reqwest::RequestBuilder| request.bearer_auth(admin).header(name, value)
    };
    let put = |status, path, body| fixture.admin(status, Method::PUT, path, body);
    put(201, "/presets/avatar", small_job()).await;
    let etag = put(204, "/presets/avatar", json!({ "directHost": true })).await.headers["etag"].clone();
    put(409, "/presets/filed", json!({})).await;
    put(422, "/presets/avatar", json!({ "typo": 1 })).await;
    put(400, "/presets/avatar", json!([])).await;
    put(400, "/presets/No", json!({})).await;
    put(413, "/presets/avatar", json!({ "ref": "a".repeat(17 * 1024) })).await;
    fixture
        .answers(412, Method::PUT, "/presets/avatar", |request| {
            with("if-none-match", "*".to_owned())(request).json(&json!({}))
        })
        .await;
    for path in ["/presets", "/presets?limit=1"] {
        let list = fixture.admin(200, Method::GET, path, json!(null)).await.json();
        assert_eq!(list["presets"][0]["name"], "avatar", "{list}");
    }
    fixture.admin(400, Method::GET, "/presets?typo=1", json!(null)).await;
    fixture.admin(200, Method::GET, "/presets/avatar", json!(null)).await;
    fixture.answers(304, Method::GET, "/presets/avatar", with("if-none-match", etag.clone())).await;
    fixture.answers(412, Method::GET, "/presets/avatar", with("if-match", "\"other\"".to_owned())).await;
    fixture.admin(404, Method::GET, "/presets/none", json!(null)).await;
    let token = Claims::of("me").job(json!({ "preset": "none" })).sign();
    let unknown = |request: reqwest::RequestBuilder| request.bearer_auth(token).multipart(form(jpeg(8, 8, 1)));
    let unknown = fixture.answers(422, Method::POST, "/upload", unknown).await.json();
    assert_eq!(unknown["errors"][0]["preset"], "none", "{unknown}");
    fixture.answers(412, Method::DELETE, "/presets/avatar", with("if-match", "\"other\"".to_owned())).await;
    fixture.answers(204, Method::DELETE, "/presets/avatar", with("if-match", etag)).await;
    fixture.admin(404, Method::DELETE, "/presets/avatar", json!(null)).await;
    fixture.admin(409, Method::DELETE, "/presets/filed", json!(null)).await;
    for path in ["/presets", "/presets/avatar"] {
        fixture.get(401, path).await;
        fixture.answers(403, Method::GET, path, |request| request.bearer_auth(Claims::of("x").sign())).await;
    }
    let bound = json!({ "user": "bound", "presets": ["avatar"] });
    let user = fixture.admin(201, Method::POST, "/register", bound).await.json();
    fixture.admin(200, Method::GET, "/register", json!(null)).await;
    let path = format!("/register?access_key={}", user["access_key"].as_str().expect("a key"));
    for presets in [json!(["hero"]), json!(null)] {
        fixture.admin(200, Method::PUT, &path, json!({ "presets": presets })).await;
    }
    fixture.admin(422, Method::PUT, &path, json!({ "presets": [] })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_a_job_that_completes_and_its_files_are_as_described() {
    let fixture = Fixture::start(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "1MiB")]).await;
    let accepted = fixture
        .upload(
            200,
            json!({ "directHost": true, "keepOriginal": true, "formats": { "jpg": { "sizes": [[16]] } } }),
            jpeg(32, 32, 1),
        )
        .await
        .json();
    let of = |route: &str| format!("{route}?job_id={}", accepted["job_id"].as_str().expect("an id"));
    let events = fixture.app.get(&of("/events")).await;
    let done = fixture.get(200, &of("/status").replace("job_id", "wait=60&job_id")).await;
    assert_eq!(done.json()["state"], "completed");
    let known = |request: reqwest::RequestBuilder| request.header("if-none-match", &done.headers["etag"]);
    fixture.answers(304, Method::GET, &of("/status"), known).await;
    fixture.get(200, &format!("{},{}", of("/status"), "01890000-0000-7000-8000-000000000000")).await;
    assert_events(&fixture, events).await;
    fixture.get(200, &of("/events")).await;
    fixture.answers(204, Method::GET, &of("/events"), |request| request.header("last-event-id", "1000")).await;
    for route in ["/status", "/events"] {
        fixture.get(400, route).await;
        fixture.get(404, &format!("{route}?hash=none")).await;
    }
    for route in ["/success", "/failures"] {
        fixture.get(200, &of(route)).await;
        fixture.get(200, &format!("{route}?hash=none")).await;
        fixture.get(400, route).await;
    }
    for route in ["/success/list", "/failures/list"] {
        fixture.admin(200, Method::GET, &format!("{route}?limit=1"), json!(null)).await;
        fixture.admin(400, Method::GET, &format!("{route}?limit=-1"), json!(null)).await;
        fixture.get(401, route).await;
    }
    let cancel = |status, path: String| {
        fixture.answers(status, Method::DELETE, Box::leak(path.into_boxed_str()), |request| {
            request.bearer_auth(Claims::of("me").sign())
        })
    };
    let again = |job: Value| {
        let token = Claims::of("me").with("scope", json!("manage")).job(job).sign();
        |request: reqwest::RequestBuilder| request.bearer_auth(token)
    };
    let path = of("/reprocess");
    let second = fixture.answers(200, Method::POST, &path, again(small_job())).await.json();
    assert_eq!(second["reprocess_of"], accepted["job_id"]);
    fixture.answers(422, Method::POST, &path, again(json!({ "typo": 1 }))).await;
    fixture.answers(404, Method::POST, "/reprocess?hash=none", again(small_job())).await;
    fixture.answers(400, Method::POST, "/reprocess", again(small_job())).await;
    fixture.app.ended(&second).await;
    fixture.get(200, &format!("/success?job_id={}", second["job_id"].as_str().expect("an id"))).await;
    cancel(409, of("/cancel")).await;
    cancel(404, "/cancel?hash=none".to_owned()).await;
    cancel(400, "/cancel".to_owned()).await;
    fixture.answers(401, Method::DELETE, "/cancel", |request| request).await;
    for file in done.json()["files"].as_array().expect("files") {
        assert_file(&fixture, file["stored"][0]["location"].as_str().expect("a path")).await;
    }

    fixture.upload(415, small_job(), b"no picture".to_vec()).await;
    fixture.upload(413, small_job(), vec![0; 3 << 20]).await;
    fixture.upload(422, json!({ "typo": 1 }), jpeg(8, 8, 1)).await;
    fixture.answers(401, Method::POST, "/upload", |request| request.multipart(form(jpeg(8, 8, 1)))).await;
    let token = Claims::of("me").job(small_job()).sign();
    fixture.answers(400, Method::POST, "/upload", |request| request.bearer_auth(token).body("no form")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_a_private_file_are_as_described() {
    let fixture = Fixture::start(&[]).await;
    let job = json!({ "directHost": true, "private": true, "formats": { "jpg": { "sizes": [[16]] } } });
    let accepted = fixture.upload(200, job, jpeg(32, 32, 1)).await.json();
    let done = fixture.app.ended(&accepted).await;
    let location = done["files"][0]["stored"][0]["location"].as_str().expect("a path");
    let reader = Claims::of("me").with("read", json!("/private/")).sign();
    let with = |name: &'static str, value: String| {
        let reader = reader.clone();
        move |request: reqwest::RequestBuilder| request.bearer_auth(reader).header(name, value)
    };
    let whole = fixture.answers(200, Method::GET, location, with("accept", "*/*".to_owned())).await;
    fixture.answers(200, Method::HEAD, location, with("accept", "*/*".to_owned())).await;
    fixture.answers(304, Method::GET, location, with("if-none-match", whole.headers["etag"].clone())).await;
    fixture.answers(412, Method::GET, location, with("if-match", "\"another\"".to_owned())).await;
    fixture.answers(206, Method::GET, location, with("range", "bytes=0-9".to_owned())).await;
    fixture.answers(416, Method::GET, location, with("range", "bytes=99999999-".to_owned())).await;
    fixture.answers(404, Method::GET, &format!("{location}.none"), with("accept", "*/*".to_owned())).await;
    fixture.get(200, &format!("{location}?token={reader}")).await;
    fixture.get(401, location).await;
    for (method, path) in
        [(Method::DELETE, "/cancel?hash=none"), (Method::GET, "/limits"), (Method::GET, "/status?ref=x")]
    {
        fixture.answers(403, method, path, with("accept", "*/*".to_owned())).await;
    }
    let upload = |request: reqwest::RequestBuilder| request.bearer_auth(reader.clone()).multipart(form(jpeg(8, 8, 1)));
    fixture.answers(403, Method::POST, "/upload", upload).await;
}

async fn assert_file(fixture: &Fixture, location: &str) {
    let whole = fixture.get(200, location).await;
    let with = |name: &'static str, value: String| move |request: reqwest::RequestBuilder| request.header(name, value);
    fixture.answers(200, Method::HEAD, location, |request| request).await;
    fixture.answers(304, Method::GET, location, with("if-none-match", whole.headers["etag"].clone())).await;
    fixture.answers(412, Method::GET, location, with("if-match", "\"another\"".to_owned())).await;
    fixture.answers(206, Method::GET, location, with("range", "bytes=0-9".to_owned())).await;
    fixture.answers(416, Method::GET, location, with("range", "bytes=99999999-".to_owned())).await;
    fixture.get(404, &format!("{location}.none")).await;
}

/// The data of each event is what the description says that it is.
async fn assert_events(fixture: &Fixture, response: reqwest::Response) {
    let mut text = String::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk")));
    }
    let mut seen = BTreeSet::new();
    for event in text.split("\n\n") {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (Some(kind), Some(data)) = (field("event"), field("data")) else { continue };
        let schema = fixture.described.schema(if kind == "file" { "ShownFile" } else { "Status" });
        let data: Value = serde_json::from_str(data).expect("JSON");
        fixture.described.validate(&schema, &data).unwrap_or_else(|why| panic!("{kind}: {why}\n{data}"));
        seen.insert(kind.to_owned());
    }
    assert!(seen.contains("status") && seen.contains("end"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_jobs_that_wait_fail_and_are_cancelled_are_as_described() {
    let fixture = Fixture::start(&[]).await;
    let store = fixture.app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[8]] } } });
    let waits = fixture.upload(200, job.clone(), jpeg(16, 16, 1)).await.json();
    fixture.upload(409, job, jpeg(16, 16, 1)).await;
    let of = |route: &str, accepted: &Value| format!("{route}?job_id={}", accepted["job_id"].as_str().expect("an id"));
    fixture.app.wait_for(&waits, "to wait for its store", |status| status.get("waiting_for").is_some()).await;
    for route in ["/status", "/success"] {
        fixture.get(200, &of(route, &waits)).await;
    }
    let cancel = |request: reqwest::RequestBuilder| request.bearer_auth(Claims::of("me").sign());
    fixture.answers(204, Method::DELETE, &of("/cancel", &waits), cancel).await;
    fixture.get(200, &of("/success", &waits)).await;

    let mut cut = jpeg(400, 400, 2);
    cut.truncate(cut.len() / 2);
    let fails = fixture.upload(200, small_job(), cut).await.json();
    assert_eq!(fixture.app.ended(&fails).await["state"], "failed");
    for route in ["/status", "/failures"] {
        fixture.get(200, &of(route, &fails)).await;
    }
    let list = fixture.admin(200, Method::GET, "/failures/list", json!(null)).await.json();
    assert_eq!(list["count"], 1, "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_are_as_their_webhooks_are_described() {
    let fixture = Fixture::start(&[("PIXERVE_STORES_BACKOFF_MIN", "60s"), ("PIXERVE_STORES_BACKOFF_MAX", "60s")]).await;
    let receiver = Receiver::start().await;
    let webhooks = fixture.described.document()["webhooks"].as_object().expect("webhooks").clone();
    // What is owed of files is dropped once the end is delivered: those are asked for by themselves.
    let (of_files, ends): (Vec<_>, Vec<_>) = webhooks.keys().partition(|event| *event == "file.stored");
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    job["callbackEvents"] = json!(ends);
    let mut seen = BTreeSet::new();
    let mut assert_call = async || {
        let call = receiver.call().await;
        let event = call.body["type"].as_str().expect("a type").to_owned();
        let webhook = &webhooks.get(&event).unwrap_or_else(|| panic!("`{event}` isn't described"))["post"];
        let schema = &webhook["requestBody"]["content"]["application/json"]["schema"];
        fixture.described.validate(schema, &call.body).unwrap_or_else(|why| panic!("{event}: {why}\n{}", call.body));
        for parameter in webhook["parameters"].as_array().expect("parameters") {
            let name = parameter["name"].as_str().expect("a name");
            assert!(call.headers.contains_key(name), "{event}: {name}");
        }
        seen.insert(event);
    };
    let erased = fixture.upload(200, job.clone(), jpeg(16, 16, 1)).await.json();
    assert_call().await;
    let path = format!("/erase?job_id={}", erased["job_id"].as_str().expect("an id"));
    fixture.admin(200, Method::DELETE, &path, json!(null)).await;
    assert_call().await;
    let mut tells_files = job.clone();
    tells_files["callbackEvents"] = json!(of_files);
    fixture.upload(200, tells_files, jpeg(16, 16, 4)).await;
    assert_call().await;
    let mut cut = jpeg(400, 400, 2);
    cut.truncate(cut.len() / 2);
    fixture.upload(200, job.clone(), cut).await;
    assert_call().await;
    job["directHost"] = json!(false);
    job["storageKeys"] = json!({ "s3": fixture.app.register(dead_store()).await });
    let waits = fixture.upload(200, job, jpeg(16, 16, 3)).await.json();
    let path = format!("/cancel?job_id={}", waits["job_id"].as_str().expect("an id"));
    fixture.answers(204, Method::DELETE, &path, |request| request.bearer_auth(Claims::of("me").sign())).await;
    assert_call().await;
    assert_eq!(seen, webhooks.keys().cloned().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_callbacks_are_as_described() {
    let fixture = Fixture::start(&[("PIXERVE_CALLBACK_RETRY_WAITS", "1ms")]).await;
    let receiver = Receiver::start().await;
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    job["ref"] = json!("order 17");
    receiver.answer(500);
    let accepted = fixture.upload(200, job.clone(), jpeg(16, 16, 1)).await.json();
    let given_up = |status: &Value| status["callback"]["state"] == "given_up";
    fixture.app.wait_for(&accepted, "whose callback is given up", given_up).await;
    let of = |route: &str| format!("{route}?job_id={}", accepted["job_id"].as_str().expect("an id"));
    for route in ["/status", "/success"] {
        fixture.get(200, &of(route)).await;
    }
    let own = |request: reqwest::RequestBuilder| request.bearer_auth(Claims::of("me").sign());
    fixture.answers(200, Method::GET, "/status?ref=order+17", own).await;
    fixture.answers(401, Method::GET, "/status?ref=order+17", |request| request).await;

    let listed = fixture.admin(200, Method::GET, "/deliveries?state=given_up&limit=1", json!(null)).await.json();
    assert_eq!(listed["count"], 1, "{listed}");
    fixture.admin(200, Method::GET, &of("/deliveries"), json!(null)).await;
    fixture.admin(404, Method::GET, "/deliveries?job_id=01890000-0000-7000-8000-000000000000", json!(null)).await;
    fixture.admin(400, Method::GET, "/deliveries?state=lost", json!(null)).await;
    fixture.admin(400, Method::GET, "/deliveries?state=pending&cursor=-", json!(null)).await;
    fixture.get(401, "/deliveries").await;
    fixture.answers(403, Method::GET, "/deliveries", own).await;
    let redeliver = |status, body| fixture.admin(status, Method::POST, "/deliveries/redeliver", body);
    redeliver(202, json!({ "ids": [accepted["job_id"]] })).await;
    redeliver(202, json!({ "state": "given_up", "since": "2026-01-01T00:00:00Z" })).await;
    redeliver(422, json!({ "ids": [], "state": "given_up" })).await;
    redeliver(400, json!([])).await;

    job["onDuplicate"] = json!("queue");
    job["once"] = json!(true);
    let once = Claims::of("me").job(job).with("jti", json!("the only one")).sign();
    let upload = async |status, bytes| {
        let token = once.clone();
        fixture
            .answers(status, Method::POST, "/upload", |request| request.bearer_auth(token).multipart(form(bytes)))
            .await
    };
    upload(200, jpeg(16, 16, 2)).await;
    upload(409, jpeg(16, 16, 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_erasing_are_as_described() {
    let fixture = Fixture::start(&[]).await;
    let upload = async || {
        let accepted = fixture.upload(200, small_job(), jpeg(16, 16, 1)).await.json();
        fixture.app.ended(&accepted).await;
        format!("/erase?job_id={}", accepted["job_id"].as_str().expect("an id"))
    };
    upload().await;
    let path = upload().await;
    fixture.admin(200, Method::DELETE, &format!("{path}&dry_run=true"), json!(null)).await;
    let erased = fixture.admin(200, Method::DELETE, &path, json!(null)).await.json();
    assert_eq!(erased["files"]["kept"], 1, "{erased}");
    let order = format!("/erasures/{}", erased["erasure_id"].as_str().expect("an id"));
    fixture.admin(200, Method::GET, &order, json!(null)).await;
    fixture.admin(404, Method::DELETE, &path, json!(null)).await;
    fixture.admin(404, Method::GET, "/erasures/none", json!(null)).await;
    fixture.admin(400, Method::DELETE, "/erase", json!(null)).await;
    fixture.get(401, &order).await;
    let own = |request: reqwest::RequestBuilder| request.bearer_auth(Claims::of("me").sign());
    fixture.answers(403, Method::DELETE, &path, own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_tokens_are_as_described() {
    let app = TestApp::start_demo(&[]).await;
    let described = Described::of(&app).await;
    let fixture = Fixture { app, described };
    let html = |request: reqwest::RequestBuilder| request.header("accept", "text/html");
    fixture.answers(200, Method::GET, "/", html).await;
    fixture.get(404, "/").await;
    fixture.get(200, "/page/page.css").await;
    fixture.get(404, "/page/nothing").await;
    fixture.get(200, "/demo-token").await;
    fixture.get(200, "/demo-token?scope=manage").await;
    fixture.get(400, "/demo-token?job=no").await;
    fixture.get(400, "/demo-token?scope=admin").await;
    fixture.get(422, "/demo-token?job=%7B%22typo%22%3A1%7D").await;
    let forwarded = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", "192.0.2.1");
    fixture.answers(403, Method::GET, "/demo-token", forwarded).await;
}

#[tokio::test]
async fn a_paused_server_answers_as_described() {
    let fixture = Fixture::start(&[("PIXERVE_PAUSED", "true")]).await;
    fixture.get(200, "/health").await;
    fixture.upload(503, small_job(), jpeg(8, 8, 1)).await;
    fixture.admin(503, Method::POST, "/register", json!({ "user": "shop" })).await;
    fixture.admin(503, Method::POST, "/register/webhook-secret", json!({ "access_key": "x" })).await;
    fixture.admin(503, Method::PUT, "/presets/avatar", json!({})).await;
}

#[tokio::test]
async fn the_page_is_off_where_it_is_set_so_and_the_description_stays() {
    let fixture = Fixture::start(&[("PIXERVE_SERVER_DOCS", "false")]).await;
    for path in ["/docs", "/docs/style.css", "/docs/script.js"] {
        fixture.get(404, path).await;
    }
    fixture.get(200, "/openapi.json").await;
}
