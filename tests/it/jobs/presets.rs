//! Presets: kept under names, named by tokens, the same on every node.

use std::path::Path;

use futures_util::future::join_all;
use reqwest::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::home::{JobsHome, RegisteredUser, admin, get, send, text, with_scope};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::stores::dead_store;
use crate::harness::token::Claims;

every_home! {
    a_preset_is_put_read_replaced_and_deleted_under_its_etag,
    of_many_who_change_a_preset_at_once_one_has_its_way,
    what_is_no_preset_is_refused_by_its_pointer,
    files_stand_before_what_was_put_and_are_changed_as_files,
    there_are_at_most_two_hundred_presets,
    a_token_names_a_preset_and_says_what_is_different,
    what_is_wrong_with_a_merged_job_points_into_the_token_and_names_the_preset,
    a_preset_changed_later_touches_no_accepted_job,
    a_bound_user_asks_for_its_presets_and_nothing_else,
    a_users_presets_are_changed_and_stay_with_it,
    limits_name_the_presets_that_a_token_may_name,
}

/// What a job with a preset looks like, beside those that the tests put.
fn avatar() -> Value {
    json!({ "directHost": true, "subDir": "avatars", "formats": { "jpg": { "sizes": [[16], [8]] } } })
}

async fn put_with(app: &TestApp, name: &str, body: impl Into<String>, headers: &[(&str, &str)]) -> Response {
    let request = app.request(Method::PUT, &format!("/presets/{name}")).bearer_auth(admin().sign()).body(body.into());
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .send()
        .await
        .expect("an answer")
}

async fn put(app: &TestApp, name: &str, job: &Value) -> u16 {
    put_with(app, name, job.to_string(), &[]).await.status().as_u16()
}

async fn get_with(app: &TestApp, name: &str, headers: &[(&str, &str)]) -> Response {
    let request = app.request(Method::GET, &format!("/presets/{name}")).bearer_auth(admin().sign());
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .send()
        .await
        .expect("an answer")
}

async fn delete_with(app: &TestApp, name: &str, headers: &[(&str, &str)]) -> Response {
    let request = app.request(Method::DELETE, &format!("/presets/{name}")).bearer_auth(admin().sign());
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .send()
        .await
        .expect("an answer")
}

fn etag(response: &Response) -> String {
    response.headers()[ETAG].to_str().expect("text").to_owned()
}

fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().expect("errors").iter().map(|error| text(&error["pointer"])).collect()
}

