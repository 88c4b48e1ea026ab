//! Erasing reaches private and unique files, on every disk and in every bucket.

use reqwest::Method;
use serde_json::{Value, json};

use super::home::{PrivateHome, get, location, private_job, reading, text};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

every_home! {
    what_is_erased_leaves_no_private_file_and_what_another_job_names_stays,
    a_live_job_of_the_same_name_holds_up_no_erasure_of_what_is_not_in_its_place,
}

async fn erased(app: &TestApp, sub: &str, what: &str) -> Value {
    let token = Claims::of(sub).with("scope", json!("manage")).sign();
    let answer = app.request(Method::DELETE, &format!("/erase?{what}")).bearer_auth(token).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

async fn what_is_erased_leaves_no_private_file_and_what_another_job_names_stays(home: PrivateHome) {
    const CANARY: &str = "canary-of-nobody";
    let app = home.start(&[]).await;
    let mut unique = private_job();
    unique["unique"] = json!(true);
    let mut unique_public = unique.clone();
    unique_public["private"] = json!(false);
    let mut done = Vec::new();
    for (seed, job) in (1..).zip([private_job(), unique, unique_public]) {
        done.push(app.done("ann", job, &format!("{CANARY}.jpg"), jpeg(32, 24, seed)).await);
    }
    let other = app.done("bob", private_job(), "other.jpg", jpeg(32, 24, 1)).await;
    assert_eq!((home.private(&app).await.len(), home.public(&app).await.len()), (3, 1));
    let ann = reading(&Claims::of("ann"), "/");
    assert_eq!(get(&app, &ann, location(&done[0])).await.status(), 200);

    let told = erased(&app, "ann", "sub=ann&dry_run=true").await;
    assert_eq!((&told["state"], &told["files"]["deleted"]), (&json!("dry_run"), &json!(3)), "{told}");
    let answer = erased(&app, "ann", "sub=ann").await;
    assert_eq!((&answer["state"], &answer["files"]["deleted"]), (&json!("done"), &json!(3)), "{answer}");
    let left = [home.private(&app).await, home.public(&app).await].concat();
    assert!(!left.iter().any(|path| path.contains(CANARY)), "{left:?}");
    assert_eq!(left, [location(&other).replace("/private/", "")]);
    assert_problem(get(&app, &ann, location(&done[0])).await, 404, "not_found").await;
    assert_problem(get(&app, &ann, location(&done[1])).await, 404, "not_found").await;
    assert_eq!(app.get(location(&done[2])).await.status(), 404);

    // Uploaded again it is new, and what it names is kept while the older job goes; a unique one names nothing of it.
    let first = app.done("ann", private_job(), "again.jpg", jpeg(32, 24, 9)).await;
    let second = app.done("ann", private_job(), "again.jpg", jpeg(32, 24, 9)).await;
    assert_eq!(location(&first), location(&second));
    let answer = erased(&app, "ann", &format!("job_id={}", text(&first["job_id"]))).await;
    assert_eq!((&answer["files"]["deleted"], &answer["files"]["kept"]), (&json!(0), &json!(1)), "{answer}");
    assert_eq!(get(&app, &ann, location(&second)).await.status(), 200);
}

async fn a_live_job_of_the_same_name_holds_up_no_erasure_of_what_is_not_in_its_place(home: PrivateHome) {
    let app = home.start(&[]).await;
    let store = app.register(crate::harness::stores::dead_store()).await;
    let private = app.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    // The same picture under the same name, to anyone, by a job that doesn't end.
    let mut job = private_job();
    job["private"] = json!(false);
    job["storageKeys"] = json!({ "s3": store });
    let live = app.accepted("ann", job, "cat.jpg", jpeg(32, 24, 1)).await;
    let is_served = |status: &Value| status["files"].as_array().is_some_and(|files| !files.is_empty());
    let status = app.wait_for(&live, "to be served", is_served).await;
    assert_eq!(location(&status).replace("/files/", ""), location(&private)["/private/".len() + 33..]);
    let answer = erased(&app, "ann", &format!("job_id={}", text(&private["job_id"]))).await;
    assert_eq!((&answer["state"], &answer["files"]["deleted"]), (&json!("done"), &json!(1)), "{answer}");
    assert_eq!(app.get(location(&status)).await.status(), 200);
    assert!(home.private(&app).await.is_empty());
}
