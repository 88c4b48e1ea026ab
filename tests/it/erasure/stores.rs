//! Stores that don't follow.

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use super::home::{ErasureHome, PICTURES, assert_unknown, erase, erased, manager, stored_job, text, until};
use crate::harness::app::assert_problem;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;

every_home! {
    a_store_that_answers_500_is_asked_again_and_nobody_sees_the_job_meanwhile,
    what_is_in_a_store_that_is_registered_no_more_is_left,
    what_is_taken_away_by_others_is_missing,
}

async fn a_store_that_answers_500_is_asked_again_and_nobody_sees_the_job_meanwhile(home: ErasureHome) {
    let mut app = home.start(&[("PIXERVE_ERASE_WITHIN", "300ms")]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    let access_key = app.register(registration).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let what = format!("job_id={}", text(&job["job_id"]));
    proxy.script(|asked| if asked.method == "DELETE" { Fault::s3_error(500, "InternalError") } else { Fault::Pass });

    let answer = erase(&app, &manager("me"), &what).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    let answer: Value = answer.json().await.expect("JSON");
    let id = text(&answer["erasure_id"]).to_owned();
    assert_eq!((location, &answer["state"]), (format!("/erasures/{id}"), &json!("running")));
    assert_unknown(&app, &job).await;
    let tried = until(&app, &manager("me"), &id, |erasure| erasure["files"]["left"] == 2).await;
    let left = &tried["left"][0];
    assert_eq!(left["backend"], "s3");
    assert!(text(&left["location"]).starts_with("s3://pictures/"), "{left}");
    assert!(text(&left["error"]).contains("500"), "{left}");

    let again = erase(&app, &manager("me"), &what).await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    assert_eq!(again.json::<Value>().await.expect("JSON")["erasure_id"], id);
    // It is taken up again by the next start, too.
    if home.is_one_machine() {
        app.restart().await;
    }
    assert_unknown(&app, &job).await;
    proxy.script(|_| Fault::Pass);
    let done = until(&app, &manager("me"), &id, |erasure| erasure["state"] == "done").await;
    assert_eq!(done["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    assert!(home.store.keys(PICTURES).await.is_empty());
}

async fn what_is_in_a_store_that_is_registered_no_more_is_left(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let path = format!("/register?access_key={access_key}");
    let problem = assert_problem(app.admin(Method::DELETE, &path, None).await, 409, "store_in_use").await;
    assert_eq!((&problem["jobs"], &problem["files"]), (&json!(0), &json!(2)), "{problem}");
    let forced = app.admin(Method::DELETE, &format!("{path}&force=true"), None).await;
    assert_eq!(forced.status(), StatusCode::NO_CONTENT);

    let answer = erased(&app, &manager("me"), "sub=me").await;

    assert_eq!(answer["state"], "incomplete");
    assert_eq!(answer["files"]["left"], 2, "{answer}");
    assert_eq!(answer["left"][0]["error"], "unknown_store", "{answer}");
    assert!(home.served(&app).is_empty(), "the other places are done");
}

async fn what_is_taken_away_by_others_is_missing(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let served = &home.served(&app)[0];
    std::fs::remove_file(home.serve_dir(&app).join(served)).expect("removed");

    let answer = erased(&app, &manager("me"), "sub=me").await;

    assert_eq!(answer["files"], json!({ "deleted": 3, "missing": 1, "kept": 0, "left": 0 }), "{job}");
}