async fn names(app: &TestApp) -> Vec<String> {
    let list = get(app, &admin(), "/presets").await;
    list["presets"].as_array().expect("a list").iter().map(|preset| text(&preset["name"]).to_owned()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test's own file need not be durable")]
fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(directory.join(name), content).expect("written");
}

async fn a_preset_is_put_read_replaced_and_deleted_under_its_etag(home: JobsHome) {
    let mut app = home.start(&[]).await;
    let other = home.other(&[]).await;
    let there = other.as_ref().unwrap_or(&app);
    // As somebody writes it: it comes back byte by byte.
    let first = "{ \"subDir\": \"a\",\n  \"priority\": 1.0 }\n";
    let created = put_with(&app, "avatar", first, &[("if-none-match", "*")]).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()[LOCATION], "/presets/avatar");
    let tag = etag(&created);
    assert!(tag.starts_with('"'), "a strong one: {tag}");
    for app in [&app, there] {
        let found = get_with(app, "avatar", &[]).await;
        assert_eq!((found.status(), etag(&found)), (StatusCode::OK, tag.clone()));
        assert_eq!(found.headers()["cache-control"], "no-store");
        assert_eq!(found.text().await.expect("a body"), first);
        let known = get_with(app, "avatar", &[(IF_NONE_MATCH.as_str(), &tag)]).await;
        assert_eq!((known.status(), etag(&known)), (StatusCode::NOT_MODIFIED, tag.clone()));
        assert_problem(get_with(app, "avatar", &[("if-match", "\"other\"")]).await, 412, "precondition_failed").await;
    }
    assert_problem(put_with(there, "avatar", "{}", &[("if-none-match", "*")]).await, 412, "precondition_failed").await;
    for odd in ["\"other\"", "other", &format!("W/{tag}")] {
        let refused = put_with(there, "avatar", "{}", &[(IF_MATCH.as_str(), odd)]).await;
        assert_problem(refused, 412, "precondition_failed").await;
    }
    let replaced = put_with(there, "avatar", avatar().to_string(), &[("if-match", &tag)]).await;
    assert_eq!(replaced.status(), StatusCode::NO_CONTENT);
    let newer = etag(&replaced);
    assert_ne!(newer, tag);
    for (method, name) in [("put", "avatar"), ("delete", "avatar")] {
        let headers = [("if-match", tag.as_str())];
        let late = if method == "put" {
            put_with(&app, name, "{}", &headers).await
        } else {
            delete_with(&app, name, &headers).await
        };
        assert_problem(late, 412, "precondition_failed").await;
    }
    assert_problem(put_with(&app, "hero", "{}", &[("if-match", "*")]).await, 412, "precondition_failed").await;
    assert_eq!(put(&app, "hero", &json!({})).await, 201);
    let list = get(there, &admin(), "/presets").await;
    let listed = json!([
        { "name": "avatar", "from": "put", "job": avatar() }, { "name": "hero", "from": "put", "job": {} }
    ]);
    assert_eq!((&list["presets"], &list["count"], &list["next_cursor"]), (&listed, &json!(2), &Value::Null));

    app.restart().await;
    assert_eq!(names(&app).await, ["avatar", "hero"], "what was answered is there");
    let gone = delete_with(&app, "avatar", &[("if-match", &newer)]).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(delete_with(&app, "hero", &[("if-match", "*")]).await.status(), StatusCode::NO_CONTENT);
    assert_problem(delete_with(&app, "avatar", &[("if-match", "*")]).await, 404, "not_found").await;
    for app in [&app, other.as_ref().unwrap_or(&app)] {
        assert_problem(get_with(app, "avatar", &[]).await, 404, "not_found").await;
        assert_eq!(names(app).await, [""; 0]);
    }
    app.restart().await;
    assert_eq!(names(&app).await, [""; 0], "for good");
}

async fn of_many_who_change_a_preset_at_once_one_has_its_way(home: JobsHome) {
    let app = home.start(&[]).await;
    let other = home.other(&[]).await;
    let nodes = [&app, other.as_ref().unwrap_or(&app)];
    let mut condition = ("if-none-match", "*".to_owned());
    for wanted in [StatusCode::CREATED, StatusCode::NO_CONTENT] {
        let puts = (0..6).map(|n| {
            let (header, value) = &condition;
            let body = json!({ "subDir": format!("{}-{n}", wanted.as_u16()) }).to_string();
            async move { put_with(nodes[n % 2], "avatar", body, &[(header, value)]).await }
        });
        let answers = join_all(puts).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == wanted);
        assert_eq!((won.len(), lost.len()), (1, 5), "{statuses:?}");
        for answer in lost {
            assert_problem(answer, 412, "precondition_failed").await;
        }
        let tag = etag(&won[0]);
        for node in nodes {
            assert_eq!(etag(&get_with(node, "avatar", &[]).await), tag);
        }
        condition = ("if-match", tag);
    }
}

