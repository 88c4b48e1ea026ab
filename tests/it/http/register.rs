//! `/register`: who may, what is kept, and what never comes back.

use reqwest::Method;
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, poll_delay, small_job};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::stores;
use crate::harness::token::Claims;

async fn new_user(app: &TestApp, name: &str) -> (String, String) {
    let response = app.admin(Method::POST, "/register", Some(json!({ "user": name }))).await;
    assert_eq!(response.status(), 201);
    let user: Value = response.json().await.expect("JSON");
    assert_eq!(user["algorithm"], "HS256");
    let text = |field: &str| user[field].as_str().expect("text").to_owned();
    (text("access_key"), text("secret"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_register() {
    let app = TestApp::start().await;
    let (key, secret) = new_user(&app, "shop").await;
    for (method, path) in [
        (Method::POST, "/register"),
        (Method::GET, "/register"),
        (Method::PUT, "/register?access_key=x"),
        (Method::DELETE, "/register?access_key=x"),
    ] {
        let send = |token: Option<String>| {
            let request = app.request(method.clone(), path).json(&json!({ "user": "eve" }));
            match token {
                Some(token) => request.bearer_auth(token).send(),
                None => request.send(),
            }
        };
        assert_problem(send(None).await.expect("an answer"), 401, "unauthorized").await;
        let user = send(Some(Claims::of("me").sign())).await.expect("an answer");
        assert_problem(user, 403, "forbidden").await;
        let registered = send(Some(Claims::of("me").admin().by(&key, &secret).sign())).await.expect("an answer");
        assert_problem(registered, 403, "forbidden").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_user_uploads_until_deregistered() {
    let app = TestApp::start().await;
    let (key, secret) = new_user(&app, "shop").await;
    let token = Claims::of("me").job(small_job()).by(&key, &secret).sign();
    assert_eq!(app.upload(&token, "a.jpg", jpeg(16, 16, 1)).await.status(), 200);
    let path = format!("/register?access_key={key}");
    assert_eq!(app.admin(Method::DELETE, &path, None).await.status(), 204);
    assert_problem(app.upload(&token, "a.jpg", jpeg(16, 16, 2)).await, 401, "unauthorized").await;
    assert_problem(app.admin(Method::DELETE, &path, None).await, 404, "not_found").await;
    assert_problem(app.admin(Method::DELETE, "/register", None).await, 400, "bad_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_registered_again_reaches_no_job_of_its_former_holder() {
    let app = TestApp::start().await;
    let store = app.register(dead_store()).await;
    // It doesn't end by itself.
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[8]] } } });
    let (former_key, former_secret) = new_user(&app, "shop").await;
    let former = Claims::of("me").job(job.clone()).by(&former_key, &former_secret).sign();
    let accepted = app.upload(&former, "a.jpg", jpeg(16, 16, 1)).await;
    assert_eq!(accepted.status(), 200);
    let theirs: Value = accepted.json().await.expect("JSON");
    let by_hash = format!("?hash={}", theirs["hash"].as_str().expect("a hash"));
    let by_id = format!("?job_id={}", theirs["job_id"].as_str().expect("an id"));
    let id_at = async |query: &str| app.get_json(&format!("/status{query}")).await["job_id"].clone();
    let cancel = async |query: &str, token: &str| {
        let request = app.request(Method::DELETE, &format!("/cancel{query}")).bearer_auth(token);
        request.send().await.expect("an answer").status().as_u16()
    };

    let path = format!("/register?access_key={former_key}");
    assert_eq!(app.admin(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(id_at(&by_hash).await, theirs["job_id"], "nobody has the name");
    let (key, secret) = new_user(&app, "shop").await;
    let present = Claims::of("me").job(job).by(&key, &secret).sign();
    for route in ["/status", "/success", "/failures"] {
        let answer: Value = app.get_json(&format!("{route}{by_hash}")).await;
        assert!(answer["status"] == "not_found" || answer["code"] == "not_found", "{route}: {answer}");
    }
    assert_eq!((cancel(&by_hash, &present).await, cancel(&by_id, &present).await), (404, 404));
    assert_eq!(cancel(&by_id, &former).await, 401);

    let accepted = app.upload(&present, "a.jpg", jpeg(16, 16, 1)).await;
    assert_eq!(accepted.status(), 200, "it is no duplicate");
    let ours: Value = accepted.json().await.expect("JSON");
    assert_eq!(ours["hash"], theirs["hash"]);
    assert_ne!(ours["job_id"], theirs["job_id"]);
    assert_eq!(id_at(&by_hash).await, ours["job_id"]);
    assert_problem(app.upload(&present, "a.jpg", jpeg(16, 16, 1)).await, 409, "duplicate_job").await;
    assert_eq!(cancel(&by_hash, &present).await, 204);
    assert_ne!(app.get_json(&format!("/status{by_id}")).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_names_everything_and_tells_no_secret() {
    let app = TestApp::start().await;
    let (key, secret) = new_user(&app, "shop").await;
    let mut store = dead_store();
    store["secret_access_key"] = json!("canary-s3-secret");
    store["user"] = json!("shop");
    let store = app.register(store).await;
    let text = app.admin(Method::GET, "/register", None).await.text().await.expect("a body");
    assert!(!text.contains(&secret) && !text.contains("canary-s3-secret"), "{text}");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["count"], 2);
    let of = |key: &str| {
        list["registrations"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|r| r["access_key"] == key)
            .expect("it is there")
            .clone()
    };
    assert_eq!((&of(&key)["type"], &of(&key)["user"]), (&json!("user"), &json!("shop")));
    assert_eq!(
        (&of(&store)["type"], &of(&store)["user"], &of(&store)["bucket"]),
        (&json!("s3"), &json!("shop"), &json!("nowhere"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_store_serves_that_user_only() {
    let app = TestApp::start().await;
    let (shop, shop_secret) = new_user(&app, "shop").await;
    let (blog, blog_secret) = new_user(&app, "blog").await;
    let mut store = dead_store();
    store["user"] = json!("shop");
    let store = app.register(store).await;
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": {} } });
    let by = |key: &str, secret: &str| Claims::of("me").job(job.clone()).by(key, secret).sign();
    assert_eq!(app.upload(&by(&shop, &shop_secret), "a.jpg", jpeg(16, 16, 1)).await.status(), 200);
    for token in [by(&blog, &blog_secret), Claims::of("me").job(job.clone()).sign()] {
        let body = assert_problem(app.upload(&token, "a.jpg", jpeg(16, 16, 1)).await, 422, "invalid_fields").await;
        assert_eq!(body["errors"][0]["pointer"], "/job/storageKeys/s3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_registrations_name_their_fields() {
    let app = TestApp::start().await;
    new_user(&app, "shop").await;
    let post = |body: Value| app.admin(Method::POST, "/register", Some(body));
    assert_problem(post(json!({ "user": "shop" })).await, 409, "name_taken").await;
    let body = assert_problem(post(json!({ "user": "no spaces" })).await, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["pointer"], "/user", "{body}");
    assert_problem(post(json!({})).await, 422, "invalid_fields").await;
    assert_problem(post(json!({ "type": "ftp" })).await, 422, "invalid_fields").await;
    let body = assert_problem(post(json!({ "type": "s3", "bucket": "b" })).await, 422, "invalid_fields").await;
    assert!(body["errors"].as_array().is_some_and(|errors| errors.len() >= 2), "all missing fields at once: {body}");
    let mut of_nobody = dead_store();
    of_nobody["user"] = json!("nobody");
    let body = assert_problem(post(of_nobody).await, 422, "invalid_fields").await;
    assert_eq!(body["errors"][0]["pointer"], "/user", "{body}");
    let admin = Claims::of("operator").admin().sign();
    let raw = |body: &'static str| app.request(Method::POST, "/register").bearer_auth(&admin).body(body).send();
    assert_problem(raw("{broken").await.expect("an answer"), 400, "bad_json").await;
    assert_problem(raw("[]").await.expect("an answer"), 400, "bad_json").await;
    let large = app.request(Method::POST, "/register").bearer_auth(&admin).body("x".repeat(70_000)).send().await;
    assert_problem(large.expect("an answer"), 413, "too_large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_asks_the_store_and_tells_what_it_answered() {
    let app = TestApp::start_with(&[("PIXERVE_STORES_CONNECT_TIMEOUT", "1s")]).await;
    let body = app.admin(Method::POST, "/register?verify=true", Some(dead_store())).await;
    let body = assert_problem(body, 422, "store_refused").await;
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("nowhere")), "{body}");
    let list: Value = app.admin(Method::GET, "/register", None).await.json().await.expect("JSON");
    assert_eq!(list["count"], 0, "a store that failed is not registered");

    let s3 = stores::s3().await;
    s3.create_bucket("verified");
    let good = app.admin(Method::POST, "/register?verify=true", Some(s3.registration("verified"))).await;
    assert_eq!(good.status(), 201);
    let mut wrong = s3.registration("verified");
    wrong["secret_access_key"] = json!("canary-wrong-secret");
    let body = app.admin(Method::POST, "/register?verify=true", Some(wrong)).await;
    let body = assert_problem(body, 422, "store_refused").await;
    assert!(!body.to_string().contains("canary-wrong-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_only_takes_objects_is_registered_with_a_note() {
    let app = TestApp::start().await;
    let s3 = stores::s3().await;
    s3.create_bucket("verified");
    let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    proxy.script(|asked| if asked.method == "DELETE" { Fault::s3_error(403, "AccessDenied") } else { Fault::Pass });
    let mut registration = s3.registration("verified");
    registration["endpoint"] = proxy.endpoint().into();
    let answer = app.admin(Method::POST, "/register?verify=true", Some(registration)).await;
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.expect("JSON");
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("refuses to delete")), "{answer}");
    assert!(answer["access_key"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_serves_and_says_what_to_install_once_they_are_needed() {
    let nothing = tempfile::tempdir().expect("a directory");
    let path = |name: &str| nothing.path().join(name).display().to_string();
    std::fs::File::create(path("none.pem")).expect("made");
    std::fs::create_dir(path("none")).expect("made");
    let home = Home::new(&[("SSL_CERT_FILE", &path("none.pem")), ("SSL_CERT_DIR", &path("none"))]);
    let server = home.start().await;
    let account = json!({ "type": "service_account", "client_email": "a@b.c", "private_key": "-----BEGIN x" });
    for store in [
        json!({ "type": "s3", "bucket": "pics", "region": "r", "access_key_id": "id", "secret_access_key": "secret" }),
        json!({ "type": "gcs", "bucket": "pics", "credentials": account }),
    ] {
        let answer = server.admin(Method::POST, "/register?verify=true", Some(store)).await;
        let problem = assert_problem(answer, 422, "store_refused").await;
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("ca-certificates")), "{problem}");
    }
    // Plain http goes on, to a store and to a caller.
    let s3 = stores::s3().await;
    s3.create_bucket("plain");
    let key = server.register(s3.registration("plain")).await;
    let mut job = small_job();
    job["storageKeys"] = json!({ "s3": key });
    job["completionCallback"] = json!("https://127.0.0.1:9/hook");
    let status = server.done("me", job, "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
    while !home.log().contains("ca-certificates") {
        poll_delay().await;
    }
}
