//! Whose token reads what: owners, paths, prefixes and tokens, each with each.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::home::{PrivateHome, get, location, owner, private_job, reading, text};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::token::{Claims, now};

every_home! {
    a_token_reads_what_it_names_of_its_own_owners_and_nothing_else,
    whoever_has_a_users_name_next_reads_nothing_of_its_former_holder,
    behind_a_proxy_with_a_path_a_token_may_name_files_as_clients_see_them,
}

/// What a token's `read` names, for a file in `album/1` of an owner, and whether it covers it.
fn paths(location: &str, owner: &str) -> Vec<(Value, bool)> {
    let many = |last: &str| {
        json!((0..31).map(|n| format!("/private/{owner}/{n}/")).chain([last.to_owned()]).collect::<Vec<_>>())
    };
    vec![
        (json!(location), true),
        (json!([location]), true),
        (json!(["/private/x/", location]), true),
        (many(location), true),
        (json!("/"), true),
        (json!("/private/"), true),
        (json!(format!("/private/{owner}/")), true),
        (json!(format!("/private/{owner}/album/")), true),
        (json!(format!("/private/{owner}/album/1/")), true),
        // Without a slash at its end it is a location, and no prefix.
        (json!("/private"), false),
        (json!(format!("/private/{owner}")), false),
        (json!(format!("/private/{owner}/album/1")), false),
        (json!(format!("/private/{owner}/alb")), false),
        (json!(&location[..location.len() - 1]), false),
        (json!(format!("{location}/")), false),
        (json!(format!("/private/{owner}/album/2/")), false),
        (json!(format!("/private/{owner}/ALBUM/")), false),
        (json!(format!("/private/{owner}/%61lbum/")), false),
        (json!(format!("/files/{owner}/")), false),
        (many("/private/"), true),
        (many("/privat/"), false),
    ]
}

/// What makes a token a bad one, whatever it is asked for.
fn bad_paths(location: &str) -> Vec<Value> {
    vec![
        json!([]),
        json!(vec![location; 33]),
        json!(null),
        json!(""),
        json!({}),
        json!([location, 1]),
        json!([location, "/private/../x"]),
        json!("/private/./"),
        json!("/private/.."),
        json!("private/"),
    ]
}

async fn assert_refused(response: Response, status: u16, what: &str) {
    let code = if status == 401 { "unauthorized" } else { "not_found" };
    assert_eq!(response.status().as_u16(), status, "{what}");
    assert!(response.headers().get("etag").is_none(), "{what}");
    assert_problem(response, status, code).await;
}

async fn registered(app: &TestApp, name: &str) -> (String, String) {
    let user = app.admin(Method::POST, "/register", Some(json!({ "user": name }))).await;
    let user: Value = user.json().await.expect("JSON");
    (text(&user["access_key"]).to_owned(), text(&user["secret"]).to_owned())
}

async fn stored(app: &TestApp, claims: &Claims, is_unique: bool, seed: u32) -> String {
    let mut job = private_job();
    job["unique"] = json!(is_unique);
    let answer = app.upload(&claims.clone().job(job).sign(), "cat.jpg", jpeg(32, 24, seed)).await;
    let mut accepted: Value = answer.json().await.expect("JSON");
    // Whatever path a proxy shows it under.
    accepted["status_url"] = json!(format!("/status?job_id={}", text(&accepted["job_id"])));
    let done = app.ended(&accepted).await;
    assert_eq!(done["state"], "completed", "{done}");
    location(&done).to_owned()
}