async fn what_is_no_preset_is_refused_by_its_pointer(home: JobsHome) {
    let app = home.start(&[]).await;
    let shop = RegisteredUser::register(&app, "shop").await;
    let mut of_shop = dead_store();
    of_shop["user"] = json!("shop");
    let (of_shop, of_all) = (app.register(of_shop).await, app.register(dead_store()).await);
    for (job, pointer) in [
        (json!({ "formats": { "jpg": { "settings": { "quality": 101 } } } }), "/formats/jpg/settings/quality"),
        (json!({ "formats": { "gif": {} } }), "/formats/gif"),
        (json!({ "typo": 1 }), "/typo"),
        (json!({ "subDir": "../x" }), "/subDir"),
        (json!({ "preset": "other" }), "/preset"),
        (json!({ "callbackHeaders": { "authorization": "x" } }), "/callbackHeaders"),
        (json!({ "completionCallback": "http://10.0.0.1/" }), "/completionCallback"),
        (json!({ "storageKeys": { "s3": of_shop } }), "/storageKeys/s3"),
        (json!({ "storageKeys": { "s3": "pxs_none" } }), "/storageKeys/s3"),
        (json!({ "storageKeys": { "gcs": of_all } }), "/storageKeys/gcs"),
        (json!({ "storageKeys": { "s3": shop.access_key } }), "/storageKeys/s3"),
    ] {
        let problem = assert_problem(put_with(&app, "a", job.to_string(), &[]).await, 422, "invalid_fields").await;
        assert_eq!(pointers(&problem), [pointer], "{problem}");
        assert_eq!(problem["errors"][0].get("preset"), None, "it points into the preset: {problem}");
    }
    for bad in ["", "[]", "{", "\"a\"", "null"] {
        assert_problem(put_with(&app, "a", bad, &[]).await, 400, "bad_json").await;
    }
    for bad in ["Avatar", "_a", "a.b", "a%2fb", "%ff", &"a".repeat(65)] {
        assert_problem(put_with(&app, bad, "{}", &[]).await, 400, "bad_request").await;
        assert_problem(get_with(&app, bad, &[]).await, 404, "not_found").await;
        assert_problem(delete_with(&app, bad, &[]).await, 404, "not_found").await;
    }
    let sized = |bytes: usize| format!("{{\"ref\":\"a\"{}}}", " ".repeat(bytes - 11));
    assert_problem(put_with(&app, "a", sized(16 * 1024 + 1), &[]).await, 413, "too_large").await;
    assert_eq!(names(&app).await, [""; 0], "nothing was kept");
    assert_eq!(put_with(&app, "a", sized(16 * 1024), &[]).await.status(), StatusCode::CREATED);
    let whole =
        json!({ "storageKeys": { "s3": of_all }, "callbackHeaders": {}, "completionCallback": "http://127.0.0.1/" });
    assert_eq!(put(&app, "a", &whole).await, 204);
    // What presets are kept under is no access key.
    assert_problem(app.admin(Method::DELETE, "/register?access_key=preset-a", None).await, 404, "not_found").await;
    let body = Some(json!({ "rotate": true }));
    assert_problem(app.admin(Method::PUT, "/register?access_key=preset-a", body).await, 404, "not_found").await;
    assert_eq!(get(&app, &admin(), "/register").await["count"], 3, "nor a registration");
}

