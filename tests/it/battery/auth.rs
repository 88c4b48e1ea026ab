//! Forged, stale and mistaken tokens; who may do what.
//!
//! Proved elsewhere: which tokens are taken and which are refused, and as what (`crate::auth::{taken, refused}`); the
//! published examples, second spellings, 64 KiB in 10 ms (`crate::auth::vectors`); keys that are refused at start
//! (`crate::auth::keys`); what a registered user may and may not (`crate::register::registered`); single routes without a
//! token (`crate::http`). Here: every route against everybody, over the wire.

use std::fs::File;
use std::io::Write;

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::figure;
use crate::harness::app::{TestApp, WAIT_MAX, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::stores::dead_store;
use crate::harness::token::Claims;

/// Who knocks. B is a registered user and claims to be admin, as the forger does.
const IDENTITIES: [&str; 5] = ["nobody", "forged", "A", "B", "admin"];

/// A route, and what each of [`IDENTITIES`] is answered.
type Row = (Method, &'static str, [u16; 5]);

/// `{job}` is a job of A's that waits for a store; `{foreign}` a store of A's user; `{file}` a stored file.
fn routes() -> Vec<Row> {
    let everyone = [200; 5];
    let admin = |status| [401, 401, 403, 403, status];
    vec![
        (Method::POST, "/upload", [401, 401, 200, 200, 200]),
        (Method::GET, "/status?hash={job}", everyone),
        (Method::GET, "/status?hash={job}&wait=61", [400; 5]),
        (Method::GET, "/events", [400; 5]),
        (Method::GET, "/events?hash=none", [404; 5]),
        (Method::GET, "/success?hash={job}", everyone),
        (Method::GET, "/failures?hash={job}", everyone),
        (Method::DELETE, "/cancel?hash={job}", [401, 401, 204, 404, 204]),
        (Method::DELETE, "/cancel?hash=none", [401, 401, 404, 404, 404]),
        (Method::DELETE, "/cancel", [401, 401, 400, 400, 400]),
        (Method::GET, "/deliveries?state=pending", admin(200)),
        (Method::DELETE, "/erase", admin(400)),
        (Method::DELETE, "/erase?hash=none", admin(400)),
        (Method::GET, "/erasures/none", admin(404)),
        (Method::POST, "/deliveries/redeliver", admin(400)),
        (Method::GET, "/limits", [200, 401, 200, 200, 200]),
        (Method::POST, "/register/webhook-secret", admin(400)),
        (Method::GET, "/success/list", admin(200)),
        (Method::GET, "/failures/list", admin(200)),
        (Method::GET, "/success/list?limit=-1", admin(400)),
        (Method::POST, "/register", admin(201)),
        (Method::POST, "/register?verify=true", admin(201)),
        (Method::GET, "/register", admin(200)),
        (Method::PUT, "/register?access_key=pxu_none", admin(404)),
        (Method::PUT, "/register", admin(400)),
        (Method::POST, "/reprocess", admin(400)),
        (Method::DELETE, "/register?access_key=pxu_none", admin(404)),
        (Method::DELETE, "/register", admin(400)),
        (Method::GET, "/health", everyone),
        (Method::GET, "/health/live", everyone),
        (Method::GET, "/version", everyone),
        (Method::GET, "/openapi.json", everyone),
        (Method::GET, "/docs", everyone),
        (Method::GET, "/docs/script.js", everyone),
        (Method::GET, "{file}", everyone),
        (Method::HEAD, "{file}", everyone),
        // What isn't there is there for nobody, and what can't be done isn't done for anybody.
        (Method::GET, "/metrics", admin(200)),
        (Method::GET, "/register/list", [404; 5]),
        (Method::GET, "/", [404; 5]),
        (Method::GET, "/page/try.js", [404; 5]),
        (Method::GET, "/demo-token", [404; 5]),
        (Method::GET, "/files/", [404; 5]),
        (Method::GET, "/files/none.jpg", [404; 5]),
        (Method::GET, "/upload", [405; 5]),
        (Method::PATCH, "/register", [405; 5]),
        (Method::GET, "/cancel?hash={job}", [405; 5]),
        (Method::DELETE, "/success/list", [405; 5]),
        (Method::DELETE, "{file}", [405; 5]),
    ]
}

struct AuthFixture {
    app: TestApp,
    /// A store that never answers: what goes there stays alive.
    store: String,
    /// B's access key and secret.
    b: (String, String),
    file: String,
    seed: std::sync::atomic::AtomicU32,
}

impl AuthFixture {
    async fn new() -> Self {
        let app = TestApp::start_with(&[
            ("PIXERVE_STORES_BACKOFF_MIN", "60s"),
            ("PIXERVE_STORES_BACKOFF_MAX", "60s"),
            ("PIXERVE_MAX_WORKERS", "1"),
        ])
        .await;
        let done = app.done("A", small_job(), "a.jpg", jpeg(16, 16, 0)).await;
        let file = done["files"][0]["stored"][0]["location"].as_str().expect("a location").to_owned();
        let store = app.register(dead_store()).await;
        let b = register_user(&app, "shop").await;
        Self { app, store, b, file, seed: 1.into() }
    }

    fn token(&self, who: &str, job: &Value) -> Option<String> {
        let forger = "a secret that nobody registered, long enough";
        let claims = match who {
            "nobody" => return None,
            "forged" => Claims::of("A").admin().secret(forger),
            "A" => Claims::of("A"),
            "B" => Claims::of("A").admin().by(&self.b.0, &self.b.1),
            _ => Claims::of("operator").admin(),
        };
        Some(claims.job(job.clone()).sign())
    }

    fn picture(&self) -> Vec<u8> {
        jpeg(16, 16, self.seed.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
    }

    /// A new job of A's that can't end by itself: its hash.
    async fn job(&self) -> String {
        let job = json!({ "storageKeys": { "s3": self.store }, "formats": { "jpg": { "sizes": [[8]] } } });
        let accepted = self.app.accepted("A", job, "a.jpg", self.picture()).await;
        self.app.processing(&accepted).await;
        accepted["hash"].as_str().expect("a hash").to_owned()
    }

    async fn request(&self, who: &str, method: &Method, path: &str) -> RequestBuilder {
        let mut path = path.replace("{file}", &self.file);
        if path.contains("{job}") {
            path = path.replace("{job}", &self.job().await);
        }
        let mut request = self.app.request(method.clone(), &path);
        if let Some(token) = self.token(who, &small_job()) {
            request = request.bearer_auth(token);
        }
        match (method, path.split('?').next()) {
            (&Method::POST, Some("/upload")) => {
                request.multipart(Form::new().part("file", Part::bytes(self.picture()).file_name("a.jpg")))
            }
            (&Method::POST, Some("/register")) => request.json(&json!({ "user": format!("by-{who}-{}", path.len()) })),
            _ => request,
        }
    }
}

async fn register_user(app: &TestApp, name: &str) -> (String, String) {
    let user: Value =
        app.admin(Method::POST, "/register", Some(json!({ "user": name }))).await.json().await.expect("JSON");
    let text = |field: &str| user[field].as_str().expect("text").to_owned();
    (text("access_key"), text("secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_each_identity_as_it_may() {
    let fixture = AuthFixture::new().await;
    let routes = routes();
    for (method, path, expected) in &routes {
        for (who, expected) in IDENTITIES.iter().zip(expected) {
            let response = fixture.request(who, method, path).await.send().await.expect("an answer");
            let status = response.status().as_u16();
            assert_eq!(status, *expected, "{who}: {method} {path}");
            let challenged = response.headers().contains_key("www-authenticate");
            assert_eq!(challenged, matches!(status, 401 | 403), "{who}: {method} {path}");
        }
    }
    let registered = fixture.app.admin(Method::GET, "/register", None).await.text().await.expect("text");
    assert!(registered.contains("by-admin") && !registered.contains("by-A") && !registered.contains("by-B"));
    assert!(!registered.contains(&fixture.b.1), "a secret is shown once");
    let asked = routes.len() * IDENTITIES.len();
    figure(
        "auth",
        format!("{} routes x {} identities: {asked} answers as in the table", routes.len(), IDENTITIES.len()),
    );
}

/// Status, headers (but for the date) and body: everything that a client can tell apart.
async fn shown(request: RequestBuilder) -> (u16, Vec<(String, String)>, String) {
    let response: Response = request.header("x-request-id", "the-same").send().await.expect("an answer");
    let status = response.status().as_u16();
    // Time goes on, and each request takes one of what is left of its limits.
    let headers = response.headers().iter().filter(|(name, _)| *name != "date" && *name != "ratelimit");
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    (status, headers, response.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_another_owner_looks_like_an_unknown_one() {
    let fixture = AuthFixture::new().await;
    let app = &fixture.app;
    let hash = fixture.job().await;
    let status = app.get_json(&format!("/status?hash={hash}")).await;
    let job_id = status["job_id"].as_str().expect("an id");
    let b = fixture.token("B", &small_job()).expect("a token");
    let mut compared = 0;

    // A job of A's and one that there never was, for B. The hash has the same length, as the other's would.
    let unknown = format!("{}_A", "0".repeat(64));
    let cancel = |query: String| app.request(Method::DELETE, &format!("/cancel?{query}")).bearer_auth(&b);
    let never = "01890000-0000-7000-8000-000000000000";
    for (theirs, nobodys) in [
        (format!("hash={hash}"), format!("hash={unknown}")),
        (format!("job_id={job_id}"), format!("job_id={never}")),
        (format!("hash={hash}"), "hash=nonsense".to_owned()),
    ] {
        let (theirs, nobodys) = (shown(cancel(theirs)).await, shown(cancel(nobodys)).await);
        assert_eq!((theirs.0, &theirs), (404, &nobodys));
        compared += 1;
    }
    assert_eq!(app.get_json(&format!("/status?hash={hash}")).await["state"], status["state"], "it goes on");

    // A store of another user's, and one that is registered nowhere.
    let mut store = dead_store();
    register_user(app, "blog").await;
    store["user"] = json!("blog");
    let theirs = app.register(store).await;
    let nobodys = "x".repeat(theirs.len());
    let upload = |access_key: &str| {
        let job = json!({ "storageKeys": { "s3": access_key }, "formats": { "jpg": {} } });
        let token = fixture.token("B", &job).expect("a token");
        let form = Form::new().part("file", Part::bytes(jpeg(16, 16, 999)).file_name("a.jpg"));
        app.request(Method::POST, "/upload").bearer_auth(token).multipart(form)
    };
    let (theirs, nobodys) = (shown(upload(&theirs)).await, shown(upload(&nobodys)).await);
    assert_eq!((theirs.0, &theirs), (422, &nobodys));
    compared += 1;

    // A user who was deregistered, and one who never was registered.
    let (access_key, secret) = register_user(app, "gone").await;
    let path = format!("/register?access_key={access_key}");
    assert_eq!(app.admin(Method::DELETE, &path, None).await.status(), 204);
    let by = |access_key: &str| {
        let token = Claims::of("A").by(access_key, &secret).sign();
        app.request(Method::DELETE, &format!("/cancel?hash={hash}")).bearer_auth(token)
    };
    let (gone, never) = (shown(by(&access_key)).await, shown(by(&"x".repeat(access_key.len()))).await);
    assert_eq!((gone.0, &gone), (401, &never));
    compared += 1;
    figure("auth", format!("{compared} pairs of foreign and unknown things: the same status, headers and body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_authorization_headers_neither_counts() {
    let app = TestApp::start().await;
    let token = |sub: &str| format!("Bearer {}", Claims::of(sub).admin().sign());
    for (first, second) in
        [(token("a"), token("b")), (token("a"), "Bearer x".into()), ("Basic eDp5".into(), token("a"))]
    {
        let request = app.request(Method::GET, "/register");
        let response = request.header("authorization", first).header("authorization", second).send().await;
        assert_problem(response.expect("an answer"), 401, "unauthorized").await;
    }
    // Nor does a token where it isn't looked for.
    for path in ["/register?token={}", "/register?access_token={}", "/register?Authorization=Bearer%20{}"] {
        let path = path.replace("{}", &Claims::of("a").admin().sign());
        assert_problem(app.get(&path).await, 401, "unauthorized").await;
    }
    let cookie = format!("token={0}; Authorization={0}", Claims::of("a").admin().sign());
    let response = app.request(Method::GET, "/register").header("cookie", cookie).send().await.expect("an answer");
    assert_problem(response, 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_64_kib_are_refused_over_the_wire_and_the_next_one_is_not() {
    let app = TestApp::start().await;
    let huge = "x".repeat(64 * 1024);
    let started = Instant::now();

    // In the header it is more than a request's head may have.
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    let head = format!("GET /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {huge}\r\n\r\n");
    // The server may close before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    // One that just fits into a head, and one as a part.
    let response = app.request(Method::GET, "/register").bearer_auth(&huge[..12 * 1024]).send().await;
    assert_problem(response.expect("an answer"), 401, "unauthorized").await;
    let form = Form::new().text("token", huge).part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg"));
    let response = app.request(Method::POST, "/upload").multipart(form).send().await.expect("an answer");
    assert_problem(response, 401, "unauthorized").await;
    let took = started.elapsed();
    app.accepted("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
    figure(
        "auth",
        format!("tokens of 64 KiB in the head, 12 KiB in the head, 64 KiB as a part: refused, {took:?} in all"),
    );
}

/// Writes `jwt.json` with these keys; each secret is its `kid` made long.
fn put_keys(home: &Home, kids: &[&str]) {
    let keys: Vec<_> =
        kids.iter().map(|kid| json!({ "kid": kid, "algorithm": "HS256", "secret": secret(kid) })).collect();
    let mut file = File::create(home.root().join("jwt.json")).expect("created");
    file.write_all(json!({ "keys": keys }).to_string().as_bytes()).expect("written");
}

fn secret(kid: &str) -> String {
    format!("the secret of {kid}, which is as long as it has to be")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_the_old_one_is_refused_after() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", ""), ("PIXERVE_JWT_FILE", "jwt.json")]);
    let mut seed = 0;
    let mut accepted: Vec<Value> = Vec::new();
    for (keys, taken, refused) in [
        (&["2025"][..], &["2025"][..], &["2026"][..]),
        (&["2026", "2025"], &["2025", "2026"], &["2024"]),
        (&["2026"], &["2026"], &["2025"]),
    ] {
        put_keys(&home, keys);
        let server = home.start().await;
        for kid in taken {
            seed += 1;
            let token = Claims::of("me").job(small_job()).by(kid, &secret(kid)).sign();
            let response = server.upload(&token, "a.jpg", jpeg(16, 16, seed)).await;
            assert_eq!(response.status(), 200, "{kid} of {keys:?}");
            accepted.push(response.json().await.expect("JSON"));
        }
        for kid in refused {
            // With the name of a key that is known, too.
            for named in [kid, keys[0]] {
                let token = Claims::of("me").job(small_job()).by(named, &secret(kid)).sign();
                let response = server.upload(&token, "a.jpg", jpeg(16, 16, 99)).await;
                assert_problem(response, 401, "unauthorized").await;
            }
        }
        for job in &accepted {
            assert_eq!(server.ended(job).await["state"], "completed", "whichever key signed it");
        }
    }
    figure(
        "auth",
        format!(
            "a key rotated over 3 starts: {} jobs of both keys completed, the old one refused after",
            accepted.len()
        ),
    );
}