async fn a_token_reads_what_it_names_of_its_own_owners_and_nothing_else(home: PrivateHome) {
    let app = home.start(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0")]).await;
    let (shop_key, shop_secret) = registered(&app, "shop").await;
    let shop = |sub: &str| Claims::of(sub).by(&shop_key, &shop_secret);
    let owners = [
        ("ann", "", Claims::of("ann")),
        ("bob", "", Claims::of("bob")),
        ("ann", "shop", shop("ann")),
        ("bob", "shop", shop("bob")),
    ];
    let mut files = Vec::new();
    for (seed, (_, user, claims)) in (1..).zip(&owners) {
        let is_unique = !user.is_empty() && !home.holds_long_names();
        files.push(stored(&app, claims, is_unique, seed).await);
    }
    for (file, (sub, user, _)) in files.iter().zip(&owners) {
        assert!(file.starts_with(&format!("/private/{}/", owner(user, sub))), "{file}");
    }
    for (reader_sub, reader_user, claims) in &owners {
        for (file, (sub, user, _)) in files.iter().zip(&owners) {
            let is_own = (reader_sub, reader_user) == (sub, user);
            for (paths, covers) in paths(file, &owner(user, sub)) {
                let what = format!("{reader_user}/{reader_sub} reads {paths} for {file}");
                let answer = get(&app, &reading(claims, paths), file).await;
                if is_own && covers {
                    assert_eq!(answer.status(), 200, "{what}");
                } else {
                    assert_refused(answer, 404, &what).await;
                }
            }
        }
    }
    let (file, ann) = (&files[0], &owners[0].2);
    for paths in bad_paths(file) {
        let token = reading(ann, paths.clone());
        assert_refused(get(&app, &token, file).await, 401, &paths.to_string()).await;
        // A bad token is one everywhere.
        assert_problem(get(&app, &token, "/jobs").await, 401, "unauthorized").await;
    }
    let reads = reading(ann, "/");
    for (what, token, status) in [
        ("without a claim", ann.clone(), 404),
        ("of an admin", Claims::of("ann").admin(), 404),
        ("of an admin who reads another's", reading(&Claims::of("bob").admin(), "/"), 404),
        ("of an admin who reads its own", reading(&Claims::of("ann").admin(), "/"), 200),
        ("with a scope beside", reads.clone().with("scope", json!("manage-user")), 200),
        ("expired", reads.clone().with("iat", json!(now() - 100)).with("exp", json!(now() - 10)), 401),
        ("of the future", reads.clone().with("nbf", json!(now() + 100)), 401),
        ("of another key", reads.clone().secret("another secret, long enough to be one"), 401),
        ("of a user that is none", reads.clone().by("pxu_none", &shop_secret), 401),
    ] {
        let answer = get(&app, &token, file).await;
        match status {
            200 => assert_eq!(answer.status(), 200, "{what}"),
            status => assert_refused(answer, status, what).await,
        }
        // In the address it is the same token.
        let answer = app.get(&format!("{file}?token={}", token.sign())).await;
        assert_eq!(answer.status(), status, "{what}");
    }
    let none = format!("/private/{}/album/1/none.jpg", owner("", "ann"));
    for (path, status) in [
        (file.clone(), 401),
        (format!("{file}?token="), 401),
        (format!("{file}?token=a.b.c"), 401),
        (format!("{file}?Token={}", reads.sign()), 401),
        (format!("{file}?token=x&token={}", reads.sign()), 401),
        (format!("{none}?token={}", reads.sign()), 404),
        (format!("/private/nobody/a.jpg?token={}", reads.sign()), 404),
    ] {
        assert_refused(app.get(&path).await, status, &path).await;
    }
    // What is in the header counts, if there is something.
    let both =
        app.request(Method::GET, &format!("{file}?token={}", reads.sign())).header("authorization", "Basic eA==");
    assert_refused(both.send().await.expect("an answer"), 401, "both").await;
}

async fn whoever_has_a_users_name_next_reads_nothing_of_its_former_holder(home: PrivateHome) {
    let app = home.start(&[]).await;
    let (key, secret) = registered(&app, "shop").await;
    let former = Claims::of("ann").by(&key, &secret);
    let kinds = if home.holds_long_names() { &[false, true][..] } else { &[true] };
    let mut files = Vec::new();
    for (seed, is_unique) in (1..).zip(kinds) {
        files.push(stored(&app, &former, *is_unique, seed).await);
    }
    for file in &files {
        assert_eq!(get(&app, &reading(&former, "/"), file).await.status(), 200);
    }
    let gone = app.admin(Method::DELETE, &format!("/register?access_key={key}"), None).await;
    assert_eq!(gone.status(), 204);
    let (key, secret) = registered(&app, "shop").await;
    let present = Claims::of("ann").by(&key, &secret);
    for file in &files {
        assert!(file.starts_with(&format!("/private/{}/", owner("shop", "ann"))));
        assert_refused(get(&app, &reading(&former, "/"), file).await, 401, "a key that is no more").await;
        assert_refused(get(&app, &reading(&present, "/"), file).await, 404, "another's").await;
    }
    let own = stored(&app, &present, true, 9).await;
    assert_eq!(get(&app, &reading(&present, "/"), &own).await.status(), 200);
    if home.holds_long_names() {
        // The same picture once more: now it is the present holder's, too.
        assert_eq!(stored(&app, &present, false, 1).await, files[0]);
        assert_eq!(get(&app, &reading(&present, "/"), &files[0]).await.status(), 200);
    }
}

async fn behind_a_proxy_with_a_path_a_token_may_name_files_as_clients_see_them(home: PrivateHome) {
    let app = home.start(&[("PIXERVE_SERVER_PUBLIC_URL", "https://example.com/images")]).await;
    let ann = Claims::of("ann");
    let shown = stored(&app, &ann, false, 1).await;
    let own = shown.strip_prefix("/images").expect("as clients see it");
    for (path, status) in
        [(shown.as_str(), 200), (own, 200), ("/images/private/", 200), ("/images/", 200), ("/other/", 404)]
    {
        let answer = get(&app, &reading(&ann, path), own).await;
        assert_eq!(answer.status(), status, "{path}");
    }
}