async fn files_stand_before_what_was_put_and_are_changed_as_files(home: JobsHome) {
    let files = tempfile::tempdir().expect("a directory");
    let directory = files.path().display().to_string();
    write(files.path(), "avatar.json", "\u{feff}{\"subDir\": \"of-file\"}\n");
    write(files.path(), ".hidden.json", "no JSON");
    write(files.path(), "README.md", "no preset");
    let mut app = home.start(&[]).await;
    assert_eq!(put(&app, "avatar", &json!({ "subDir": "put" })).await, 201);
    assert_eq!(put(&app, "hero", &json!({})).await, 201);
    app.set("PIXERVE_PRESETS_DIR", &directory);
    app.restart().await;
    let list = get(&app, &admin(), "/presets").await;
    let listed = json!([
        { "name": "avatar", "from": "file", "job": { "subDir": "of-file" } }, { "name": "hero", "from": "put", "job": {} }
    ]);
    assert_eq!(list["presets"], listed);
    let page = get(&app, &admin(), "/presets?limit=1").await;
    assert_eq!((&page["presets"][0]["name"], &page["next_cursor"]), (&json!("avatar"), &json!("avatar")));
    let page = get(&app, &admin(), "/presets?limit=1&cursor=avatar").await;
    assert_eq!((&page["presets"][0]["name"], &page["next_cursor"]), (&json!("hero"), &Value::Null));
    for bad in ["limit=-1", "cursor=A", "typo=1"] {
        let response = send(&app, &admin(), Method::GET, &format!("/presets?{bad}")).await;
        assert_problem(response, 400, "bad_parameter").await;
    }
    let found = get_with(&app, "avatar", &[]).await;
    let tag = etag(&found);
    assert_eq!(found.text().await.expect("a body"), "{\"subDir\": \"of-file\"}\n");
    for headers in [&[][..], &[("if-match", "\"other\"")], &[("if-match", tag.as_str())]] {
        assert_problem(put_with(&app, "avatar", "no JSON", headers).await, 409, "preset_from_file").await;
        assert_problem(delete_with(&app, "avatar", headers).await, 409, "preset_from_file").await;
    }
    let job = json!({ "preset": "avatar", "directHost": true, "keepOriginal": true });
    let done = app.done("me", job, "a.jpg", jpeg(16, 16, 1)).await;
    assert!(text(&done["files"][0]["stored"][0]["location"]).starts_with("/files/of-file/"), "{done}");

    write(files.path(), "avatar.json", "{\"subDir\": \"changed\"}");
    assert_eq!(get_with(&app, "avatar", &[]).await.json::<Value>().await.expect("JSON")["subDir"], "of-file");
    app.restart().await;
    assert_eq!(get_with(&app, "avatar", &[]).await.json::<Value>().await.expect("JSON")["subDir"], "changed");
    std::fs::remove_file(files.path().join("avatar.json")).expect("removed");
    app.restart().await;
    assert_eq!(get_with(&app, "avatar", &[]).await.json::<Value>().await.expect("JSON")["subDir"], "put");
}

async fn there_are_at_most_two_hundred_presets(home: JobsHome) {
    let files = tempfile::tempdir().expect("a directory");
    for n in 0..199 {
        write(files.path(), &format!("p{n}.json"), "{}");
    }
    let app = home.start(&[("PIXERVE_PRESETS_DIR", &files.path().display().to_string())]).await;
    assert_eq!(put(&app, "last", &json!({})).await, 201);
    assert_problem(put_with(&app, "more", "{}", &[]).await, 409, "too_many_presets").await;
    assert_eq!(put(&app, "last", &avatar()).await, 204, "one that is there can be replaced");
    assert_eq!(get(&app, &admin(), "/presets?limit=1000").await["count"], 200);
    assert_eq!(delete_with(&app, "last", &[]).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(put(&app, "more", &json!({})).await, 201);
}

async fn a_token_names_a_preset_and_says_what_is_different(home: JobsHome) {
    let app = home.start(&[]).await;
    let other = home.other(&[]).await;
    assert_eq!(put(&app, "avatar", &avatar()).await, 201);
    let app = other.as_ref().unwrap_or(&app);
    let claims = Claims::of("user-123").job(json!({ "preset": "avatar", "subDir": "tenant-1" }));
    let token = claims.sign();
    assert!(token.len() < 400, "{} bytes", token.len());
    println!("a token with a preset has {} bytes", token.len());
    let response = app.upload(&token, "a.jpg", jpeg(32, 32, 1)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let accepted: Value = response.json().await.expect("JSON");
    assert_eq!(accepted["expected_files"].as_array().map(Vec::len), Some(2), "{accepted}");
    let ended = app.ended(&accepted).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    for file in ended["files"].as_array().expect("files") {
        assert!(text(&file["stored"][0]["location"]).starts_with("/files/tenant-1/"), "{file}");
    }
    let record = app.get_json(&format!("/success?job_id={}", text(&accepted["job_id"]))).await;
    let job_data: Value = serde_json::from_str(text(&record["job_data"])).expect("JSON");
    let mut merged = avatar();
    merged["preset"] = json!("avatar");
    merged["subDir"] = json!("tenant-1");
    assert_eq!(job_data, merged);

    // `formats` as a whole, `null` takes away, and what is empty takes nothing.
    let job = json!({ "preset": "avatar", "subDir": null, "formats": { "png": {} } });
    let done = app.done("me", job, "b.jpg", jpeg(32, 32, 2)).await;
    let file = &done["files"][0];
    assert_eq!((done["files"].as_array().map(Vec::len), &file["format"]), (Some(1), &json!("png")), "{done}");
    assert_eq!(text(&file["stored"][0]["location"]).matches('/').count(), 2, "{file}");
    let job = json!({ "preset": "avatar", "subDir": "", "formats": {}, "directHost": null, "storageKeys": [] });
    let problem = assert_problem(
        app.upload(&Claims::of("me").job(job).sign(), "c.jpg", jpeg(32, 32, 3)).await,
        422,
        "invalid_fields",
    );
    assert_eq!(pointers(&problem.await), ["/job"], "it would go nowhere");
}

async fn what_is_wrong_with_a_merged_job_points_into_the_token_and_names_the_preset(home: JobsHome) {
    let app = home.start(&[]).await;
    let store = app.register(dead_store()).await;
    let of_preset = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[60_000, 60_000]], "fit": "fill", "enlarge": true } } });
    assert_eq!(put(&app, "hero", &of_preset).await, 201);
    let refused = async |job: Value| {
        let response = app.upload(&Claims::of("me").job(job).sign(), "a.jpg", jpeg(16, 16, 1)).await;
        assert_problem(response, 422, "invalid_fields").await
    };
    for (job, pointer) in [
        (json!({ "preset": "hero", "priority": 7, "typo": 1 }), "/job/priority"),
        (json!({ "preset": "hero", "completionCallback": "http://10.0.0.1/" }), "/job/completionCallback"),
        (json!({ "preset": "hero", "storageKeys": { "s3": "pxs_none" } }), "/job/storageKeys/s3"),
        (json!({ "preset": "hero", "once": true }), "/jti"),
        // Once the picture is there.
        (json!({ "preset": "hero" }), "/job/formats"),
        (json!({ "preset": "nobody" }), "/job/preset"),
    ] {
        let problem = refused(job.clone()).await;
        assert!(pointers(&problem)[0].starts_with(pointer), "{pointer}: {problem}");
        for error in problem["errors"].as_array().expect("errors") {
            assert_eq!(error["preset"], job["preset"], "{problem}");
        }
    }
    for odd in [json!("No Name"), json!(7)] {
        assert_eq!(pointers(&refused(json!({ "preset": odd, "directHost": true })).await), ["/job/preset"]);
    }
    let problem = refused(json!({ "typo": 1 })).await;
    assert_eq!(problem["errors"][0].get("preset"), None, "{problem}");
    // A store that is gone is found when its preset is named.
    let gone = app.admin(Method::DELETE, &format!("/register?access_key={store}&force=true"), None).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    let problem = refused(json!({ "preset": "hero", "formats": { "jpg": {} } })).await;
    assert_eq!((pointers(&problem), &problem["errors"][0]["preset"]), (vec!["/job/storageKeys/s3"], &json!("hero")));
}

async fn a_preset_changed_later_touches_no_accepted_job(home: JobsHome) {
    let app = home.start(&[]).await;
    let store = app.register(dead_store()).await;
    let first = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } }, "subDir": "first" });
    assert_eq!(put(&app, "hero", &first).await, 201);
    let claims = with_scope(&Claims::of("me").job(json!({ "preset": "hero" })), "manage");
    let upload = async |key: &str| {
        let form = reqwest::multipart::Form::new()
            .part("file", reqwest::multipart::Part::bytes(jpeg(32, 32, 1)).file_name("a.jpg"));
        let request = app.request(Method::POST, "/upload").bearer_auth(claims.sign()).header("idempotency-key", key);
        request.multipart(form).send().await.expect("an answer")
    };
    let accepted: Value = upload("a-key-of-the-first-request").await.json().await.expect("JSON");
    app.wait_for(&accepted, "to wait for its store", |status| status["waiting_for"].is_array()).await;
    let second = json!({ "directHost": true, "formats": { "png": { "sizes": [[8], [4]] } }, "subDir": "second" });
    assert_eq!(put(&app, "hero", &second).await, 204);

    // The same request is the same, whatever its preset says now.
    let again = upload("a-key-of-the-first-request").await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.expect("JSON")["job_id"], accepted["job_id"]);
    let data = async |id: &Value| {
        let record = app.get_json(&format!("/failures?job_id={}", text(id))).await;
        serde_json::from_str::<Value>(text(&record["job_data"])).expect("JSON")
    };
    assert_eq!(data(&accepted["job_id"]).await["subDir"], "first");
    let of = |route: &str, id: &Value| format!("{route}?job_id={}", text(id));
    let id = &accepted["job_id"];
    assert_eq!(send(&app, &claims, Method::DELETE, &of("/cancel", id)).await.status(), StatusCode::NO_CONTENT);

    // Run again, it is the job that it was; another job on its bytes is what its token asks for now.
    let retried: Value = send(&app, &claims, Method::POST, &of("/retry", id)).await.json().await.expect("JSON");
    assert_eq!(retried["expected_files"], accepted["expected_files"], "{retried}");
    assert_eq!(data(&retried["job_id"]).await["subDir"], "first");
    let cancelled = send(&app, &claims, Method::DELETE, &of("/cancel", &retried["job_id"])).await;
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    let other: Value = send(&app, &claims, Method::POST, &of("/reprocess", id)).await.json().await.expect("JSON");
    assert_eq!(other["expected_files"].as_array().map(Vec::len), Some(2), "{other}");
    let ended = app.ended(&other).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!(data(&other["job_id"]).await["subDir"], "second");

    assert_eq!(delete_with(&app, "hero", &[]).await.status(), StatusCode::NO_CONTENT);
    let retry = send(&app, &claims, Method::POST, &of("/retry", &retried["job_id"])).await;
    assert_eq!(retry.status(), StatusCode::OK, "without its preset, too");
    let problem = assert_problem(send(&app, &claims, Method::POST, &of("/reprocess", id)).await, 422, "invalid_fields");
    assert_eq!(pointers(&problem.await), ["/job/preset"]);
}

/// Registers a user who is bound to presets.
async fn bound(app: &TestApp, name: &str, presets: &[&str]) -> RegisteredUser {
    let response = app.admin(Method::POST, "/register", Some(json!({ "user": name, "presets": presets }))).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let user: Value = response.json().await.expect("JSON");
    RegisteredUser { access_key: text(&user["access_key"]).to_owned(), secret: text(&user["secret"]).to_owned() }
}

async fn upload_status(app: &TestApp, user: &RegisteredUser, job: Value, seed: u32) -> u16 {
    app.upload(&user.claims("a").job(job).sign(), "a.jpg", jpeg(16, 16, seed)).await.status().as_u16()
}

async fn a_bound_user_asks_for_its_presets_and_nothing_else(home: JobsHome) {
    let app = home.start(&[]).await;
    let other = home.other(&[]).await;
    let mut kept = avatar();
    kept["keepOriginal"] = json!(true);
    assert_eq!((put(&app, "avatar", &kept).await, put(&app, "hero", &avatar()).await), (201, 201));
    // Before `product` is there.
    let shop = bound(&app, "shop", &["avatar", "product", "avatar"]).await;
    let app = other.as_ref().unwrap_or(&app);
    let refused = async |job: Value| {
        let response = app.upload(&shop.claims("a").job(job).sign(), "a.jpg", jpeg(16, 16, 1)).await;
        assert_problem(response, 422, "invalid_fields").await
    };
    for field in [
        "formats",
        "sizes",
        "fit",
        "position",
        "background",
        "enlarge",
        "animated",
        "tolerant",
        "keepOriginal",
        "directHost",
    ]
    .into_iter()
    .chain(["storageKeys", "callbackEvents", "onDuplicate", "once", "maxBytes", "redirect", "ref", "typo"])
    {
        for value in [json!(null), json!({}), json!(""), json!(true)] {
            let mut job = json!({ "preset": "avatar" });
            job[field] = value;
            let problem = refused(job).await;
            assert_eq!(pointers(&problem), [format!("/job/{field}")], "{problem}");
            assert_eq!(problem["errors"][0]["preset"], "avatar", "{problem}");
        }
    }
    for job in [json!({}), json!({ "subDir": "a" }), json!({ "preset": null, "subDir": "a" }), json!({ "preset": "" })]
    {
        assert_eq!(pointers(&refused(job.clone()).await), ["/job/preset"], "{job}");
    }
    for name in ["hero", "product", "nobody"] {
        let problem = refused(json!({ "preset": name })).await;
        assert_eq!(pointers(&problem), ["/job/preset"], "{problem}");
        assert!(text(&problem["errors"][0]["detail"]).contains("no preset of this name, for this user"), "{problem}");
    }
    let all = refused(json!({ "preset": "hero", "formats": null, "sizes": [[64]] })).await;
    assert_eq!(pointers(&all), ["/job/formats", "/job/sizes", "/job/preset"], "each of them");

    let job = json!({
        "preset": "avatar", "subDir": "mine", "priority": 1, "completionCallback": "http://127.0.0.1:9/",
        "callbackHeaders": { "authorization": "x" }, "expiresAfter": "90days"
    });
    let response = app.upload(&shop.claims("a").job(job).sign(), "a.jpg", jpeg(16, 16, 2)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let accepted: Value = response.json().await.expect("JSON");
    let ended = app.ended(&accepted).await;
    assert!(text(&ended["files"][0]["stored"][0]["location"]).starts_with("/files/mine/"), "{ended}");
    assert!(ended["expires_at"].is_string(), "{ended}");
    // Whoever signs with a key of jwt.json is bound by nothing, another user neither.
    let free = RegisteredUser::register(app, "free").await;
    assert_eq!(upload_status(app, &free, avatar(), 3).await, 200);
    assert_eq!(upload_status(app, &free, json!({ "preset": "hero" }), 4).await, 200);
    app.done("me", avatar(), "a.jpg", jpeg(16, 16, 5)).await;
    // Nor is /reprocess a way around.
    let claims = with_scope(&shop.claims("a"), "manage");
    let path = format!("/reprocess?job_id={}", text(&accepted["job_id"]));
    let problem =
        assert_problem(send(app, &claims.clone().job(avatar()), Method::POST, &path).await, 422, "invalid_fields");
    assert!(pointers(&problem.await).contains(&"/job/preset"));
    let again = send(app, &claims.job(json!({ "preset": "avatar" })), Method::POST, &path).await;
    assert_eq!(again.status(), StatusCode::OK);
}

async fn a_users_presets_are_changed_and_stay_with_it(home: JobsHome) {
    let mut app = home.start(&[]).await;
    let other = home.other(&[]).await;
    for name in ["avatar", "hero"] {
        assert_eq!(put(&app, name, &avatar()).await, 201);
    }
    let mut shop = bound(&app, "shop", &["avatar"]).await;
    let path = format!("/register?access_key={}", shop.access_key);
    let listed = async |app: &TestApp| get(app, &admin(), "/register").await["registrations"][0].clone();
    assert_eq!(listed(&app).await["presets"], json!(["avatar"]));
    for presets in [json!([]), json!("avatar"), json!({}), json!(["Avatar"]), json!([7]), json!(vec!["a"; 201])] {
        for (method, path, body) in [
            (Method::POST, "/register", json!({ "user": "other", "presets": presets })),
            (Method::PUT, &*path, json!({ "presets": presets })),
        ] {
            let problem = assert_problem(app.admin(method, path, Some(body)).await, 422, "invalid_fields").await;
            assert!(pointers(&problem)[0].starts_with("/presets"), "{problem}");
        }
    }
    for body in [json!({ "presets": ["avatar"], "rotate": true }), json!({ "presets": ["avatar"], "overlap": "1s" })] {
        let response = app.admin(Method::PUT, &path, Some(body)).await;
        assert_problem(response, 422, "invalid_fields").await;
    }
    let change = async |app: &TestApp, presets: Value| {
        let response = app.admin(Method::PUT, &path, Some(json!({ "presets": presets }))).await;
        assert_eq!(response.status(), StatusCode::OK);
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!((&answer["presets"], &answer["access_key"]), (&presets, &json!(shop.access_key)), "{answer}");
    };
    change(&app, json!(["hero"])).await;
    let nodes = [&app, other.as_ref().unwrap_or(&app)];
    for (seed, node) in (1..).zip(nodes) {
        assert_eq!(
            upload_status(node, &shop, json!({ "preset": "avatar" }), seed).await,
            422,
            "at once, and everywhere"
        );
        assert_eq!(upload_status(node, &shop, json!({ "preset": "hero" }), seed).await, 200);
    }
    // Another secret doesn't set it free.
    let rotated = app.admin(Method::PUT, &path, Some(json!({ "rotate": true }))).await;
    text(&rotated.json::<Value>().await.expect("JSON")["secret"]).clone_into(&mut shop.secret);
    let renew = json!({ "access_key": shop.access_key });
    assert_eq!(app.admin(Method::POST, "/register/webhook-secret", Some(renew)).await.status(), StatusCode::CREATED);
    app.restart().await;
    assert_eq!(upload_status(&app, &shop, avatar(), 5).await, 422);
    assert_eq!(upload_status(&app, &shop, json!({ "preset": "hero" }), 6).await, 200);
    let freed = app.admin(Method::PUT, &path, Some(json!({ "presets": null }))).await;
    assert_eq!(freed.json::<Value>().await.expect("JSON")["presets"], Value::Null);
    assert_eq!(upload_status(&app, &shop, avatar(), 7).await, 200);
    assert_eq!(listed(&app).await.get("presets"), None);
}

async fn limits_name_the_presets_that_a_token_may_name(home: JobsHome) {
    let app = home.start(&[]).await;
    let mut small = avatar();
    small["maxBytes"] = json!(1000);
    assert_eq!((put(&app, "hero", &avatar()).await, put(&app, "avatar", &small).await), (201, 201));
    let shop = bound(&app, "shop", &["hero", "product"]).await;
    let limits = async |claims: &Claims| get(&app, claims, "/limits").await;
    assert_eq!(app.get_json("/limits").await["job"]["presets"], json!(["avatar", "hero"]));
    assert_eq!(limits(&Claims::of("me")).await["job"]["presets"], json!(["avatar", "hero"]));
    assert_eq!(limits(&shop.claims("a")).await["job"]["presets"], json!(["hero"]), "what there is of its own");
    let of = |name: &str| Claims::of("me").job(json!({ "preset": name }));
    assert_eq!(limits(&of("avatar")).await["upload"]["bytes_max"], 1000);
    let larger = app.upload(&of("avatar").sign(), "a.jpg", vec![0; 200_000]).await;
    assert_problem(larger, 413, "too_large").await;
}
